"""PyramidAttentionNetwork against the paper's equations in NumPy, and its objective."""

import keras
import numpy as np
import pytest
from checks import CROSS_ENTROPY, QUICK, answer, assert_close, cross_entropy
from pyramid_reference import outputs

from keras_attn.backbones import endpoint_channels
from keras_attn.models import PyramidAttentionNetwork

# Every axis another size, every argument away from its default. The levels of the backbone "tiny"
# have 16, 32 and 16 channels; behind the last come its ReLU, its moments and the mean over cells.
SMALL = dict(
    num_classes=7,
    input_shape=(4, 2, 3, 64),
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
    dict(fusion="max", aggregate_norm="l1", levels=["conv_3"], pyramid_form="printed"),
    dict(mode="shared"),
    dict(mode="shared", fusion="sum", aggregate_norm="l1", levels=["conv_2", "conv_3"]),
    dict(mode="uniform"),
    dict(mode="uniform", fusion="sum", aggregate_norm="l1", levels=["conv_2", "conv_3"]),
    dict(mode="none"),
]


def _small(rng, **arguments):
    arguments = {**SMALL, **arguments}
    channels = sum(endpoint_channels("tiny", PyramidAttentionNetwork.endpoint("tiny", arguments)))
    arguments["input_shape"] = (*arguments["input_shape"][:3], channels)
    model = PyramidAttentionNetwork(**arguments)
    model.set_weights([0.2 * rng.normal(size=w.shape) for w in model.weights])
    return model


def _features(rng, model, batch=2, time=4):
    shape = (batch, time, *model.input["features"].shape[2:])
    return {"features": rng.normal(size=shape).astype("float32")}


# === The paper in NumPy ===


def _level_scores(model, video):
    """Eq. (2) of every level of a video (T, h, w, C): (n, m) each, and the last level (n, C)."""
    names = PyramidAttentionNetwork.endpoint("tiny", model.config)
    sizes = endpoint_channels("tiny", names)
    levels = np.split(video.reshape(-1, video.shape[-1]), np.cumsum(sizes)[:-1], axis=1)
    if model.config["mode"] == "none":
        return None, levels[-1]
    if model.config["mode"] == "uniform":
        return [np.zeros((len(level), 6)) for level in levels], levels[-1]
    values = [w.astype("float64") for w in model.get_layer("attention").get_weights()]
    pairs = zip(levels, values[::2], values[1::2], strict=True)
    return [level @ kernel + bias for level, kernel, bias in pairs], levels[-1]


def _outputs(model, video):
    scores, top = _level_scores(model, video.astype("float64"))
    return outputs(model, video.shape[:3], scores, top)


def _reference(model, features):
    videos = [_outputs(model, video) for video in features]
    return {name: np.stack([video[name] for video in videos]) for name in videos[0]}


@pytest.mark.parametrize("arguments", CASES)
def test_forward_pass_equals_numpy(rng, arguments):
    model = _small(rng, **arguments)
    inputs = _features(rng, model, batch=5)
    expected = _reference(model, inputs["features"])
    assert_close(answer(model, inputs), expected)
    if model.config["mode"] not in ("uniform", "none"):
        assert np.abs(expected["spatial_attention"] - 1 / 24).max() > 0.02


@pytest.mark.parametrize("mode", ["interaction", "shared", "uniform", "none"])
def test_one_frame_is_an_image(rng, mode):
    """And a model for any number of frames takes one as it takes four."""
    model = _small(rng, mode=mode, input_shape=(None, 2, 3, 64))
    for time in (1, 4):
        inputs = _features(rng, model, time=time)
        assert_close(answer(model, inputs), _reference(model, inputs["features"]))


@pytest.mark.parametrize("arguments", [dict(), dict(interaction=0.0)])
def test_objective_equals_numpy(rng, arguments):
    model = _small(rng, **arguments)
    inputs, labels = _features(rng, model, batch=5), np.array([6, 0, 2, 2, 4])
    expected = _reference(model, inputs["features"])
    factors = {"interaction": 0.3, "pyramid": 0.2, **arguments}
    terms = {
        name: factors[name] * expected[name].mean()
        for name in ("interaction", "pyramid")
        if name in expected and factors[name]
    }
    model.compile("sgd", CROSS_ENTROPY(from_logits=True), **QUICK)
    # Batches of 3 and 2: the logged means must weigh videos, not batches.
    logs = model.evaluate(inputs, labels, batch_size=3, verbose=0, return_dict=True)
    loss = cross_entropy(labels, expected["logits"]).mean() + sum(terms.values())
    assert set(logs) == {"loss", *terms}
    assert_close([logs["loss"], *(logs[name] for name in terms)], [loss, *terms.values()])


def test_several_labels_a_video(rng):
    model = _small(rng, dropout=0.0)
    inputs, labels = _features(rng, model, batch=3), rng.integers(0, 2, (3, 7)).astype("float32")
    expected = _reference(model, inputs["features"])
    weights, logits = np.array([2.0, 0.5, 1.0]), expected["logits"]
    losses = np.logaddexp(0, logits) - labels * logits
    terms = 0.3 * expected["interaction"].mean() + 0.2 * expected["pyramid"].mean()
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    accuracy = keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")
    model.compile("sgd", loss, metrics=[accuracy], **QUICK)
    logs = model.train_on_batch(inputs, labels, sample_weight=weights, return_dict=True)
    np.testing.assert_allclose(logs["loss"], np.mean(weights * losses.mean(1)) + terms, rtol=1e-5)
    np.testing.assert_allclose(logs["accuracy"], np.mean((logits > 0) == labels), rtol=1e-6)


# === What every model must survive ===
