"""Recipes hold the paper's values; overrides change one field or say why not."""

import dataclasses
import json
import re

import pytest

from keras_attn.backbones import endpoint_channels
from keras_attn.data.streams import Stream
from keras_attn.errors import UsageError
from keras_attn.models import MODELS
from keras_attn.recipes import RECIPES, Clips, check_model, from_dict, override

PAPER = RECIPES["structured_attention"]


def test_the_papers_values():
    """Quan et al. 2020, sections 3.4 and 4.2."""
    assert (PAPER.clips.frames, PAPER.clips.stride) == (30, 2)
    assert PAPER.clips.size == 299  # gives the 8 x 8 x 2048 that the paper prints
    assert (PAPER.backbone, PAPER.backbone_weights) == ("inception_v3", "imagenet")
    assert (PAPER.input, PAPER.cached, PAPER.train_backbone) == ("rgb", True, False)
    assert PAPER.batch_size * PAPER.accumulate == 256
    assert (PAPER.epochs, PAPER.learning_rate) == (10, 1e-4)
    assert (PAPER.flip, PAPER.random_crop, PAPER.select) == (False, False, "last")
    assert PAPER.model == "structured_attention"
    assert PAPER.arguments == {
        "units": 512,
        "attention": "structured",
        "block": 2,
        "penalty": 1e-4,
        "logit_tanh": True,
        "dropout": 0.5,
        "weight_decay": 1e-5,
    }


# What the other papers state; the sections are cited in the recipes.
STATED = {
    "sta_cnn": ("sgd", 1e-3, [20, 40], 5e-4, 128, 50, 9, 25, 224),
    "temporal_attention": ("adadelta", 1.0, [], 2e-5, 64, 30, 30, 30, 224),
    "where_and_when": ("adam", 1e-4, [], 1e-4, 30, 50, 50, 50, 224),
    "pyramid_attention": ("sgd", 1e-3, [27, 54], 8e-5, 64, 80, 3, 25, 299),
    "pyramid_attention_tsm": ("sgd", 1e-2, [40, 80], 8e-5, 64, 100, 8, 8, 224),
    "frame_classifier": ("sgd", 5e-4, [20], 5e-4, 32, 30, 3, 50, 224),
    "frame_classifier_vgg": ("sgd", 1e-3, [107, 214], 5e-4, 256, 268, 1, 25, 224),
}


@pytest.mark.parametrize("name", STATED)
def test_the_values_of_the_other_papers(name):
    recipe = RECIPES[name]
    assert STATED[name] == (
        recipe.optimizer,
        recipe.learning_rate,
        recipe.decay_epochs,
        recipe.weight_decay,
        recipe.batch_size * recipe.accumulate,
        recipe.epochs,
        recipe.clips.frames,
        recipe.clips.inference_frames,
        recipe.clips.size,
    )


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_survive_json_and_name_what_exists(name):
    recipe = RECIPES[name]
    assert from_dict(json.loads(json.dumps(dataclasses.asdict(recipe)))) == recipe
    check_model(recipe)
    assert endpoint_channels(recipe.backbone, recipe.endpoint)


@pytest.mark.parametrize("name", [name for name in RECIPES if name.endswith("_mobilenet")])
def test_recipes_fit_their_models(name):
    recipe = RECIPES[name]
    channels = sum(endpoint_channels(recipe.backbone, recipe.endpoint))
    channels *= 2 if recipe.model == "attention_fusion" else 1  # maps of both streams
    cells = () if recipe.endpoint == "pooled" else (2, 4)
    kind = MODELS[recipe.model]
    arguments = kind.input_arguments(recipe.backbone, cached=True) | recipe.arguments
    model = kind(5, input_shape=(recipe.clips.frames, *cells, channels), **arguments)
    model.check_frames(recipe.clips.inference_frames)
    assert model.output["logits"].shape == (None, 5)


@pytest.mark.parametrize("name", [name for name in RECIPES if RECIPES[name].flow_changes])
def test_a_recipe_reads_flow_with_its_own_changes(name):
    recipe = RECIPES[name]
    flow = override(recipe, {"input": "flow"})
    assert flow.input == "flow" and flow.stream.channels == 10
    assert flow == override(recipe, {"input": "flow"} | recipe.flow_changes)
    assert override(flow, {"input": "warped_flow"}).clips == flow.clips
    assert override(recipe, {"clips.snippet": "3", "input": "warped_flow"}).stream.channels == 6


def test_channels_of_each_input():
    counts = {"rgb": 12, "flow": 8, "warped_flow": 8, "rgb_and_flow": 11}
    for name, count in counts.items():
        assert Stream(name, snippet=4).channels == count


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampling": "segments", "step": 8}, "clips.step=8 needs clips.sampling=windows or dense"),
        (
            {"sampling": "dense", "tail": "drop"},
            "clips.tail=drop needs clips.sampling=windows, got",
        ),
        ({"test_frames": 5}, "clips.test_frames=5 needs clips.sampling=segments, got windows"),
        ({"test_clips": 3}, "clips.test_clips=3 needs clips.sampling=dense, got windows"),
        ({"sampling": "dense", "test_clips": 0}, "clips.test_clips must be at least 1, got 0"),
        ({"stride": 31}, "clips.stride must be at most clips.frames=30 times clips.step=1, got 31"),
    ],
)
def test_fields_that_the_sampling_does_not_know_are_refused(settings, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        Clips(**settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 2.0}, "epochs must be of type int, got 2.0"),
        ({"clips": 3}, "clips must be of type Clips"),
        ({"flip": 1}, "flip must be of type bool"),
        ({"backbone_weights": 3}, "backbone_weights must be of type str or NoneType"),
        ({"arguments": []}, "arguments must be of type dict"),
        ({"seed": True}, "seed must be of type int"),
    ],
)
def test_types_are_checked_in_python_too(change, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        dataclasses.replace(PAPER, **change)
    assert dataclasses.replace(PAPER, learning_rate=1).learning_rate == 1
    with pytest.raises(UsageError, match=r"clips\.size must be of type int"):
        Clips(size=2.5)
