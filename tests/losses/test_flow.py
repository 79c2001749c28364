"""The relaxed error of predicted optical flow."""

import numpy as np
import pytest
from checks import check_gradient, compiled, gradient
from keras import ops

from keras_attn.losses import FLOW_RELAXATION, relaxed_flow_error


def _reference(flow, predicted, relaxation=0.1353352832366127):
    """Yang et al. 2020, eq. (4), with a threshold that has no sign, in loops."""
    total, pixels = 0.0, flow.size // 2
    for real, guess in zip(flow.reshape(-1, 2), predicted.reshape(-1, 2), strict=True):
        for component in range(2):
            threshold = relaxation * abs(real[component])
            total += max(abs(guess[component] - real[component]) - threshold, 0) ** 2
    return total / pixels


def _pair(rng, shape=(2, 3, 4, 5, 2)):
    return [rng.normal(size=shape).astype("float32") for _ in range(2)]


@pytest.mark.parametrize("relaxation", [FLOW_RELAXATION, 0.01])
def test_equals_loops_compiled_or_not(rng, relaxation):
    flow, predicted = _pair(rng)
    expected = _reference(flow.astype("float64"), predicted.astype("float64"), relaxation)
    function = lambda *x: relaxed_flow_error(*x, relaxation)  # noqa: E731
    np.testing.assert_allclose(float(function(flow, predicted)), expected, rtol=1e-5)
    np.testing.assert_allclose(float(compiled(function)(flow, predicted)), expected, rtol=1e-5)


def test_the_relaxation_is_that_of_the_paper_unless_given(rng):
    flow, predicted = _pair(rng)
    expected = _reference(flow.astype("float64"), predicted.astype("float64"))
    np.testing.assert_allclose(float(relaxed_flow_error(flow, predicted)), expected, rtol=1e-5)


def test_gradient_equals_central_differences(rng):
    flow, predicted = _pair(rng, (2, 3, 2))
    flow = flow.astype("float64")
    check_gradient(lambda x: relaxed_flow_error(flow, x), lambda x: _reference(flow, x), predicted)


@pytest.mark.parametrize("share", [-0.13, 0, 0.13])
def test_inside_the_dead_zone_there_is_neither_error_nor_gradient(rng, share):
    flow, _ = _pair(rng)
    predicted = (1 + share) * flow
    assert float(relaxed_flow_error(flow, predicted)) == 0
    assert not gradient(lambda x: relaxed_flow_error(flow, x), predicted).any()
    assert float(relaxed_flow_error(flow, 1.4 * predicted)) > 0


def test_without_relaxation_it_is_the_mean_squared_length_of_the_error(rng):
    flow, predicted = _pair(rng)
    expected = np.mean(np.sum((flow - predicted) ** 2, -1))
    np.testing.assert_allclose(float(relaxed_flow_error(flow, predicted, 0)), expected, rtol=1e-5)


def test_both_directions_count_alike(rng):
    flow, predicted = _pair(rng)
    value = float(relaxed_flow_error(flow, predicted))
    assert float(relaxed_flow_error(-flow, -predicted)) == value


def test_no_flow_has_no_tolerance_and_a_finite_gradient():
    still = np.zeros((2, 3, 2), "float32")
    assert float(relaxed_flow_error(still, still + 1)) == 2
    assert not gradient(lambda x: relaxed_flow_error(still, x), still).any()


def test_half_precision_is_computed_in_float32(rng):
    flow, predicted = (ops.cast(x, "float16") for x in _pair(rng))
    assert "float32" in str(relaxed_flow_error(flow, predicted).dtype)


@pytest.mark.parametrize(
    "flow, predicted, relaxation, message",
    [
        ((2, 3, 2), (2, 4, 2), 0.1, r"same shape \(..., 2\), got \(2, 3, 2\) and \(2, 4, 2\)"),
        ((2, 3, 3), (2, 3, 3), 0.1, "same shape"),
        ((2, 3, 2), (2, 3, 2), -0.1, "relaxation must be at least 0, got -0.1"),
    ],
)
def test_arguments_that_cannot_work(flow, predicted, relaxation, message):
    with pytest.raises(ValueError, match=message):
        relaxed_flow_error(np.ones(flow, "float32"), np.ones(predicted, "float32"), relaxation)
