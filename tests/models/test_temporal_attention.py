"""TemporalAttentionLSTM against the paper's equations in NumPy, its counts and its objective."""

import keras
import numpy as np
import pytest
from checks import CROSS_ENTROPY, QUICK, answer, assert_close, cross_entropy, tensorflow_is_enough
from reference import lstm, named_weights, scramble, softmax

from keras_attn.models import TemporalAttentionLSTM

# Every axis another size, every argument away from its default.
SMALL = dict(num_classes=5, input_shape=(6, 7), units=8, iterations=4, dropout=0.2, last=3)


def _small(rng, scale=0.5, **arguments):
    model = scramble(TemporalAttentionLSTM(**{**SMALL, **arguments}), rng, scale)
    return model


def _features(rng, batch=2):
    return {"features": rng.normal(size=(batch, 6, 7)).astype("float32")}


def _reference(model, features):
    """Eq. (3)-(7) with loops: step logits, weights, probabilities of the clip."""
    values = list(named_weights(model).values())
    attention = model.config["attention"] == "temporal"
    if attention:
        u_a, b_a, w_a = values[:3]
        values = values[3:]
    lstm_1, lstm_2, (kernel, bias) = values[:3], values[3:6], values[6:]
    score = np.tanh if model.config["score_activation"] else lambda x: x
    logits, weights = [], []
    for frames in features.astype("float64"):
        h1 = c1 = h2 = c2 = np.zeros(model.config["units"])
        for _ in range(model.config["iterations"]):
            scores = np.zeros(len(frames))
            if attention:
                scores = np.array([score(h2 @ w_a + v @ u_a + b_a)[0] for v in frames])  # eq. (5)
            weights.append(softmax(scores))  # eq. (6)
            glimpse = sum(a * v for a, v in zip(weights[-1], frames, strict=True))  # eq. (4)
            h1, c1 = lstm(glimpse, h1, c1, *lstm_1)
            h2, c2 = lstm(h1, h2, c2, *lstm_2)
            logits.append(h2 @ kernel + bias)  # eq. (7)
    shape = (len(features), model.config["iterations"], -1)
    logits, weights = np.reshape(logits, shape), np.reshape(weights, shape)
    return logits, weights, softmax(logits[:, -model.config["last"] :]).mean(1)


@pytest.mark.parametrize(
    "attention, score_activation", [("temporal", "tanh"), ("temporal", None), ("none", "tanh")]
)
def test_forward_pass_equals_numpy(rng, attention, score_activation):
    model = _small(rng, attention=attention, score_activation=score_activation)
    inputs = _features(rng, batch=3)
    logits, weights, probabilities = _reference(model, inputs["features"])
    outputs = answer(model, inputs)
    assert_close(outputs["step_logits"], logits)
    assert_close(outputs["temporal_attention"], weights)
    assert_close(outputs["logits"], np.log(probabilities))
    if attention == "temporal":
        assert np.ptp(weights, axis=2).min() > 0.05


def _objective(outputs, labels):
    return cross_entropy(labels, outputs["step_logits"]).sum(1).mean()


def test_objective_equals_numpy(rng):
    model = _small(rng)
    inputs, labels = _features(rng, batch=4), np.array([4, 0, 2, 2])
    sample_weight = np.array([2.0, 0.5, 1.0, 3.0])
    logits, _, _ = _reference(model, inputs["features"])
    steps = cross_entropy(labels, logits)  # eq. (8)
    model.compile("sgd", CROSS_ENTROPY(from_logits=True), **QUICK)
    np.testing.assert_allclose(
        model.test_on_batch(inputs, labels, sample_weight=sample_weight),
        np.mean([w * sum(clip) for w, clip in zip(sample_weight, steps, strict=True)]),
        rtol=1e-5,
    )


# === Facts of the paper and the specification ===


@tensorflow_is_enough
def test_parameter_counts():
    model = TemporalAttentionLSTM(101)
    counts = [int(np.prod(w.shape)) for w in model.weights]
    assert sum(counts[:3]) == 4_609
    assert sum(counts[3:6]) == 9_439_232
    assert sum(counts[6:9]) == 2_099_200
    assert sum(counts[9:]) == 51_813
    assert model.count_params() == 11_594_854


