"""PyramidAttentionNetwork: its inputs, what it does not depend on, and where its attention goes."""

import keras
import numpy as np
import pytest
from checks import JIT, QUICK, answer, assert_close, numpy

from keras_attn.models import PyramidAttentionNetwork, swap_input

LEVELS = ("conv_1", "conv_3")
VIDEO = dict(num_classes=5, input_shape=(3, 32, 48, 3), levels=LEVELS, backbone="tiny")
CACHED = dict(num_classes=5, input_shape=(3, 2, 4, 32), levels=LEVELS, backbone="tiny", cached=True)


def _scrambled(rng, **arguments):
    model = PyramidAttentionNetwork(**arguments)
    model.set_weights([rng.normal(size=w.shape) / 3 for w in model.weights])
    return model


def _features(rng, *shape):
    return {"features": rng.normal(size=shape).astype("float32")}


# === Frames and cached levels ===


@pytest.mark.parametrize(
    "arguments, shape",
    [
        (dict(), (4, 6, 32)),
        (dict(levels=("conv_1", "conv_2"), mode="none"), (8, 12, 48)),
        (dict(levels=("pooled",)), (48,)),  # fully connected, table 1
    ],
)
def test_frames_and_cached_levels_answer_alike(rng, arguments, shape):
    model = _scrambled(rng, **VIDEO | arguments)
    video = {"video": rng.integers(0, 256, (2, 3, 32, 48, 3), dtype="uint8")}
    expected = answer(model, video)
    cached = swap_input(model, "tiny", (3, *shape), cached=True)
    levels = numpy(model.get_layer("backbone")(video["video"]))
    assert_close(answer(cached, {"features": levels}), expected)

    back = swap_input(cached, "tiny", (3, 32, 48, 3))
    assert back.get_config() == model.get_config()
    own = len(cached.weights)
    assert_close(back.get_weights()[-own:], model.get_weights()[-own:])


def test_levels_are_those_of_the_paper_unless_given():
    endpoint = PyramidAttentionNetwork.endpoint
    assert endpoint("tiny", {}) == endpoint("tiny", {"levels": None}) == "conv_1+conv_2+conv_3"
    assert endpoint("tiny", {"levels": ["conv_2"]}) == "conv_2"
    model = PyramidAttentionNetwork(**CACHED | {"levels": list(LEVELS)})
    assert model.get_config()["levels"] == LEVELS


def test_the_network_behind_the_last_level_is_trained_and_saved(rng, tmp_path):
    """From position B of table 1, a convolution follows the attention."""
    arguments = {**CACHED, "input_shape": (3, 2, 4, 48), "levels": ("conv_1", "conv_2")}
    model = _scrambled(rng, **arguments)
    inputs = _features(rng, 2, 3, 2, 4, 48)
    kernel = model.get_layer("tail").weights[-2]
    before = numpy(kernel)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, **QUICK)
    model.train_on_batch(inputs, np.array([1, 4]))
    assert np.abs(numpy(kernel) - before).max() > 0
    model.save_weights(tmp_path / "model.weights.h5")
    copy = PyramidAttentionNetwork(**arguments)
    copy.load_weights(tmp_path / "model.weights.h5")
    assert_close(copy.get_weights(), model.get_weights())


# === Frames ===


def test_another_number_of_frames(rng):
    """25 frames in use after 3 in training, or one image; copies of frames change no mean."""
    arguments = {**CACHED, "input_shape": (None, 2, 4, 32), "aggregate_norm": "l1"}
    model = _scrambled(rng, **arguments)
    inputs = _features(rng, 2, 3, 2, 4, 32)
    logits = answer(model, inputs)["logits"]
    copies = {"features": np.repeat(inputs["features"], 2, axis=1)}
    assert_close(answer(model, copies)["logits"], logits)
    reversed_ = {"features": inputs["features"][:, ::-1]}
    assert_close(answer(model, reversed_)["logits"], logits)
    image = answer(model, {"features": inputs["features"][:, :1]})
    assert image["spatial_attention"].shape == (2, 1, 2, 4)
    assert_close(image["spatial_attention"].sum((1, 2, 3)), np.ones(2))


def test_without_attention_logits_are_means_over_the_frames(rng):
    model = _scrambled(rng, **CACHED | {"input_shape": (None, 2, 4, 32), "mode": "none"})
    inputs = _features(rng, 2, 3, 2, 4, 32)
    frames = {"features": inputs["features"].reshape(6, 1, 2, 4, 32)}
    logits = answer(model, frames)["logits"].reshape(2, 3, 5)
    assert_close(answer(model, inputs)["logits"], logits.mean(1))


def test_explain(rng):
    model = _scrambled(rng, **CACHED)
    outputs = answer(model, _features(rng, 2, 3, 2, 4, 32))
    attention = outputs["spatial_attention"]
    maps = {name: numpy(x) for name, x in model.explain(outputs).items()}
    assert_close(maps["when"], attention.sum((2, 3)))
    assert_close(maps["when"].sum(1), np.ones(2))
    assert_close(maps["where"], attention / attention.sum((2, 3), keepdims=True))
    attention[:, 1] = 0
    assert_close(model.explain(outputs)["where"][:, 1], np.full((2, 2, 4), 1 / 8))


# === Penalties ===


