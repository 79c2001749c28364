"""AttentionFusionNetwork against a NumPy reference of two streams, and its contract."""

import keras
import numpy as np
import pytest
from checks import QUICK, answer, assert_close, compiled, cross_entropy, numpy
from pyramid_reference import outputs

from keras_attn.backbones import endpoint_channels
from keras_attn.models import AttentionFusionNetwork, PyramidAttentionNetwork

# Levels of the backbone "tiny" have 16, 32 and 16 channels, and there are two streams of each.
SMALL = dict(
    num_classes=7,
    input_shape=(3, 2, 3, 128),
    interaction=0.3,
    pyramid=0.2,
    dropout=0.2,
    backbone="tiny",
    cached=True,
)
CASES = [
    dict(),
    dict(fusion="max", interaction_reduction="mean", pyramid_form="printed"),
    dict(fusion="sum", aggregate_norm="l1", levels=["conv_1", "conv_3"]),
    dict(mode="shared", fusion="sum", aggregate_norm="l1", levels=["conv_2", "conv_3"]),
    dict(mode="none"),
]


def _small(rng, **arguments):
    arguments = {**SMALL, **arguments}
    channels = sum(endpoint_channels("tiny", AttentionFusionNetwork.endpoint("tiny", arguments)))
    arguments["input_shape"] = (*arguments["input_shape"][:3], 2 * channels)
    model = AttentionFusionNetwork(**arguments)
    model.set_weights([0.2 * rng.normal(size=w.shape) for w in model.weights])
    return model


def _features(rng, model, batch=2, time=3):
    shape = (batch, time, *model.input["features"].shape[2:])
    return {"features": rng.normal(size=shape).astype("float32")}


def _stream_levels(model, video):
    """The levels (n, C_j) of RGB, and those of flow, of a video (T, h, w, 2C)."""
    sizes = endpoint_channels("tiny", AttentionFusionNetwork.endpoint("tiny", model.config))
    rows = video.reshape(-1, video.shape[-1]).astype("float64")
    streams = np.split(rows, 2, axis=1)
    return [np.split(stream, np.cumsum(sizes)[:-1], axis=1) for stream in streams]


def _outputs(model, video):
    time, height, width, _ = video.shape
    rgb, flow = _stream_levels(model, video)
    scores = []
    if model.config["mode"] != "none":
        values = iter([w.astype("float64") for w in model.get_layer("attention").get_weights()])
        for rgb_level, flow_level in zip(rgb, flow, strict=True):
            of_rgb = rgb_level @ next(values) + next(values)
            of_flow = flow_level @ next(values) + next(values)
            scores.append(np.concatenate([of_rgb, of_flow]))
    top = np.concatenate([rgb[-1], flow[-1]])
    expected = outputs(model, (2 * time, height, width), scores, top)
    attention = expected["spatial_attention"]
    expected["spatial_attention"] = attention[:time] + attention[time:]
    expected["stream_attention"] = np.array([attention[:time].sum(), attention[time:].sum()])
    return expected


def _reference(model, features):
    videos = [_outputs(model, video) for video in features]
    return {name: np.stack([video[name] for video in videos]) for name in videos[0]}


@pytest.mark.parametrize("arguments", CASES)
def test_forward_pass_equals_numpy(rng, arguments):
    model = _small(rng, **arguments)
    inputs = _features(rng, model)
    expected = _reference(model, inputs["features"])
    assert_close(answer(model, inputs), expected)
    assert_close(expected["stream_attention"].sum(1), np.ones(2))
    if model.config["mode"] != "none":
        assert np.abs(expected["spatial_attention"] - 1 / 18).max() > 0.02
        assert np.abs(expected["stream_attention"] - 1 / 2).max() > 0.02


def test_xla_compiles_any_number_of_frames(rng):
    model = _small(rng, input_shape=(None, 2, 3, 128))
    for time in (1, 4):
        inputs = _features(rng, model, time=time)
        answer = compiled(lambda x: model({"features": x}, training=False))
        assert_close(answer(inputs["features"]), _reference(model, inputs["features"]))


def test_parameters():
    """A level adds, for each stream, a score and its bias for each cell of the new map."""
    one = PyramidAttentionNetwork(**SMALL | {"input_shape": (3, 2, 3, 64)})
    two = AttentionFusionNetwork(**SMALL)
    added = sum(2 * 3 * (channels + 1) for channels in (16, 32, 16))
    assert two.count_params() - one.count_params() == added
    assert two.get_layer("attention").count_params() == 2 * added


def test_objective_equals_numpy(rng):
    model = _small(rng)
    inputs, labels = _features(rng, model), np.array([6, 0])
    expected = _reference(model, inputs["features"])
    terms = {
        "interaction": 0.3 * expected["interaction"].mean(),
        "pyramid": 0.2 * expected["pyramid"].mean(),
    }
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, **QUICK)
    logs = model.evaluate(inputs, labels, verbose=0, return_dict=True)
    whole = cross_entropy(labels, expected["logits"]).mean() + sum(terms.values())
    assert_close(logs, {"loss": whole, **terms})


# === What it does not depend on ===


def test_the_order_of_the_frames_plays_no_part(rng):
    model = _small(rng)
    inputs = _features(rng, model)
    expected = answer(model, inputs)
    order = [2, 0, 1]
    moved = answer(model, {"features": inputs["features"][:, order]})
    expected["spatial_attention"] = expected["spatial_attention"][:, order]
    assert_close(moved, expected)


def test_each_stream_has_scores_of_its_own(rng):
    """The streams change places with their features and their scores, and with both only."""
    model = _small(rng)
    inputs = _features(rng, model)
    expected = answer(model, inputs)
    swapped = {"features": np.roll(inputs["features"], 64, axis=-1)}
    other = answer(model, swapped)
    assert np.abs(other["logits"] - expected["logits"]).max() > 1e-3

    attention = model.get_layer("attention")
    pairs = np.reshape(np.arange(12), (3, 2, 2))[:, ::-1].ravel()  # of each level, those of flow
    attention.set_weights([attention.get_weights()[i] for i in pairs])
    expected["stream_attention"] = expected["stream_attention"][:, ::-1]
    assert_close(answer(model, swapped), expected)


def test_a_bias_moves_attention_between_the_streams(rng):
    """Unlike with one stream, where a softmax of one level cancels it."""
    model = _small(rng, levels=["conv_3"])
    inputs = _features(rng, model)
    kernel, bias, *others = model.get_layer("attention").get_weights()
    model.get_layer("attention").set_weights([kernel, bias + 50, *others])
    found = answer(model, inputs)
    assert_close(found["stream_attention"], np.tile([1.0, 0.0], (2, 1)))
    changed = inputs["features"].copy()
    changed[..., 16:] += 1  # of flow
    assert_close(answer(model, {"features": changed})["logits"], found["logits"])
    maps = {name: numpy(x) for name, x in model.explain(found).items()}
    assert_close(maps["when"], found["spatial_attention"].sum((2, 3)))
    assert_close(maps["where"].sum((2, 3)), np.ones((2, 3)))
