"""Which segments are confident, what is trained of them, and what they count for."""

import keras
import numpy as np
import pytest
from checks import assert_close, check_gradient, gradient, numpy
from keras import ops

from keras_attn.layers import ConfidencePool, SelectedSegments
from keras_attn.layers.segment_attention import confidence, most_confident
from keras_attn.testing import check_layer


def _probabilities(rng, *shape):
    x = np.exp(rng.normal(size=shape))
    return x / x.sum(-1, keepdims=True)


def _entropy(probabilities):  # eq. (2)
    return -sum(p * np.log(p) for p in probabilities if p > 0)


# === Confidence ===


def test_confidence_is_the_reciprocal_entropy(rng):
    probabilities = _probabilities(rng, 4, 3, 7)
    alphas = numpy(confidence(probabilities.astype("float32")))
    for b, s in np.ndindex(4, 3):
        np.testing.assert_allclose(alphas[b, s], 1 / _entropy(probabilities[b, s]), rtol=1e-5)
    assert alphas.min() > 1 / np.log(7)


@pytest.mark.parametrize("classes, least", [(101, 0.2167), (51, 0.2543)])
def test_confidence_at_its_bounds(classes, least):
    uniform, certain = np.full(classes, 1 / classes, "float32"), np.eye(classes, dtype="float32")
    np.testing.assert_allclose(confidence(uniform), least, atol=1e-4)
    np.testing.assert_allclose(confidence(certain), 1e6, rtol=1e-6)
    for probabilities in (uniform, certain[3], np.zeros(classes, "float32")):
        assert np.isfinite(gradient(lambda p: ops.sum(confidence(p)), probabilities)).all()


def test_gradient_of_confidence(rng):
    factors = rng.normal(size=3)

    def value(probabilities):
        return ops.sum(confidence(probabilities) * factors)

    def reference(probabilities):
        return sum(f / _entropy(p) for f, p in zip(factors, probabilities, strict=True))

    check_gradient(value, reference, _probabilities(rng, 3, 5))


# === Selection ===


