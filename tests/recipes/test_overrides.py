"""Overrides change one field, of text or of its own type, or say why not."""

import dataclasses
import json
import math

import pytest

from keras_attn.errors import UsageError
from keras_attn.recipes import RECIPES, Recipe, from_dict, override

PAPER = RECIPES["structured_attention"]


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("clips.frames", "16", 16),
        ("learning_rate", "1", 1.0),
        ("learning_rate", "3e-4", 3e-4),
        ("epochs", "7", 7),
        ("backbone", "tiny", "tiny"),
        ("backbone", "none", "none"),
        ("backbone_weights", "None", None),
        ("backbone_weights", "/a/b.h5", "/a/b.h5"),
        ("select", "best", "best"),
        ("precision", "mixed_float16", "mixed_float16"),
        ("model", "structured_attention", "structured_attention"),
        ("optimizer", "sgd", "sgd"),
        ("decay_epochs", "[4, 8]", [4, 8]),
        ("clip_norm", "20", 20.0),
        ("multipliers", '{"bias$": [2, 0]}', {"bias$": [2, 0]}),
        ("clips.step", "2", 2),
    ],
)
def test_override_of_each_kind_of_field(path, text, value):
    changed = override(PAPER, {path: text})
    found = changed
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value and type(found) is type(value)
    outer = path.split(".")[0]
    assert dataclasses.replace(changed, **{outer: getattr(PAPER, outer)}) == PAPER
    assert PAPER == RECIPES["structured_attention"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("clips.frames", 16),
        ("learning_rate", 3e-4),
        ("backbone", "none"),
        ("backbone_weights", None),
        ("select", "best"),
        ("decay_epochs", [4, 8]),
        ("clip_norm", None),
        ("multipliers", {"bias$": [2, 0]}),
        ("model.units", 64),
        ("model.stride", 2),
        ("model.stride", None),
        ("model.logit_tanh", False),
        ("model.attention", "none"),
    ],
)
def test_override_with_values_of_the_type_of_the_field(path, value):
    changed = override(PAPER, {path: value})
    name = path.partition(".")[2]
    if path.startswith("model."):
        found = changed.arguments[name]
    else:
        found = getattr(changed.clips, name) if name else getattr(changed, path)
    assert found == value and type(found) is type(value)
    assert from_dict(json.loads(json.dumps(dataclasses.asdict(changed)))) == changed


def test_a_whole_number_is_a_float_where_one_is_wanted():
    rate = override(PAPER, {"learning_rate": 1}).learning_rate
    assert rate == 1 and type(rate) is float


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("clips.frames", 1.5, r"clips\.frames must be of type int, got 1\.5"),
        ("clips.frames", True, r"clips\.frames must be of type int, got True"),
        ("epochs", None, "epochs must be of type int, got None"),
        ("backbone", 3, "backbone must be of type str, got 3"),
        ("decay_epochs", {4: 8}, r"decay_epochs must be of type list, got \{4: 8\}"),
        ("select", 3, "select must be one of last, best, got 3"),
        ("cached", 1, "cached must be of type bool, got 1"),
        ("model.units", 1.5, r"model\.units must be of type int, got 1\.5"),
        ("model.logit_tanh", 1, r"model\.logit_tanh must be of type bool, got 1"),
        ("model.penalty", math.nan, r"model\.penalty must be finite, got nan"),
        ("model.penalty", "Infinity", r"model\.penalty must be finite, got inf"),
    ],
)
def test_values_of_another_type_are_refused_by_name(path, value, message):
    with pytest.raises(UsageError, match=message):
        override(PAPER, {path: value})


def test_overrides_are_made_together():
    fewer = {"clips.frames": "5", "clips.stride": "3"}
    video = override(PAPER, {"clips.frames": "16", "clips.stride": "16"})
    for changes in (fewer, dict(reversed(fewer.items()))):
        clips = override(video, changes).clips
        assert (clips.frames, clips.stride) == (5, 3)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("units", "64", 64),
        ("attention", "none", "none"),
        ("stride", "1", 1),
        ("stride", "none", None),
        ("penalty", "1", 1.0),
        ("logit_tanh", "False", False),
        ("current_frame", "true", True),
    ],
)
def test_override_of_model_arguments(name, text, value):
    changed = override(PAPER, {f"model.{name}": text})
    assert changed.arguments == {**PAPER.arguments, name: value}
    assert type(changed.arguments[name]) is type(value)
    assert dataclasses.replace(changed, arguments=PAPER.arguments) == PAPER


