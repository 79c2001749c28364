"""Operations that need float32."""

import keras
from keras import ops


def precise(tensor):
    """The tensor in float32 at least."""
    tensor = ops.convert_to_tensor(tensor)
    return ops.cast(tensor, keras.backend.result_type(tensor.dtype, "float32"))


def softmax(scores, axis=-1, mask=None):
    """Scores to weights, in float32 at least; exactly zero where a `mask` (like scores) is False.

    Unlike `keras.ops.softmax` it does not warn of a single score: a clip of one frame, a map of
    one cell.
    """
    scores = precise(scores)
    if mask is None:
        return ops.exp(ops.log_softmax(scores, axis=axis))
    # Zeros beside where nothing is left, too, and no infinity, whose gradient is NaN.
    weights = ops.exp(ops.log_softmax(ops.where(mask, scores, -1e30), axis=axis))
    return ops.where(mask, weights, 0)