@pytest.mark.parametrize("count, keep, groups", [(9, 1, 3), (9, 3, 1), (6, 2, 2), (25, 1, 3)])
def test_the_most_confident_of_each_group(rng, count, keep, groups):
    confidences = rng.integers(0, 6, (4, count)).astype("float32")  # with ties
    expected = np.zeros((4, count), bool)
    bounds = [-(-count * g // groups) for g in range(groups + 1)]
    for row, kept in zip(confidences, expected, strict=True):
        for start, end in zip(bounds, bounds[1:], strict=False):
            best = sorted(range(start, end), key=lambda n, row=row: (-row[n], n))[:keep]
            kept[best] = True
    actual = np.asarray(most_confident(ops.convert_to_tensor(confidences), keep, groups))
    np.testing.assert_array_equal(actual, expected)
    assert (actual.sum(1) == keep * groups).all()


def _network(rate=0.5):
    snippet = keras.Input((3, 4, 5))
    maps = keras.layers.BatchNormalization(momentum=0.5)(snippet)
    maps = keras.layers.Dropout(rate)(maps)
    mean = keras.layers.GlobalAveragePooling2D()(maps)
    outputs = {"logits": keras.layers.Dense(7)(mean), "map": keras.layers.Conv2D(2, 1)(maps)}
    return keras.Model(snippet, outputs)


def _segments(rng, batch=2, count=6):
    return rng.normal(size=(batch, count, 3, 4, 5)).astype("float32")


def test_segments_are_answered_one_by_one(rng):
    segments = _segments(rng)
    layer = SelectedSegments(_network(), groups=2, keep=1)
    outputs = check_layer(layer, segments)
    for b, s in np.ndindex(2, 6):
        alone = layer.layer(segments[b, s : s + 1])
        assert_close(
            [outputs["logits"][b, s], outputs["map"][b, s]], [x[0] for x in alone.values()]
        )
    kept = numpy(outputs["selected"])
    assert (kept.reshape(2, 2, 3).sum(2) == 1).all()


def test_training_selects_by_inference_and_trains_what_it_selects(rng):
    segments = _segments(rng, batch=8)
    layer = SelectedSegments(_network(), groups=2, keep=1)
    before = {name: numpy(x) for name, x in layer(segments).items()}
    statistics = layer.layer.get_weights()[2]
    trained = {name: numpy(x) for name, x in layer(segments, training=True).items()}
    selected = before["selected"] > 0
    np.testing.assert_array_equal(trained["selected"], before["selected"])
    for name in ("logits", "map"):
        assert trained[name].shape == before[name].shape
        assert_close(trained[name][~selected], before[name][~selected])
        assert (np.abs(trained[name] - before[name])[selected].reshape(16, -1).max(1) > 0).all()
    # Moving statistics saw the selected segments, once.
    mean = segments[selected].mean((0, 1, 2))
    assert_close(layer.layer.get_weights()[2], (statistics + mean) / 2)


@pytest.mark.parametrize("groups, keep, selects", [(3, 2, False), (3, 1, True)])
def test_outputs_of_training_lie_where_their_segments_do(rng, groups, keep, selects):
    """Without dropout and with moving statistics in place, both passes say the same."""
    network = _network(rate=0.0)
    network.layers[1].trainable = False
    layer = SelectedSegments(network, groups, keep)
    segments = _segments(rng, batch=3)
    outputs = layer(segments, training=True)
    assert_close(outputs, layer(segments))
    kept = numpy(outputs["selected"]) > 0
    assert kept.all() != selects
    slopes = gradient(lambda x: ops.sum(layer(x, training=True)["map"]), segments)
    assert (slopes[~kept] == 0).all()
    assert (np.abs(slopes[kept]).reshape(kept.sum(), -1).max(-1) > 0).all()


# === Pooling ===


def _pooled(probabilities, keep, pooling):
    """Eq. (11) of one video with loops: pooled probabilities, weights."""
    alphas = np.array([1 / _entropy(p) for p in probabilities])
    kept = sorted(range(len(alphas)), key=lambda n: -alphas[n])[:keep]
    counted = np.array([alphas[n] if n in kept else 0 for n in range(len(alphas))])
    if pooling == "average":
        counted = np.ones(len(alphas))
    weights = counted / counted.sum()
    factors = counted if pooling == "confidence_sum" else weights
    return sum(f * p for f, p in zip(factors, probabilities, strict=True)), weights


@pytest.mark.parametrize(
    "keep, pooling",
    [(3, "confidence"), (9, "confidence"), (3, "confidence_sum"), (3, "average")],
)
def test_pooling_equals_numpy(rng, keep, pooling):
    step_logits = 2 * rng.normal(size=(3, 5, 4)).astype("float32")
    logits, weights = ConfidencePool(keep, pooling)(step_logits)
    for b in range(3):
        probabilities = np.exp(step_logits[b]) / np.exp(step_logits[b]).sum(-1, keepdims=True)
        expected, counted = _pooled(probabilities, keep, pooling)
        assert_close([np.exp(numpy(logits[b])), weights[b]], [expected, counted])


def test_pooling_is_a_layer(rng):
    check_layer(ConfidencePool(2, "confidence_sum"), rng.normal(size=(3, 5, 4)).astype("float32"))


def test_alike_segments_make_the_average_of_those_kept(rng):
    """Permuted logits have the same entropy."""
    row = np.sort(rng.normal(size=6)).astype("float32")
    step_logits = np.stack([np.roll(row, n) for n in range(6)])[None]
    probabilities = np.exp(step_logits[0]) / np.exp(row).sum()
    average = numpy(ConfidencePool(6, "average")(step_logits)[0])
    assert_close(np.exp(average[0]), probabilities.mean(0))
    assert_close(ConfidencePool(6)(step_logits)[0], average, atol=1e-4)
    kept = ConfidencePool(4)(step_logits)
    chosen = numpy(kept[1])[0] > 0
    assert chosen.sum() == 4
    assert_close(np.exp(numpy(kept[0])[0]), probabilities[chosen].mean(0), atol=1e-4)


def test_certain_segments_leave_finite_logits(rng):
    step_logits = 1e4 * rng.normal(size=(2, 5, 4)).astype("float32")
    logits, weights = ConfidencePool(3)(step_logits)
    assert np.isfinite(numpy(logits)).all()
    np.testing.assert_allclose(np.exp(numpy(logits)).sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(numpy(weights).sum(1), 1, rtol=1e-5)


def test_arguments_that_cannot_work():
    with pytest.raises(ValueError, match="pooling must be one of .*confidence_sum.*'max'"):
        ConfidencePool(pooling="max")
    with pytest.raises(ValueError, match="keep must be at least 1, got 0"):
        ConfidencePool(keep=0)
    with pytest.raises(ValueError, match="groups must be at least 1, got 0"):
        SelectedSegments(_network(), groups=0)
    with pytest.raises(ValueError, match="at most the 6 segments given, got 2 times 4"):
        SelectedSegments(_network(), groups=2, keep=4)(np.zeros((2, 6, 3, 4, 5)))
