"""Which frames and in which order: integers in, integers out."""

import numpy as np


def window_starts(length: int, frames: int, stride: int) -> np.ndarray:
    """First frames of the clips of a video of `length` frames.

    Windows of `frames` consecutive frames begin every `stride` frames (Quan et al. 2020, section
    3.4); a last one ends on the last frame, so that no frame is left out. A video shorter than
    `frames` has one window. Raises `ValueError` for an empty video.
    """
    if length < 1:
        raise ValueError(f"length must be at least 1 frame, got {length}")
    last = max(length - frames, 0)
    count = -(-last // stride) + 1
    return np.minimum(np.arange(count) * stride, last)


def window_indices(start: int, length: int, frames: int) -> np.ndarray:
    """The frame numbers of one window; past the end, the last frame again."""
    return np.minimum(start + np.arange(frames), length - 1)


def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of `count` examples that depends on `(seed, epoch)` alone."""
    return np.random.default_rng([seed, epoch, 0]).permutation(count)


def example_seeds(count: int, seed: int, epoch: int) -> np.ndarray:
    """`(count, 2)` seeds for stateless augmentation: row i is a function of (seed, epoch, i)."""
    return np.random.default_rng([seed, epoch, 1]).integers(0, 2**31, (count, 2), dtype=np.int32)
