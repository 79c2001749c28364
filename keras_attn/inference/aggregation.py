"""The rule by which the clips of a video become one answer, in TensorFlow."""

import tensorflow as tf


def video_answers(clip, aggregation):
    """The answers for B videos from the probabilities of their clips, `(W, B, K)`.

    `metrics.aggregation` is the same rule in NumPy, for saved scores.
    """
    probabilities = tf.reduce_mean(clip, axis=0)
    ballots = tf.one_hot(tf.argmax(clip, axis=-1), clip.shape[-1])
    decision = probabilities
    if aggregation == "vote":  # Quan et al. 2020, eq. (14)-(15)
        clips = tf.cast(tf.shape(clip)[0], tf.float32)
        decision = (tf.reduce_sum(ballots, axis=0) + probabilities) / (clips + 1)
    return {
        "decision": decision,
        "probabilities": probabilities,
        "logits": tf.math.log(tf.maximum(probabilities, 1e-30)),
        "votes": tf.reduce_mean(ballots, axis=0),
        "clip_probabilities": videos_first(clip),
    }


def videos_first(values):
    """`(W, B, ...)` -> `(B, W, ...)`."""
    return tf.einsum("vb...->bv...", values)
