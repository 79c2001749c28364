"""The error of predicted optical flow. Yang et al. 2020."""

import math

import keras
from keras import ops

from keras_attn.utils.checks import check_at_least

FLOW_RELAXATION = math.exp(-2)  # "e^-2" below eq. (4) of Yang et al. 2020; .01 is the other reading


def relaxed_flow_error(flow, predicted, relaxation=FLOW_RELAXATION):
    """Squared error of predicted optical flow beyond a share of the flow itself.

    Shapes: `(..., 2), (..., 2) -> ()`: the sum over the two components, the mean over pixels and
    batch; unit: that of the flow, squared. Yang et al. 2020, eq. (4), with the threshold
    `relaxation * |flow|`: the printed `relaxation * flow` would enlarge the error of negative flow.

    Args:
        flow: True flow, x then y.
        predicted: Predicted flow, in the same unit.
        relaxation: Share of the true flow within which an error counts as none.

    Raises:
        ValueError: For other shapes, or `relaxation < 0`.
    """
    flow, predicted = (ops.convert_to_tensor(x) for x in (flow, predicted))
    if flow.shape[-1] != 2 or tuple(flow.shape) != tuple(predicted.shape):
        raise ValueError(
            "flow and predicted must have the same shape (..., 2), got "
            f"{tuple(flow.shape)} and {tuple(predicted.shape)}"
        )
    check_at_least(0, relaxation=relaxation)
    dtype = keras.backend.result_type(flow.dtype, predicted.dtype, "float32")
    flow, predicted = ops.cast(flow, dtype), ops.cast(predicted, dtype)
    excess = ops.relu(ops.abs(predicted - flow) - relaxation * ops.abs(flow))
    return ops.mean(ops.sum(ops.square(excess), axis=-1))