def test_flags_need_frames():
    video = override(PAPER, {"cached": "false"})
    assert override(video, {"flip": "true"}).flip is True
    for name in ("flip", "random_crop", "train_backbone"):
        with pytest.raises(UsageError, match=f"{name}.*cached=false"):
            override(PAPER, {name: "true"})


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("epoch", "3", "'epoch'; it has .*epochs"),
        ("clips.frame", "3", r"'clips.frame'; it has .*clips\.frames"),
        ("clips", "3", r"'clips'; it has .*clips\.frames"),
        ("clips.frames.x", "3", "'clips.frames.x'"),
        ("seed.x", "3", "'seed.x'"),
        ("arguments", "{}", "'arguments'.*model.ARGUMENT"),
        ("", "3", "no field ''"),
        ("model.unit", "3", "'unit'; it has .*units"),
        ("model.num_classes", "3", "'num_classes'"),
        ("model.backbone", "tiny", "'backbone'"),
        ("model.units", "many", r"model\.units must be of type int, got 'many'"),
        ("model.logit_tanh", "1", r"model\.logit_tanh must be of type bool"),
        ("clips.frames", "1.5", r"clips\.frames must be of type int, got '1.5'"),
        ("clips.frames", "true", r"clips\.frames must be of type int"),
        ("clips.frames", "0", r"clips\.frames must be at least 1, got 0"),
        ("clips.stride", "31", r"clips\.frames=30 times clips\.step=1, got 31"),
        ("epochs", "none", "epochs must be of type int"),
        ("batch_size", "0", "batch_size must be at least 1"),
        ("seed", "-1", "seed must be at least 0"),
        ("decay_epochs", "[8, 4]", r"decay_epochs must be rising .* got \[8, 4\]"),
        ("clip_norm", "0", "clip_norm must be above 0"),
        ("weight_decay", "-1", "weight_decay must be at least 0"),
        ("weight_decay", "NaN", "weight_decay must be at least 0 and finite, got nan"),
        ("optimizer", "lion", "optimizer must be one of adam, sgd, adadelta, got 'lion'"),
        ("batch_norm", "partial", "batch_norm=partial needs train_backbone=true"),
        ("clips.snippet", "2", "clips.snippet=2 needs cached=false"),
        ("clips.test_frames", "2", "clips.test_frames=2 needs clips.sampling=segments"),
        ("learning_rate", "0", "learning_rate must be above 0"),
        ("learning_rate", "nan", "learning_rate must be of type float"),
        ("learning_rate", "1e999", "learning_rate must be above 0 and finite"),
        ("learning_rate", "fast", "learning_rate must be of type float, got 'fast'"),
        ("select", "worst", "select must be one of last, best, got 'worst'"),
        (
            "input",
            "audio",
            "input must be one of rgb, flow, warped_flow, rgb_and_flow, got 'audio'",
        ),
        ("precision", "half", "precision must be one of auto, float32"),
    ],
)
def test_errors_name_the_field_that_cannot_be_overridden(path, text, message):
    with pytest.raises(UsageError, match=message):
        override(PAPER, {path: text})


def test_arguments_of_an_unknown_model():
    with pytest.raises(UsageError, match="no model 'lstm'; there are structured_attention"):
        override(dataclasses.replace(PAPER, model="lstm"), {"model.units": "3"})


def test_from_dict_refuses_what_it_does_not_know():
    values = dataclasses.asdict(PAPER)
    with pytest.raises(UsageError, match="Recipe has no field a, b"):
        from_dict({**values, "b": 1, "a": 2})
    with pytest.raises(UsageError, match="Clips has no field crops"):
        from_dict({**values, "clips": {**values["clips"], "crops": 1}})
    with pytest.raises(UsageError, match="needs the field model"):
        from_dict({})
    assert from_dict({"model": "m"}) == Recipe("m")
