"""Scores of frames to weights of frames."""

import keras
from keras import ops


def frame_weights(scores):
    """Softmax over the last axis, the frames, in float32 at least: half precision loses too much.

    Unlike `keras.ops.softmax` it does not warn of a clip of one frame.
    """
    dtype = keras.backend.result_type(scores.dtype, "float32")
    return ops.exp(ops.log_softmax(ops.cast(scores, dtype)))
