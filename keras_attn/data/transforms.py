"""Geometry of clips inside the graph: the same crop and flip for every frame."""

import tensorflow as tf


def squeeze(video, size: int):
    """Resize whole frames to a square: `(T, H, W, 3) -> (T, size, size, 3)`, float32 in 0..255.

    The aspect ratio is not kept, so that a map over the cells covers the whole frame.
    """
    # The same numbers come out of uint8 as of float32, in less than half the time.
    return tf.cast(tf.image.resize(video, (size, size), antialias=True), tf.float32)


def stack_snippets(frames, snippet: int):
    """Neighbours side by side: `(n * snippet, H, W, C) -> (n, H, W, snippet * C)`."""
    if snippet == 1:
        return frames
    height, width, channels = frames.shape[1:]
    split = tf.reshape(frames, (-1, snippet, height, width, channels))
    return tf.reshape(tf.einsum("nlhwc->nhwlc", split), (-1, height, width, snippet * channels))


def random_crop(example: dict) -> dict:
    """Cut one box of 80 % to 100 % of each side out of all frames; the seed is the example's."""
    video = example["video"]
    extent = tf.cast(tf.shape(video)[1:3], tf.float32)
    share, where_y, where_x = tf.unstack(tf.random.stateless_uniform([3], example["seed"]))
    side = tf.maximum(tf.round(extent * (0.8 + 0.2 * share)), 1)
    corner = tf.cast(tf.stack([where_y, where_x]) * (extent - side + 1), tf.int32)
    side = tf.cast(side, tf.int32)
    crop = tf.slice(video, [0, corner[0], corner[1], 0], [-1, side[0], side[1], -1])
    return {**example, "video": crop}


def random_flip(example: dict) -> dict:
    """Mirror all frames left to right for half of the seeds."""
    mirror = tf.random.stateless_uniform([], example["seed"] + 1) < 0.5
    video = tf.cond(mirror, lambda: example["video"][:, :, ::-1], lambda: example["video"])
    return {**example, "video": video}
