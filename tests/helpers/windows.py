"""Which frames the clips of a video hold, in plain NumPy: what `data.sampling` is held against."""

import numpy as np


def window_starts(length, frames, stride, step=1, drop_tail=False):
    last = max(length - (frames - 1) * step - 1, 0)
    if drop_tail:
        return np.arange(0, last + 1, stride)
    return np.array([*range(0, last, stride), last])


def window_indices(start, length, frames, step=1):
    return np.array([min(start + i * step, length - 1) for i in range(frames)])


def segment_indices(length, segments, snippet=1):
    """The middle of each of `segments` equal parts of the places where a snippet may begin."""
    places = max(length - snippet + 1, 1)
    return np.array([(2 * k + 1) * places // (2 * segments) for k in range(segments)])


def dense_starts(length, frames, step, clips):
    """TSM: ten integers evenly spaced from 0 to the last start of a window; one in the middle."""
    last = max(length - frames * step, 0)
    return np.linspace(0, last, clips, dtype=int) if clips > 1 else np.array([last // 2])
