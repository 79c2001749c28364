"""StructuredAttentionLSTM against the paper's equations in NumPy, its counts and its objective."""

import warnings

import numpy as np
import pytest
from checks import (
    CROSS_ENTROPY,
    QUICK,
    answer,
    assert_close,
    cross_entropy,
    sum_of_squares,
    tensorflow_is_enough,
)
from reference import lstm, softmax

from keras_attn.models import StructuredAttentionLSTM

# Every axis another size, every argument away from its default; 3x4 cells, blocks of 2 every 1.
SMALL = dict(
    num_classes=5,
    input_shape=(6, 3, 4, 7),
    units=8,
    block=2,
    stride=1,
    penalty=0.3,
    dropout=0.2,
    weight_decay=0.01,
)


def _small(rng, scale=0.5, **arguments):
    model = StructuredAttentionLSTM(**{**SMALL, **arguments})
    model.set_weights([scale * rng.normal(size=w.shape) for w in model.weights])
    return model


def _features(rng, batch=2):
    return {"features": rng.normal(size=(batch, 6, 3, 4, 7)).astype("float32")}


# === The paper in NumPy ===


def _named_weights(model):
    """`{"lstm_1/kernel": ...}` for every weight."""
    values = {"/".join(w.path.split("/")[-2:]): w.numpy().astype("float64") for w in model.weights}
    # keras.layers.LSTM holds its weights in a part of its own.
    cells = {
        f"{w.path.split('/')[0]}/{w.name}": w.numpy().astype("float64")
        for w in model.weights
        if w.path.startswith("lstm_")
    }
    return {**values, **cells}


def _scores(model, named, cells, hidden):  # eq. (8) and section 4.4
    if model.config["attention"] == "none":
        return np.zeros(len(cells))
    scores = hidden @ named["attention/kernel"]
    if model.config["current_frame"]:
        frame = cells @ named["frame_map/kernel"][:, 0] + named["frame_map/bias"]
        vector = np.tanh(frame @ named["frame_vector/kernel"] + named["frame_vector/bias"])
        scores = scores + vector @ named["frame_scores/kernel"]
    return scores


def _reference(model, features):
    """Eq. (2)-(9) and (13) with loops: step logits, weights, probabilities of the clip."""
    named = _named_weights(model)
    lstm_1, lstm_2 = (
        [named[f"lstm_{i}/{name}"] for name in ("kernel", "recurrent_kernel", "bias")]
        for i in (1, 2)
    )
    batch, time, height, width, channels = features.shape
    logits = np.zeros((batch, time, model.config["num_classes"]))
    masks = np.zeros((batch, time, height, width))
    for b in range(batch):
        h1 = c1 = h2 = c2 = np.zeros(model.config["units"])
        for t in range(time):
            cells = features[b, t].reshape(height * width, channels).astype("float64")
            weights = softmax(_scores(model, named, cells, h2))
            glimpse = sum(a * x for a, x in zip(weights, cells, strict=True))  # eq. (9)
            h1, c1 = lstm(glimpse, h1, c1, *lstm_1)
            h2, c2 = lstm(h1, h2, c2, *lstm_2)
            logits[b, t] = h2 @ named["classifier/kernel"]  # eq. (7)
            masks[b, t] = weights.reshape(height, width)
    if model.config["logit_tanh"]:
        logits = np.tanh(logits)
    return logits, masks, softmax(logits).mean(1)


@pytest.mark.parametrize("logit_tanh", [True, False])
@pytest.mark.parametrize(
    "attention, current_frame",
    [("structured", False), ("concentrated", True), ("classic", True), ("none", False)],
)
def test_forward_pass_equals_numpy(rng, attention, current_frame, logit_tanh):
    model = _small(rng, attention=attention, current_frame=current_frame, logit_tanh=logit_tanh)
    inputs = _features(rng, batch=3)
    logits, masks, probabilities = _reference(model, inputs["features"])
    outputs = answer(model, inputs)
    assert_close(outputs["step_logits"], logits)
    assert_close(outputs["spatial_attention"], masks)
    assert_close(outputs["logits"], np.log(probabilities))
    if attention != "none":
        assert np.abs(masks[:, 1:] - 1 / 12).max() > 0.02


@pytest.mark.parametrize("attention", ["structured", "concentrated", "classic", "none"])
def test_objective_equals_numpy(rng, attention):
    model = _small(rng, attention=attention, current_frame=attention != "none")
    inputs, labels = _features(rng, batch=4), np.array([4, 0, 2, 2])
    logits, masks, _ = _reference(model, inputs["features"])
    cross_entropies = [
        sum(-np.log(softmax(step)[label]) for step in clip)
        for clip, label in zip(logits, labels, strict=True)
    ]
    expected = np.mean(cross_entropies) + 0.01 * sum_of_squares(model)
    term = {"structured": _sparsity, "concentrated": _entropy}.get(attention)
    value = 0.3 * np.mean([sum(term(frame) for frame in clip) for clip in masks]) if term else 0
    model.compile("sgd", CROSS_ENTROPY(from_logits=True), metrics=["accuracy"], **QUICK)
    # Batches of 3 and 1: the logged means must weigh clips, not batches.
    logs = model.evaluate(inputs, labels, batch_size=3, verbose=0, return_dict=True)
    np.testing.assert_allclose(logs["loss"], expected + value, rtol=1e-5)
    names = {"structured": "block_sparsity", "concentrated": "block_entropy"}
    assert set(logs) == {"loss", "accuracy"} | ({names[attention]} if term else set())
    if term:
        np.testing.assert_allclose(logs[names[attention]], value, rtol=1e-5)


