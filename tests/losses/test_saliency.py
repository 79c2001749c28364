"""Total variation and contrast of masks, and unimodality of temporal weights."""

import itertools

import numpy as np
import pytest
from checks import check_gradient, compiled, gradient
from keras import ops

from keras_attn import losses


def _total_variation(mask):  # Meng et al. 2019, eq. (8)
    total = 0.0
    for frame in mask.reshape(-1, *mask.shape[2:]):
        for j, k in np.ndindex(frame.shape):
            if j + 1 < frame.shape[0]:
                total += abs(frame[j + 1, k] - frame[j, k])
            if k + 1 < frame.shape[1]:
                total += abs(frame[j, k + 1] - frame[j, k])
    return total / len(mask)


def _contrast(mask):  # eq. (9)
    total = 0.0
    for cell in mask.ravel():
        above = float(cell > 0.5)
        total += -0.5 * cell * above + 0.5 * cell * (1 - above)
    return total / len(mask)


def _excesses(weights):
    for sequence in weights.reshape(-1, weights.shape[-1]):
        for i in range(1, len(sequence) - 1):
            yield max(0.0, sequence[i - 1] * sequence[i + 1] - sequence[i] ** 2)


def _unimodality(weights):  # eq. (10)
    return sum(_excesses(weights)) / len(weights)


def _root_unimodality(weights):
    return np.mean([np.sqrt(excess + 1e-10) - 1e-5 for excess in _excesses(weights)])


def root_unimodality(weights):
    return losses.unimodality(weights, "sqrt_mean")


def _softmax(scores):
    exponentials = np.exp(scores - scores.max(-1, keepdims=True))
    return (exponentials / exponentials.sum(-1, keepdims=True)).astype("float32")


MASKS = (2, 3, 4, 5)
PENALTIES = [
    (losses.total_variation, _total_variation, MASKS),
    (losses.contrast, _contrast, MASKS),
    (losses.unimodality, _unimodality, (2, 7)),
    (losses.unimodality, _unimodality, (2, 3, 6)),
    (root_unimodality, _root_unimodality, (2, 3, 6)),
]
EVERY = pytest.mark.parametrize("penalty, reference, shape", PENALTIES)


def _values(rng, shape):
    return (
        rng.random(shape).astype("float32") if shape == MASKS else _softmax(rng.normal(size=shape))
    )


@EVERY
def test_equals_loops_compiled_or_not(rng, penalty, reference, shape):
    values = _values(rng, shape)
    expected = reference(values.astype("float64"))
    np.testing.assert_allclose(float(penalty(values)), expected, rtol=1e-5)
    np.testing.assert_allclose(float(compiled(penalty)(values)), expected, rtol=1e-5)


@EVERY
def test_gradient_equals_central_differences(rng, penalty, reference, shape):
    check_gradient(penalty, reference, _values(rng, shape))


@EVERY
@pytest.mark.parametrize("values", ["zeros", "ones", "uniform", "half", "one-hot", "alternating"])
def test_value_and_gradient_are_finite_everywhere(penalty, reference, shape, values):
    x = np.zeros(shape, "float32")
    x += {"ones": 1, "uniform": 1 / shape[-1], "half": 0.5}.get(values, 0)
    if values == "one-hot":
        x[..., 2] = 1
    if values == "alternating":
        x[..., ::2] = 1 / 3
    np.testing.assert_allclose(float(penalty(x)), reference(x.astype("float64")), rtol=1e-5)
    assert np.isfinite(gradient(penalty, x)).all()


@EVERY
def test_half_precision_is_computed_in_float32(rng, penalty, reference, shape):
    value = penalty(ops.cast(_values(rng, shape), "float16"))
    assert "float32" in str(value.dtype)


# === Total variation ===


@pytest.mark.parametrize("side, largest", [(7, 84), (8, 112)])
def test_total_variation_is_largest_for_a_chessboard_and_zero_for_a_constant(rng, side, largest):
    board = np.indices((side, side)).sum(0) % 2
    mask = np.broadcast_to(board.astype("float32"), (2, 1, side, side))
    np.testing.assert_allclose(float(losses.total_variation(mask)), largest)
    assert float(losses.total_variation(0 * mask + 0.3)) == 0
    assert float(losses.total_variation(rng.random(mask.shape))) < largest


def test_total_variation_of_a_binary_mask_is_the_length_of_its_boundary():
    mask = np.zeros((1, 2, 7, 8), "float32")
    mask[0, 0, 2:4, 1:6] = 1  # 2 x 5 inside: 14
    mask[0, 1, 0:3, 5:8] = 1  # 3 x 3 in a corner: 6
    assert float(losses.total_variation(mask)) == 20


