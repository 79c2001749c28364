"""Choice of the frames of clips, and the order in which clips are read: integers only."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class Windows:
    """Clips of `frames` frames, `step` apart (1: consecutive); one begins every `stride` frames.

    Quan et al. 2020, section 3.4. A last clip ends on the last frame, so that the end of a video is
    not left out; `drop_tail` leaves it out. A video shorter than a clip has one, which repeats the
    last frame.
    """

    frames: int
    stride: int
    step: int = 1
    drop_tail: bool = False

    def starts(self, length):
        """First frames of the clips of a video of `length` frames: int32 `(W,)`."""
        last = tf.maximum(length - (self.frames - 1) * self.step - 1, 0)
        strides = last // self.stride if self.drop_tail else -(-last // self.stride)
        return tf.minimum(tf.range(strides + 1) * self.stride, last)

    def positions(self, starts, length, seed=None):
        """Frame numbers of the clips that begin at `starts`: `(W,) -> (W, frames)`."""
        return tf.minimum(starts[:, None] + tf.range(self.frames) * self.step, length - 1)


@dataclass(frozen=True)
class Segments:
    """One clip per video: from each of `frames` equal parts one snippet of `snippet` frames.

    Wang et al. 2016 (TSN). With a seed the snippet lies anywhere in its part, without in its
    middle; parts may be shorter than a frame, so that any length will do. The parts cover all N
    places; those of TSN are `N // frames` whole places each, so that the last ones are never drawn.
    """

    frames: int
    snippet: int = 1

    def starts(self, length):
        return tf.zeros([1], tf.int32)

    def positions(self, starts, length, seed=None):
        """First frames of the snippets: `(W,) -> (W, frames)`."""
        shape = [tf.shape(starts)[0], self.frames]
        middle = tf.fill(shape, tf.constant(0.5, tf.float64))
        part = middle if seed is None else tf.random.stateless_uniform(shape, seed, dtype="float64")
        places = tf.cast(tf.maximum(length - self.snippet + 1, 1), tf.float64)
        # In this order no rounding makes 8.999... of a whole number.
        numbers = (tf.range(self.frames, dtype="float64") + part) * places / self.frames
        return tf.cast(numbers, tf.int32)


@dataclass(frozen=True)
class Dense:
    """`clips` evenly spaced clips per video, of `frames` frames that are `step` apart.

    The dense sampling of Lin et al. 2019 (TSM): 8 frames of 64 consecutive ones, from one random
    place in training, from ten in test. With a seed the clips begin anywhere, without they are
    evenly spaced; a single one lies in the middle. A shorter video starts again after its end.
    """

    frames: int
    step: int
    clips: int = 1

    def _last(self, length):
        return tf.maximum(length - self.frames * self.step, 0)

    def starts(self, length):
        if self.clips == 1:
            return self._last(length)[None] // 2
        return tf.range(self.clips) * self._last(length) // (self.clips - 1)

    def positions(self, starts, length, seed=None):
        if seed is not None:
            end = self._last(length) + 1
            starts = tf.random.stateless_uniform(tf.shape(starts), seed, 0, end, tf.int32)
        return (starts[:, None] + tf.range(self.frames) * self.step) % length


def sampler(clips, training: bool) -> Windows | Segments | Dense:
    """The sampler that a recipe's `clips` describe (`sampling`, `frames`, `stride`, ...)."""
    if clips.sampling == "windows":
        return Windows(clips.frames, clips.stride, clips.step, clips.tail == "drop")
    if clips.sampling == "dense":
        return Dense(clips.frames, clips.step, 1 if training else clips.test_clips)
    return Segments(clips.frames if training else clips.inference_frames, clips.snippet)


def snippets(positions, length, snippet: int):
    """The `snippet` consecutive frames from each position: `(..., n) -> (..., n, snippet)`.

    Past the end, the last frame again.
    """
    return tf.minimum(positions[..., None] + tf.range(snippet), length - 1)


def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of `count` examples that depends on `(seed, epoch)` alone."""
    return np.random.default_rng([seed, epoch, 0]).permutation(count)


def example_seeds(count: int, seed: int, epoch: int) -> np.ndarray:
    """`(count, 2)` seeds for stateless augmentation: row i is a function of (seed, epoch, i)."""
    return np.random.default_rng([seed, epoch, 1]).integers(0, 2**31, (count, 2), dtype=np.int32)
