"""The median of 5 x 5 pixels in `keras.ops`, by comparisons alone."""

import functools

from keras import ops

_WINDOW = 5


def median(x, height, width):
    """The median of the 5 x 5 pixels around each, the border repeated.

    Shapes: `(2, B, height * width)`, the rows one after the other, to the same.
    """
    frames = ops.reshape(x, (-1, height, width))
    margin = _WINDOW // 2
    frames = _edged(frames, frames[:, :1], frames[:, -1:], margin, axis=1)
    frames = _edged(frames, frames[:, :, :1], frames[:, :, -1:], margin, axis=2)
    values = [
        frames[:, i : i + height, j : j + width] for i in range(_WINDOW) for j in range(_WINDOW)
    ]
    for low, high, lower, upper in _network():
        one, other = values[low], values[high]
        values[low] = ops.minimum(one, other) if lower else None
        values[high] = ops.maximum(one, other) if upper else None
    return ops.reshape(values[_WINDOW**2 // 2], (2, -1, height * width))


def _edged(frames, first, last, margin, axis):
    return ops.concatenate([first] * margin + [frames] + [last] * margin, axis=axis)


@functools.cache
def _network():
    """Which of 25 numbers to put in order, and which of the two is wanted, to find the median.

    Batcher's odd-even merge sort (1968), less the comparisons that do not bear on the median: 113
    of 140. A sort, or a rank, would leave the fused loop that XLA makes of these.
    """
    count, middle = _WINDOW**2, _WINDOW**2 // 2
    pairs = []
    for run in (2**i for i in range((count - 1).bit_length())):
        for gap in (run // 2**i for i in range(run.bit_length())):
            for start in range(gap % run, count - gap, 2 * gap):
                for low in range(start, start + min(gap, count - start - gap)):
                    if low // (2 * run) == (low + gap) // (2 * run):
                        pairs.append((low, low + gap))
    needed, kept = {middle}, []
    for low, high in reversed(pairs):
        if needed & {low, high}:
            kept.append((low, high, low in needed, high in needed))
            needed |= {low, high}
    return kept[::-1]
