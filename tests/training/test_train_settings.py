"""Settings of clips and of learning reach the model, or are refused before the first step."""

import dataclasses

import keras
import numpy as np
import pytest
from small import SMALL, refused

from keras_attn.data.source import open_source
from keras_attn.errors import UsageError
from keras_attn.recipes import RECIPES, Clips, override
from keras_attn.training import build


def built(recipe, data):
    build.fix_randomness(recipe.seed)
    return build.build_model(recipe, open_source(data, recipe))


def tiny(name, **changes):
    """The tiny recipe of a model, smaller; `clips_frames` stands for `clips.frames`."""
    changes = {key.replace("_", ".", 1): value for key, value in changes.items()}
    return override(RECIPES[f"{name}_tiny"], {"clips.size": "32", "epochs": "1", **changes})


def test_the_learning_rate_falls_after_the_epochs_named(tiny_features):
    """10 batches an epoch, counted as batches also where 3 of them make one update."""
    recipe = dataclasses.replace(SMALL, epochs=4, learning_rate=0.5, decay_epochs=[1, 3])
    optimizer = built(recipe, tiny_features).optimizer
    rates = []
    for batch in range(40):
        optimizer._iterations.assign(batch)
        rates.append(float(optimizer.learning_rate))
    np.testing.assert_allclose(rates, [0.5] * 10 + [0.05] * 20 + [0.005] * 10, rtol=1e-5)


def test_multipliers_decay_and_clipping_reach_the_optimizer(tiny_features):
    recipe = dataclasses.replace(
        SMALL,
        optimizer="sgd",
        accumulate=1,
        weight_decay=0.25,
        clip_norm=0.5,
        multipliers={"^classifier": [0, 0], "bias$": [1, 0]},
    )
    model = built(recipe, tiny_features)
    before = {w.path: np.array(w) for w in model.trainable_weights}
    zeros = [np.zeros(w.shape, "float32") for w in model.trainable_weights]
    model.optimizer.apply([keras.ops.convert_to_tensor(zero) for zero in zeros])
    for weight in model.trainable_weights:
        decays = not weight.path.startswith("classifier") and not weight.path.endswith("bias")
        share = 1 - decays * 0.25 * recipe.learning_rate  # without a gradient, only the decay
        np.testing.assert_allclose(np.array(weight), share * before[weight.path], rtol=1e-6)
    assert model.optimizer.global_clipnorm == 0.5


@pytest.mark.parametrize("policy, learning", [("train", 52), ("partial", 1), ("frozen", 0)])
def test_batch_normalizations_of_a_backbone_that_learns(tiny_data, policy, learning):
    recipe = dataclasses.replace(
        tiny("where_and_when", clips_frames="3", model_units="4"),
        backbone="mobilenet_v2",
        batch_norm=policy,
    )
    model = built(recipe, tiny_data)
    kind = keras.layers.BatchNormalization
    for network in (model, type(model).from_config(model.get_config())):  # as a file has it
        parts = network.image_network._flatten_layers()
        norms = [layer for layer in parts if isinstance(layer, kind)]
        assert [norm.trainable for norm in norms] == [i < learning for i in range(52)]
    head = [layer for layer in network._flatten_layers() if isinstance(layer, kind)]
    assert all(norm.trainable for norm in head if norm not in norms)


MISTAKES = {
    "expression": (
        dataclasses.replace(SMALL, multipliers={"(": [1, 1]}),
        r"multipliers must map regular .*got '\(': \[1, 1\]",
    ),
    "found nowhere": (
        dataclasses.replace(SMALL, multipliers={"bias$": [2, 0], "^conv1/": [5, 1]}),
        r"multipliers must be found .* got '\^conv1/'; there are \d+: .*lstm",
    ),
    "snippet": (
        tiny("where_and_when", clips_snippet="2", clips_frames="4", model_units="4"),
        "clips.snippet=2: tiny would take .* for optical flow",
    ),
    "test_frames": (
        tiny("sta_cnn", clips_test_frames="5"),
        "clips.test_frames=5: test_keep must be at most the 5 segments given, got 9",
    ),
    "batch_norm": (
        dataclasses.replace(tiny("temporal_attention"), batch_norm="frozen"),
        "batch_norm=frozen: .*no batch normalization",
    ),
    "backbone of clips": (
        dataclasses.replace(SMALL, backbone="tsm_resnet_50", clips=Clips(frames=4, stride=3)),
        "tsm_resnet_50 sees the frames of a clip together.*use `changes={.cached.: False}`",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_told_first(tiny_features, tmp_path, name):
    recipe, message = MISTAKES[name]
    refused(UsageError, message, recipe, tiny_features, tmp_path / "run")
