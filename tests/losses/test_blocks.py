"""The penalties against loops, their bounds and invariances, and their gradients."""

import itertools

import numpy as np
import pytest
from checks import check_gradient, compiled, gradient
from keras import ops

from keras_attn import losses

PENALTIES = [losses.block_sparsity, losses.block_entropy]
GRIDS = [(2, None), (2, 1), (3, 2), (4, 3)]


def _blocks(frame, block, stride):
    stride = stride or block
    height, width = frame.shape
    return [
        frame[i : i + block, j : j + block]
        for i in range(0, height - block + 1, stride)
        for j in range(0, width - block + 1, stride)
    ]


def _reference(penalty, weights, block, stride):
    """Eq. (10), and the entropy, with loops in the precision of the input."""
    total = 0.0
    for clip, t in itertools.product(weights, range(weights.shape[1])):
        blocks = _blocks(clip[t], block, stride)
        if penalty is losses.block_sparsity:
            total += sum(np.sqrt(np.sum(b**2)) for b in blocks)
        else:
            shares = np.array([b.sum() for b in blocks]) / sum(b.sum() for b in blocks)
            total -= sum(p * np.log(p) for p in shares if p > 0)
    return total / len(weights)


def _simplex(rng, shape):
    weights = rng.random(shape) ** 4
    return (weights / weights.sum((2, 3), keepdims=True)).astype("float32")


@pytest.mark.parametrize("block, stride", GRIDS)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_equals_loops_compiled_or_not(rng, penalty, block, stride):
    weights = _simplex(rng, (2, 3, 5, 7))
    expected = _reference(penalty, weights.astype("float64"), block, stride)
    np.testing.assert_allclose(float(penalty(weights, block, stride)), expected, rtol=1e-5)
    if (block, stride) == (3, 2):
        function = compiled(lambda x: penalty(x, block, stride))
        np.testing.assert_allclose(float(function(weights)), expected, rtol=1e-5)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_gradient_equals_central_differences(rng, penalty):
    weights = _simplex(rng, (2, 3, 4, 5)) + 1e-3
    check_gradient(lambda x: penalty(x, 2, 1), lambda x: _reference(penalty, x, 2, 1), weights)


def _one_hot():
    weights = np.zeros((2, 3, 4, 6), "float32")
    weights[:, :, 1, 2] = 1
    return weights


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize(
    "weights",
    [_one_hot(), 0 * _one_hot(), 1e-20 * _one_hot(), 0 * _one_hot() + 1 / 24],
    ids=["one-hot", "zeros", "denormal", "uniform"],
)
def test_value_and_gradient_are_finite_everywhere(penalty, weights):
    assert np.isfinite(float(penalty(weights)))
    assert np.isfinite(gradient(penalty, weights)).all()
    assert np.isfinite(np.asarray(compiled(penalty)(weights)))


def test_sparsity_gradient_points_along_the_weights_and_is_zero_at_zeros():
    expected = _one_hot() / 2  # the mean over two clips
    np.testing.assert_allclose(gradient(losses.block_sparsity, _one_hot()), expected)


@pytest.mark.parametrize("block", [2, 4])
def test_sparsity_bounds_on_weights_that_sum_to_one(rng, block):
    one_step = np.zeros((1, 1, 8, 8), "float32")
    uniform, single, spread = (one_step.copy() for _ in range(3))
    uniform[:] = 1 / 64
    single[..., 3, 5] = 1
    spread[..., ::block, ::block] = (block / 8) ** 2  # one cell in each block
    constant = np.kron(_simplex(rng, (1, 1, 8 // block, 8 // block)), np.ones((block, block)))
    for least in (uniform, constant / block**2):
        np.testing.assert_allclose(float(losses.block_sparsity(least, block)), 1 / block, rtol=1e-6)
    for most in (single, spread):
        np.testing.assert_allclose(float(losses.block_sparsity(most, block)), 1, rtol=1e-6)
    assert 1 / block < float(losses.block_sparsity(_simplex(rng, (1, 1, 8, 8)), block)) < 1


def test_sparsity_invariances(rng):
    weights = _simplex(rng, (2, 3, 4, 6))
    value = float(losses.block_sparsity(weights))
    within = weights.copy()
    within[:, :, 0, :2] = weights[:, :, 1, 1::-1]
    within[:, :, 1, :2] = weights[:, :, 0, 1::-1]
    blocks = weights[:, :, [2, 3, 0, 1]][..., [4, 5, 2, 3, 0, 1]]
    np.testing.assert_allclose(float(losses.block_sparsity(within)), value, rtol=1e-6)
    np.testing.assert_allclose(float(losses.block_sparsity(blocks)), value, rtol=1e-6)
    np.testing.assert_allclose(float(losses.block_sparsity(3 * weights)), 3 * value, rtol=1e-6)
    across = weights[..., [1, 2, 3, 4, 5, 0]]
    assert abs(float(losses.block_sparsity(across)) - value) > 1e-3


@pytest.mark.parametrize("penalty", PENALTIES)
def test_stride_of_a_block_is_side_by_side(rng, penalty):
    weights = _simplex(rng, (2, 3, 6, 4))
    assert float(penalty(weights, 2, 2)) == float(penalty(weights, 2))


@pytest.mark.parametrize("block, stride, count", [(6, 2, 4), (2, 1, 49), (4, 2, 9), (2, None, 16)])
def test_number_of_blocks_on_eight_by_eight(block, stride, count):
    """A frame of ones counts `block` for every block."""
    total = float(losses.block_sparsity(np.ones((1, 1, 8, 8), "float32"), block, stride))
    np.testing.assert_allclose(total / block, count, rtol=1e-6)


def test_entropy_is_zero_for_one_block_and_log_of_their_number_for_a_uniform_mask():
    inside = np.zeros((2, 3, 4, 6), "float32")
    inside[:, :, 2:, 2:4] = [[0.1, 0.2], [0.3, 0.4]]
    assert float(losses.block_entropy(inside)) == 0
    np.testing.assert_allclose(
        float(losses.block_entropy(np.full((2, 3, 4, 6), 1 / 24, "float32"))), 3 * np.log(6), 1e-6
    )
    inside[:, 1, 0, 0] = 0.01
    assert float(losses.block_entropy(inside)) > 0.01


def test_half_precision_is_computed_in_float32(rng):
    weights = ops.cast(_simplex(rng, (2, 3, 4, 6)), "float16")
    assert "float32" in str(losses.block_sparsity(weights).dtype)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize(
    "shape, block, stride, message",
    [
        ((3, 4, 6), 2, None, "shape"),
        ((2, 3, 4, 6), 0, None, "block must be at least 1"),
        ((2, 3, 4, 6), 5, None, "fit into the map of 4"),
        ((2, 3, 4, 6), 2, 0, "stride must be at least 1"),
    ],
)
def test_arguments_that_cannot_work(penalty, shape, block, stride, message):
    with pytest.raises(ValueError, match=message):
        penalty(np.ones(shape, "float32"), block, stride)


@pytest.mark.parametrize(
    "grid, uncovered", [((8, 8, 2), 0), ((8, 8, 3), 28), ((5, 7, 2), 11), ((8, 8, 2, 3), 28)]
)
def test_uncovered_cells(grid, uncovered):
    assert losses.uncovered_cells(*grid) == uncovered
