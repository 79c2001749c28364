"""From the answers for clips to answers for frames: arithmetic on the positions of the clips.

Letters: `W` clips of `n` frames, `B` videos of `T` frames. A frame that several clips hold gets the
mean of their answers, a frame that none holds the answer of the nearest frame that is held.
"""

import tensorflow as tf

from keras_attn.inference.answers import TIMELINE


def held(positions, length):
    """Whether any clip holds each of `length` frames: positions `(W, n)` -> bool `(T,)`."""
    return _times_held(positions, length) > 0


def places_of_held(positions, length):
    """For each frame, its place among the frames that are held: `(T,)` int32."""
    return tf.cumsum(tf.cast(held(positions, length), tf.int32)) - 1


def timeline(where, when, steps, positions, length) -> dict:
    """The answers for each frame: `(W, B, n, ...)` at positions `(W, n)` -> `(B, T, ...)`.

    `when` sums to one over the frames.
    """
    frame = tf.reshape(positions, (-1,))
    times = _times_held(positions, length)
    nearest = _nearest(tf.cast(tf.where(times > 0)[:, 0], tf.int32), length)

    def mean(values):
        values = tf.einsum("vbn...->vnb...", values)
        values = tf.reshape(values, tf.concat([[-1], tf.shape(values)[2:]], 0))
        total = tf.math.unsorted_segment_sum(values, frame, length)  # (T, B, ...)
        weights = tf.reshape(times, tf.concat([[-1], tf.ones(tf.rank(total) - 1, tf.int32)], 0))
        return tf.einsum("tb...->bt...", tf.gather(total / tf.maximum(weights, 1), nearest))

    return {
        "where": mean(where),
        "when": _summing_to_one(mean(when)),
        "step_probabilities": mean(steps),
    }


def with_last_frame(answer, frames) -> dict:
    """Answers for pairs of frames -> for `frames` frames: the last one has those of the last pair.

    A video of one frame has one pair, of that frame with itself.
    """
    numbers = tf.minimum(tf.range(frames), tf.maximum(frames - 2, 0))
    extended = {key: tf.gather(answer[key], numbers, axis=1) for key in TIMELINE}
    return answer | extended | {"when": _summing_to_one(extended["when"])}


def _summing_to_one(when):
    return when / tf.reduce_sum(when, axis=1, keepdims=True)


def _times_held(positions, length):
    """How many times the clips hold each of `length` frames: float32 `(T,)`."""
    frame = tf.reshape(positions, (-1,))
    return tf.math.unsorted_segment_sum(tf.ones_like(frame, tf.float32), frame, length)


def _nearest(numbers, length):
    """For each of `length` frames the nearest of `numbers` (rising), the earlier of two."""
    frames = tf.range(length)
    after = tf.minimum(tf.searchsorted(numbers, frames), tf.size(numbers) - 1)
    left, right = tf.gather(numbers, tf.maximum(after - 1, 0)), tf.gather(numbers, after)
    return tf.where(tf.abs(frames - left) <= tf.abs(right - frames), left, right)