def test_the_printed_pyramid_loss_is_not_a_number_where_ours_is(rng):
    """Each level looks at a cell of its own, and their product, of negatives, at a third one."""
    features = np.zeros((2, 1, 1, 3, 32), "float32")
    features[..., 0] = [100, 0, -90]
    features[..., 16] = [0, 100, -90]
    for form, finite in (("safe", True), ("printed", False)):
        arguments = {**CACHED, "input_shape": (1, 1, 3, 32)}
        model = PyramidAttentionNetwork(**arguments, pyramid_form=form)
        values = [np.eye(16)[:, :1] + np.zeros(3), np.zeros(3)]
        model.get_layer("attention").set_weights(values * 2)
        outputs = answer(model, {"features": features})
        assert_close(outputs["spatial_attention"][:, 0, 0], np.tile([0.0, 0.0, 1.0], (2, 1)))
        assert np.isfinite(outputs["pyramid"]).all() == finite


def test_only_the_printed_interaction_falls_as_the_features_grow(rng):
    inputs = _features(rng, 2, 3, 2, 4, 32)
    with pytest.warns(UserWarning, match='interaction_reduction="sum" has no lower bound'):
        printed = PyramidAttentionNetwork(**CACHED, interaction_reduction="sum")
    relative = PyramidAttentionNetwork(**CACHED)
    for model in (printed, relative):
        weights = [0 * w for w in model.get_layer("attention").get_weights()]
        model.get_layer("attention").set_weights(weights)  # uniform, whatever the features
    larger = {"features": 10 * inputs["features"]}
    assert_close(*(answer(relative, x)["interaction"] for x in (inputs, larger)))
    small, large = (answer(printed, x)["interaction"] for x in (inputs, larger))
    assert (large < small - 100).all()


# === Learnability ===


def _one_informative_frame(rng, clips):
    """Each frame shows a class in all cells of the last level; a marked one that of the clip."""
    clip, labels, marked = np.arange(clips), rng.integers(0, 4, clips), rng.integers(0, 6, clips)
    shown = rng.integers(0, 4, (clips, 6))
    shown[clip, marked] = labels
    features = 0.3 * rng.normal(size=(clips, 6, 2, 3, 64)).astype("float32")
    features[..., 48:52] += 2 * np.eye(4)[shown][:, :, None, None]
    for marker in (0, 16, 63):  # one in each level
        features[clip, marked, :, :, marker] += 2
    return {"features": features}, labels, marked


def test_the_features_of_the_informative_frame_are_copied(rng):
    inputs, labels, _ = _one_informative_frame(rng, 256)
    held_out, truth, marked = _one_informative_frame(rng, 200)
    accuracy, at_frame = {}, {}
    for mode in ("interaction", "none"):
        model = PyramidAttentionNetwork(
            4,
            (6, 2, 3, 64),
            mode=mode,
            aggregate_norm="l1",
            dropout=0.0,
            backbone="tiny",
            cached=True,
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.02), loss, jit_compile=JIT)
        model.fit(inputs, labels, batch_size=32, epochs=6, verbose=0)
        outputs = answer(model, held_out)
        accuracy[mode] = np.mean(outputs["logits"].argmax(-1) == truth)
        at_frame[mode] = numpy(model.explain(outputs)["when"])[np.arange(200), marked].mean()
    np.testing.assert_allclose(at_frame["none"], 1 / 6, rtol=1e-5)
    assert at_frame["interaction"] > 0.4
    assert accuracy["interaction"] > 0.9 > 0.6 > accuracy["none"]


# === Errors ===


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"backbone": None}, "levels are endpoints of a backbone; .* got levels=.* backbone=None"),
        ({"levels": ()}, r"levels must be 1 to 4 of conv_1, .*got \(\)"),
        ({"levels": ("conv_3", "conv_1")}, "levels must be 1 to 4 of conv_1, .*in this order"),
        ({"levels": ("conv_1", "conv_9")}, "levels must be .*'conv_9'"),
        ({"levels": ("conv_1", "conv_1")}, "levels must be"),
        ({"levels": "conv_3"}, "levels must be .*got 'conv_3'"),
        ({"levels": ("conv_1", "conv_2", "conv_3", "maps", "pooled")}, "levels must be 1 to 4"),
        ({"levels": ("conv_3", "pooled")}, "joined by"),
        ({"input_shape": (3, 2, 4, 31)}, r"input_shape must be \(T, h, w, 32\) of cached conv_1"),
        ({"input_shape": (3, 32)}, r"input_shape must be \(T, h, w, 32\)"),
        ({"input_shape": (0, 2, 4, 32)}, "at least 1 along every axis, and only its first"),
        ({"input_shape": (3, None, 4, 32)}, "only its first may be None, got .3, None"),
        ({"input_shape": (3, 48, 3), "cached": False}, r"input_shape must be \(T, H, W, 3\)"),
        ({"levels": ("pooled",)}, r"input_shape must be \(T, 48\) of cached pooled"),
        ({"mode": "soft"}, "mode must be one of interaction, shared, uniform, none, got 'soft'"),
        ({"fusion": "mean"}, "fusion must be"),
        ({"aggregate_norm": "l3"}, "aggregate_norm must be"),
        ({"interaction_reduction": "total"}, "interaction_reduction must be one of relative"),
        ({"pyramid_form": "literal"}, "pyramid_form must be one of safe, printed"),
        ({"interaction": -1.0}, "interaction must be at least 0, got -1.0"),
        ({"pyramid": float("nan")}, "pyramid must be at least 0, got nan"),
        ({"num_classes": 1}, "num_classes must be at least 2, got 1"),
        ({"dropout": 1.0}, "dropout must be"),
    ],
)
def test_arguments_that_cannot_work(arguments, message):
    with pytest.raises(ValueError, match=message):
        PyramidAttentionNetwork(**CACHED | arguments)