def test_without_frame_scores_it_is_the_baseline(rng):
    model, baseline = _small(rng), _small(rng, attention="none")
    _, b_a, w_a, *rest = model.get_weights()
    model.set_weights([np.zeros((7, 1)), b_a, w_a, *rest])
    baseline.set_weights(rest)
    inputs = _features(rng)
    assert_close(answer(model, inputs), answer(baseline, inputs))


def test_identical_frames_make_attention_irrelevant(rng):
    model = _small(rng)
    features = np.repeat(rng.normal(size=(2, 1, 7)).astype("float32"), 6, axis=1)
    before = answer(model, {"features": features})["logits"]
    layer = model.get_layer("reattending_lstm")
    layer.frame_scores.kernel.assign(rng.normal(size=(7, 1)))
    layer.rnn.cell.query.kernel.assign(rng.normal(size=(8, 1)))
    assert_close(answer(model, {"features": features})["logits"], before)


def test_explain(rng):
    model = TemporalAttentionLSTM(**SMALL)
    outputs = {
        "temporal_attention": softmax(rng.normal(size=(3, 4, 6))).astype("float32"),
        "logits": rng.normal(size=(3, 5)).astype("float32"),
    }
    maps = {name: np.asarray(value) for name, value in model.explain(outputs).items()}
    assert_close(maps["when"], outputs["temporal_attention"][:, 1:].mean(1))
    assert_close(maps["where"], np.ones((3, 6, 1, 1)))
    decisions = np.asarray(model.step_probabilities(outputs))
    assert_close(decisions, np.repeat(softmax(outputs["logits"])[:, None], 6, axis=1))


@pytest.mark.parametrize("attention", ["temporal", "none"])
def test_dropout_acts_before_each_lstm_layer_and_the_classifier(attention):
    layers = TemporalAttentionLSTM(**SMALL, attention=attention).layers
    dropouts = [layer for layer in layers if isinstance(layer, keras.layers.Dropout)]
    dropouts += [layer.dropout for layer in layers if layer.name == "reattending_lstm"]
    # One layer draws the masks of both LSTM layers that attend.
    assert [layer.rate for layer in dropouts] == [0.2] * (2 if attention == "temporal" else 3)


# === What every model must survive ===


@pytest.mark.parametrize("attention", ["temporal", "none"])
def test_a_single_frame_is_a_clip(rng, attention):
    model = _small(rng, attention=attention, input_shape=(None, 7))
    inputs = {"features": _features(rng)["features"][:, :1]}
    logits, weights, _ = _reference(model, inputs["features"])
    outputs = answer(model, inputs)
    assert_close(outputs["temporal_attention"], weights)
    assert_close(outputs["step_logits"], logits)


def test_frames_go_through_the_vector_of_the_backbone(rng):
    model = TemporalAttentionLSTM(**{**SMALL, "input_shape": (6, 32, 32, 3)}, backbone="tiny")
    video = rng.integers(0, 256, (2, 6, 32, 32, 3), dtype="uint8")
    outputs = answer(model, {"video": video})
    vectors = keras.ops.convert_to_numpy(model.get_layer("backbone")(video))
    assert vectors.shape[:2] == (2, 6) and vectors.ndim == 3
    cached = TemporalAttentionLSTM(**{**SMALL, "input_shape": vectors.shape[1:]})
    cached.set_weights(model.get_weights()[-len(cached.weights) :])
    assert_close(answer(cached, {"features": vectors}), outputs)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"attention": "spatial"}, "attention must be one of temporal, none, got 'spatial'"),
        ({"score_activation": "relu"}, "score_activation must be one of tanh, None, got 'relu'"),
        ({"iterations": 0}, "iterations must be at least 1, got 0"),
        ({"last": 0}, "last must be at least 1, got 0"),
        ({"last": 5}, "last must be at most iterations=4, got 5"),
        ({"units": 0}, "units must be at least 1, got 0"),
        ({"num_classes": 1}, "num_classes must be at least 2, got 1"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"input_shape": (6, 4, 7)}, r"input_shape must be \(T, D\) of features, got \(6, 4"),
        ({"input_shape": (6, 7), "backbone": "tiny"}, r"input_shape must be \(T, H, W, channels"),
        ({"input_shape": (0, 7)}, "input_shape must be at least 1 along every axis"),
        ({"input_shape": (6, 32, 32, 3), "backbone": "fc6"}, "backbone must be one of .*'fc6'"),
    ],
)
def test_arguments_that_cannot_work(arguments, message):
    with pytest.raises(ValueError, match=message):
        TemporalAttentionLSTM(**{**SMALL, **arguments})
