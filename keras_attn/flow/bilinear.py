"""Frames between their pixels: bilinear resizing, and look-up where a flow points."""

import numpy as np
from keras import ops


def resized(x, size):
    """Bilinear, pixel centers at halves, the border repeated: `(B, H, W) -> (B, *size)`."""
    for axis, (old, new) in enumerate(zip(x.shape[1:], size, strict=True), start=1):
        place = np.clip((np.arange(new) + 0.5) * (old / new) - 0.5, 0, old - 1)
        low = place.astype("int32")
        high = np.minimum(low + 1, old - 1)
        share = (place - low).astype("float32")
        share = share[:, None] if axis == 1 else share
        below = ops.take(x, low, axis=axis)
        x = below + share * (ops.take(x, high, axis=axis) - below)
    return x


def _moved(x, step, axis):
    """The neighbor `step` = 1 or -1 further, the border repeated: the shape stays."""
    here = [slice(None)] * len(x.shape)
    parts = []
    for piece in (slice(1, None), slice(-1, None)) if step > 0 else (slice(0, 1), slice(0, -1)):
        here[axis] = piece
        parts.append(x[tuple(here)])
    return ops.concatenate(parts, axis=axis)


def _slope(x, axis):
    """The derivative along an axis from two neighbors to either side."""
    right, left = _moved(x, 1, axis), _moved(x, -1, axis)
    return (8 * (right - left) - (_moved(right, 1, axis) - _moved(left, -1, axis))) / 12


def sampler(second):
    """A function of u `(2, B, H * W)`: second and its slopes there, three `(B, H * W)`."""
    height, width = second.shape[1:]
    planes = ops.stack([second, _slope(second, 2), _slope(second, 1)], axis=-1)
    right = _moved(planes, 1, 2)
    # The four neighbors of a place lie together, so that one look-up finds them.
    table = ops.concatenate([planes, right, _moved(planes, 1, 1), _moved(right, 1, 1)], axis=-1)
    starts = ops.arange(ops.shape(second)[0], dtype="int32")[:, None] * (height * width)
    table = ops.reshape(table, (-1, 12))
    columns = ops.tile(ops.arange(width, dtype="float32"), height)
    rows = ops.repeat(ops.arange(height, dtype="float32"), width)

    def sample(u):
        x, y = u[0] + columns, u[1] + rows
        inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
        x, y = ops.clip(x, 0, width - 1), ops.clip(y, 0, height - 1)
        left, top = ops.floor(x), ops.floor(y)
        places = starts + ops.cast(top, "int32") * width + ops.cast(left, "int32")
        found = ops.take(table, places, axis=0)
        x, y = x - left, y - top
        shares = [(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x]
        return [
            ops.where(inside, sum(s * found[..., 3 * k + i] for k, s in enumerate(shares)), 0.0)
            for i in range(3)
        ]

    return sample
