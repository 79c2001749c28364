"""Which frames the clips of a video hold, in plain NumPy: what `data.sampling` is held against."""

import numpy as np


def window_starts(length, frames, stride, step=1):
    last = max(length - (frames - 1) * step - 1, 0)
    return np.array([*range(0, last, stride), last])


def window_indices(start, length, frames, step=1):
    return np.array([min(start + i * step, length - 1) for i in range(frames)])


def segment_indices(length, segments, snippet=1):
    """The middle of each of `segments` equal parts of the places where a snippet may begin."""
    places = max(length - snippet + 1, 1)
    return np.array([(2 * k + 1) * places // (2 * segments) for k in range(segments)])
