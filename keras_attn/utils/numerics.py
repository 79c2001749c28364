"""Operations that need float32."""

import keras
from keras import ops


def precise(tensor):
    """The tensor in float32 at least."""
    tensor = ops.convert_to_tensor(tensor)
    return ops.cast(tensor, keras.backend.result_type(tensor.dtype, "float32"))


def softmax(scores, axis=-1):
    """Scores to weights, in float32 at least.

    Unlike `keras.ops.softmax` it does not warn of a single score: a clip of one frame, a map of
    one cell.
    """
    return ops.exp(ops.log_softmax(precise(scores), axis=axis))