def _blocks(frame):  # of 2, every 1
    return [frame[i : i + 2, j : j + 2] for i in range(2) for j in range(3)]


def _sparsity(frame):
    return sum(np.sqrt(np.sum(block**2)) for block in _blocks(frame))


def _entropy(frame):
    shares = np.array([block.sum() for block in _blocks(frame)])
    shares = shares / shares.sum()
    return -np.sum(shares * np.log(shares))


def test_sample_weights_scale_the_clips(rng):
    model = _small(rng, attention="classic", weight_decay=0.0)
    inputs, labels, weights = _features(rng), np.array([4, 1]), np.array([2.0, 0.5])
    model.compile("sgd", CROSS_ENTROPY(from_logits=True), **QUICK)
    loss = model.test_on_batch(inputs, labels, sample_weight=weights)
    steps = cross_entropy(labels, answer(model, inputs)["step_logits"])
    np.testing.assert_allclose(loss, np.mean(weights * steps.sum(1)), rtol=1e-5)


# === Facts of the paper and the specification ===


def _count(model, *parts):
    return sum(np.prod(w.shape) for w in model.weights if any(part in w.path for part in parts))


@pytest.mark.parametrize(
    "classes, classifier, total", [(11, 5_632, 7_382_528), (51, 26_112, 7_403_008)]
)
@tensorflow_is_enough
def test_parameter_counts(classes, classifier, total):
    model = StructuredAttentionLSTM(classes)
    assert _count(model, "lstm_1") == 5_244_928
    assert _count(model, "lstm_2") == 2_099_200
    assert _count(model, "/attention/") == 32_768
    assert _count(model, "classifier") == classifier
    assert model.count_params() == total
    assert StructuredAttentionLSTM(classes, attention="none").count_params() == total - 32_768


@tensorflow_is_enough
def test_parameter_counts_with_the_current_frame():
    model = StructuredAttentionLSTM(11, current_frame=True)
    assert _count(model, "frame_map") == 2_049
    assert _count(model, "frame_vector") == 33_280
    assert _count(model, "frame_scores") == 32_768
    assert model.count_params() == 7_382_528 + 2_049 + 33_280 + 32_768


@pytest.mark.parametrize("classes, floor", [(11, 0.8558), (51, 2.0499)])
def test_tanh_bounds_the_cross_entropy_from_below(rng, classes, floor):
    model = _small(rng, num_classes=classes, input_shape=(1, 3, 4, 7))
    kernel = model.get_layer("classifier").kernel
    values = np.full(kernel.shape, -1e4)
    values[:, 3] = 1e4
    hidden = model.get_layer("attended_lstm")
    weights = hidden.get_weights()
    hidden.set_weights([np.abs(w) for w in weights])  # states above zero
    kernel.assign(values)
    outputs = answer(model, {"features": np.ones((2, 1, 3, 4, 7), "float32")})
    np.testing.assert_allclose(cross_entropy([3, 3], outputs["logits"]), floor, atol=1e-4)


def test_a_zero_classifier_starts_at_log_classes(rng):
    model = _small(rng, weight_decay=0.0, attention="none")
    model.get_layer("classifier").kernel.assign(np.zeros((8, 5)))
    outputs = answer(model, _features(rng))
    np.testing.assert_allclose(cross_entropy([1, 2], outputs["logits"]), np.log(5), rtol=1e-5)


def test_saturated_steps_leave_finite_logits(rng):
    model = _small(rng, scale=300.0, logit_tanh=False)
    assert np.isfinite(answer(model, _features(rng))["logits"]).all()


def test_explain(rng):
    model = _small(rng)
    outputs = answer(model, _features(rng, 3))
    maps = {name: np.asarray(value) for name, value in model.explain(outputs).items()}
    assert_close(maps["where"], outputs["spatial_attention"])
    top = outputs["logits"].argmax(-1)
    expected = np.stack(
        [softmax(s)[:, k] for s, k in zip(outputs["step_logits"], top, strict=True)]
    )
    assert_close(maps["when"], expected / expected.sum(1, keepdims=True))


# === What every model must survive ===


def test_uncovered_cells_warn():
    message = "4 of the 12 cells of the 3x4 map lie in no block"
    with pytest.warns(UserWarning, match=message) as warned:
        StructuredAttentionLSTM(**{**SMALL, "stride": None})
    assert warned[0].filename == __file__  # it is the user's line that is named
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        StructuredAttentionLSTM(**{**SMALL, "stride": None, "attention": "classic"})


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"attention": "soft"}, "attention must be one of .*concentrated.*'soft'"),
        ({"block": 4}, "block must fit into the map of 3 cells"),
        ({"input_shape": (3, 4, 7)}, "input_shape must be"),
        ({"num_classes": 1}, "num_classes must be at least 2, got 1"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"dropout": -0.1}, "dropout must be"),
        ({"units": 0}, "units must be"),
    ],
)
def test_arguments_that_cannot_work(arguments, message):
    with pytest.raises(ValueError, match=message):
        StructuredAttentionLSTM(**{**SMALL, **arguments})