def test_total_variation_knows_neither_mirror_nor_complement(rng):
    mask = _values(rng, MASKS)
    value = float(losses.total_variation(mask))
    for other in (mask[:, :, ::-1], mask[..., ::-1], 1 - mask):
        np.testing.assert_allclose(float(losses.total_variation(other)), value, rtol=1e-5)


# === Contrast ===


def test_contrast_bounds_for_a_map_of_seven():
    frame = np.ones((2, 1, 7, 7), "float32")
    below = np.nextafter(np.float32(0.5), np.float32(0))
    for cell, expected in [(1, -24.5), (0, 0), (0.5, 12.25), (0.51, -0.51 * 24.5)]:
        np.testing.assert_allclose(float(losses.contrast(cell * frame)), expected, rtol=1e-6)
    assert 12.24 < float(losses.contrast(below * frame)) <= 12.25


def test_contrast_gradient_is_half_towards_the_nearer_end():
    mask = np.array([0.1, 0.49, 0.51, 0.9], "float32").reshape(1, 1, 2, 2)
    expected = np.array([0.5, 0.5, -0.5, -0.5]).reshape(1, 1, 2, 2)
    np.testing.assert_array_equal(gradient(losses.contrast, mask), expected)
    twice = gradient(losses.contrast, np.concatenate([mask, mask]))
    np.testing.assert_array_equal(twice[1:], expected / 2)


# === Unimodality ===


@pytest.mark.parametrize("penalty", [losses.unimodality, root_unimodality])
def test_log_concave_weights_are_free(rng, penalty):
    steps = -np.abs(rng.normal(size=(4, 9))) - 0.01  # second differences of the scores
    scores = np.cumsum(np.cumsum(steps, 1) + 3, 1)
    assert float(penalty(_softmax(scores))) == 0


@pytest.mark.parametrize(
    "weights, expected",
    [
        ((0.5, 0, 0.5), 0.25),
        ((0.5, 0, 0, 0.5), 0),
        ((0.6, 0.1, 0.09, 0.21), 0.6 * 0.09 - 0.01 + 0.1 * 0.21 - 0.0081),
    ],
    ids=["two peaks", "two peaks apart", "falling and rising"],
)
def test_unimodality_of_sequences_worked_by_hand(weights, expected):
    actual = float(losses.unimodality(np.array([weights], "float32")))
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_falling_weights_can_be_penalized():
    weights = np.array([[0.6, 0.1, 0.09, 0.08, 0.07, 0.06]], "float32")
    assert (np.diff(weights) < 0).all()
    assert float(losses.unimodality(weights)) > 0.04


def test_positive_weights_without_penalty_have_one_peak(rng):
    """All sequences of five weights from a grid; the reverse of what the paper proves."""
    peaks = 0
    for scores in itertools.product(range(3), repeat=5):
        weights = _softmax(np.array([scores], "float32"))
        rises = np.diff(scores)[np.diff(scores) != 0] > 0
        several = any(later and not earlier for earlier, later in itertools.pairwise(rises))
        peaks += several
        if several:
            assert float(losses.unimodality(weights)) > 1e-4
    assert peaks > 50


def test_the_sum_is_over_iterations_and_the_mean_of_roots_is_not(rng):
    weights = _softmax(rng.normal(size=(2, 3, 6)))
    twice = np.concatenate([weights, weights], 1)
    value = float(losses.unimodality(weights))
    np.testing.assert_allclose(float(losses.unimodality(twice)), 2 * value, rtol=1e-5)
    np.testing.assert_allclose(float(root_unimodality(twice)), root_unimodality(weights), rtol=1e-5)


# === Arguments ===


@pytest.mark.parametrize(
    "penalty, shape, message",
    [
        (losses.total_variation, (2, 4, 5), r"mask must have the shape \(B, T, h, w\), got \(2, 4"),
        (losses.contrast, (2, 3, 4, 5, 1), "mask must have the shape"),
        (losses.unimodality, (2, 3, 4, 5), r"weights must have the shape \(B, T\) or \(B, I, T\)"),
        (losses.unimodality, (2, 3, 2), "weights must be of at least 3 frames, got 2"),
        (lambda x: losses.unimodality(x, "mean"), (2, 3), "reduction must be one of sum"),
    ],
)
def test_arguments_that_cannot_work(penalty, shape, message):
    with pytest.raises(ValueError, match=message):
        penalty(np.ones(shape, "float32"))
