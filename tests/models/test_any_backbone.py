"""Every model on any backbone: KerasHub's families, a model of the user's, features of any kind."""

import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from checks import BACKEND, CROSS_ENTROPY, QUICK, answer, assert_close, numpy
from hub_presets import FAMILIES, SIDE, write_preset

from keras_attn.backbones import find_backbone
from keras_attn.models import MODELS, swap_input

ARGUMENTS = {
    "structured_attention": {"units": 4, "stride": 1},
    "sta_cnn": {"groups": 2, "test_keep": 3},
    "temporal_attention": {"units": 4, "iterations": 2, "last": 1},
    "where_and_when": {"units": 4, "attention_units": 3},
    "pyramid_attention": {},
}
SHAPE = (4, SIDE, SIDE, 3)


def _features(model, video):
    """The output of the backbone of a model for a video."""
    frames = video.reshape(-1, *video.shape[2:]) if model.per_frame else video
    maps = numpy(model.image_network(frames))
    return maps.reshape(*video.shape[:2], *maps.shape[1:]) if model.per_frame else maps


def _check(name, backbone, rng, path, **weights):
    """Cached and end to end alike; it learns, and a file, if wanted, holds all that is needed."""
    arguments = {"backbone": backbone, "train_backbone": True, **weights, **ARGUMENTS[name]}
    model = MODELS[name](3, SHAPE, **arguments)
    video = rng.integers(0, 256, (2, *SHAPE)).astype("float32")
    expected, features = answer(model, {"video": video}), _features(model, video)
    reference = model.get_config()["backbone"] if name == "pyramid_attention" else None
    cached = swap_input(model, reference, features.shape[1:], cached=True)
    assert_close(answer(cached, {"features": features}), expected, message=name)
    before = model.image_network.get_weights()
    model.compile("sgd", CROSS_ENTROPY(from_logits=True), **QUICK)
    model.train_on_batch({"video": video}, np.array([0, 2]))
    after = model.image_network.get_weights()
    assert any((x != y).any() for x, y in zip(before, after, strict=True))
    if path is None:
        return None
    model.save(path)
    return lambda: assert_close(
        answer(keras.models.load_model(path), {"video": video}), answer(model, {"video": video})
    )


# DINOv2's token for masked patches is a weight that no image uses.
@pytest.mark.filterwarnings("ignore:Gradients do not exist for variables .*mask_token")
@pytest.mark.parametrize("family", FAMILIES)
def test_models_on_presets(family, rng, tmp_path):
    write_preset(family, tmp_path / "preset")
    preset = f"hub:{tmp_path}/preset"
    for name in ARGUMENTS:
        if name != "pyramid_attention":
            _check(name, preset, rng, None, backbone_weights="preset")
    # A file says of a preset the same for all models, and for this one the levels, too.
    path = tmp_path / "model.keras"
    check_file = _check("pyramid_attention", preset, rng, path, backbone_weights="preset")
    with pytest.warns(UserWarning, match='random weights: backbone_weights="preset"'):
        MODELS["structured_attention"](3, SHAPE, backbone=preset, stride=1)
    shutil.rmtree(tmp_path / "preset")
    check_file()


def _own(several):
    frames = keras.Input((SIDE, SIDE, 3))
    low = keras.layers.Conv2D(5, 3, 2)(keras.layers.Rescaling(1 / 255)(frames))
    high = keras.layers.Conv2D(6, 3)(low)
    return keras.Model(frames, {"low": low, "high": high} if several else high, name="mine")


def _own_clips(steps):
    clips = keras.Input(SHAPE)
    maps = keras.layers.Conv3D(6, 3, (4 // steps, 4, 4), padding="same")(clips / 255)
    return keras.Model(clips, maps, name="clips")


@pytest.mark.parametrize("name", ARGUMENTS)
def test_models_on_a_network_of_the_users(name, rng, tmp_path):
    # What differs is the network, not the backend, and JAX takes long.
    more = (_own(False), _own_clips(4)) if BACKEND == "tensorflow" else ()
    for backbone in (_own(True), *more):
        _check(name, backbone, rng, tmp_path / "model.keras")()
    with pytest.raises(ValueError, match="backbone_weights must be None for the model 'mine'"):
        MODELS[name](3, SHAPE, backbone=_own(False), backbone_weights="x.h5", **ARGUMENTS[name])


def test_fewer_steps_than_frames_are_not_for_timelines():
    model = MODELS["temporal_attention"](3, SHAPE, backbone=_own_clips(2))
    assert model.output["temporal_attention"].shape[-1] == 2
    with pytest.raises(ValueError, match="gives maps of 2: both must be the 4 frames"):
        model.check_frames(4)


def test_levels_are_the_named_outputs_and_the_last_is_attended():
    model = MODELS["pyramid_attention"](3, SHAPE, backbone=_own(True))
    assert find_backbone(model.get_config()["backbone"]).pyramid == ("low", "high")
    assert model.get_layer("attention").input[-1].shape[-1] == 6


@pytest.mark.parametrize(
    "name, shape, more",
    [
        ("temporal_attention", (4, 2, 3, 7), {}),
        ("pyramid_attention", (4, 2, 3, 7), {}),
        ("pyramid_attention", (4, 2, 3, 7), {"level_channels": (3, 4)}),
        ("pyramid_attention", (4, 7), {}),
        ("attention_fusion", (4, 2, 3, 14), {"level_channels": (3, 4)}),
    ],
)
def test_features_of_any_network(name, shape, more, rng):
    model = MODELS[name](3, shape, **more, **ARGUMENTS.get(name, {}))
    features = rng.normal(size=(2, *shape)).astype("float32")
    outputs = answer(model, {"features": features})
    assert np.isfinite(outputs["logits"]).all()
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    assert_close(answer(copy, {"features": features}), outputs)
    if name == "temporal_attention":
        vectors = MODELS[name](3, (4, 7), **ARGUMENTS[name])
        vectors.set_weights(model.get_weights())
        assert_close(answer(vectors, {"features": features.mean((2, 3))}), outputs)


def test_networks_that_cannot_be_backbones_are_refused_in_words():
    frames = keras.Input((SIDE, SIDE, 3))
    tokens = keras.layers.Reshape((-1, 3))(frames)
    pair = keras.Input((SIDE, SIDE, 3))
    for backbone, message in (
        (keras.Model(frames, tokens, name="x"), "must give maps .*tokens become cells"),
        (keras.Model([frames, pair], frames + pair, name="x"), "'x' must have one input, frames"),
        (keras.Input((3,)), "backbone must be a name, a keras.Model or None"),
    ):
        with pytest.raises(ValueError, match=message):
            MODELS["where_and_when"](3, SHAPE, backbone=backbone)
    vector = keras.Model(frames, keras.layers.GlobalAveragePooling2D()(frames), name="v")
    with pytest.raises(ValueError, match="backbone must give a map for each frame, got 'v'"):
        MODELS["where_and_when"](3, SHAPE, backbone=vector)
    with pytest.raises(ValueError, match=r"must end with .14, 14, 3. for the backbone 'v', got"):
        MODELS["temporal_attention"](3, (4, 9, 9, 3), backbone=vector)


def test_the_example_of_the_page_runs():
    page = (Path(__file__).parents[2] / "docs" / "backbones.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names = {}
    exec(code, names)  # noqa: S102
    assert names["model"].output["logits"].shape == (None, 10)
