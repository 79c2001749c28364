"""Masks of frames: booleans `(B, T)`, True for a frame and False for padding, or None."""

from keras import ops


def frame_mask(mask):
    """The mask `(B, T)` of frames from one `(B, T, ...)` of their cells; None for None.

    `keras.layers.Masking` tells of each cell of a map; a frame is padding where all its cells are.
    """
    if mask is None:
        return None
    mask = ops.cast(mask, "bool")
    return ops.any(mask, axis=tuple(range(2, len(mask.shape)))) if len(mask.shape) > 2 else mask


def cleared(frames, mask):
    """`frames (B, T, ...)` with zeros in place of padding, whatever it holds, NaN included."""
    if mask is None:
        return frames
    return ops.where(mask[(..., *[None] * (len(frames.shape) - 2))], frames, 0)


def frame_counts(mask, dtype):
    """The number of frames `(B,)` of each clip, at least one, so that it can divide."""
    return ops.maximum(ops.sum(ops.cast(mask, dtype), axis=1), 1)


def mean_over_frames(frames, mask):
    """The mean over axis 1 of the frames that are no padding: `(B, T, ...) -> (B, ...)`."""
    if mask is None:
        return ops.mean(frames, axis=1)
    counts = frame_counts(mask, frames.dtype)[(..., *[None] * (len(frames.shape) - 2))]
    return ops.sum(cleared(frames, mask), axis=1) / counts
