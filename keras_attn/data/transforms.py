"""Geometry of clips inside the graph: the same crop and flip for every frame and plane.

An example holds `video (N, H, W, 3)`, `planes (M, h, w, 2)` of flow as bytes, or both.
"""

import tensorflow as tf

from keras_attn.flow import codec


def resize_stretched(pictures, size):
    """Resize whole frames: `(N, H, W, C) -> (N, size, size, C)`, float32 in 0..255.

    The aspect ratio is not kept, so that a map over the cells covers the whole frame. `size` is one
    side or (height, width). Bytes of flow keep their values: motion stays in the pixels in which it
    was estimated, as in temporal segment networks.
    """
    size = (size, size) if isinstance(size, int) else size
    # The same numbers come out of uint8 as of float32, in less than half the time.
    return tf.cast(tf.image.resize(pictures, size, antialias=True), tf.float32)


def side_by_side(parts: dict, stream):
    """Join the pictures of a position in its channels: `(n, size, size, channels of the stream)`.

    `parts["video"] (n * F, size, size, 3)` and `parts["planes"] (n * L, size, size, 2)` hold the F
    frames and L planes of each of n positions; the order is frames first, x before y.
    """
    counts = {"video": stream.frames, "planes": stream.planes}
    joined = [_stacked(parts[key], count) for key, count in counts.items() if count]
    return tf.concat(joined, -1)


def _stacked(pictures, count):
    """Neighbors side by side: `(n * count, H, W, C) -> (n, H, W, count * C)`."""
    if count == 1:
        return pictures
    height, width, channels = pictures.shape[1:]
    split = tf.reshape(pictures, (-1, count, height, width, channels))
    return tf.reshape(tf.einsum("nlhwc->nhwlc", split), (-1, height, width, count * channels))


def random_crop(example: dict) -> dict:
    """Cut one box of 80 % to 100 % of each side out of all; the seed is the example's."""
    share, where_y, where_x = tf.unstack(tf.random.stateless_uniform([3], example["seed"]))

    def crop(pictures):
        extent = tf.cast(tf.shape(pictures)[1:3], tf.float32)
        side = tf.maximum(tf.round(extent * (0.8 + 0.2 * share)), 1)
        corner = tf.cast(tf.stack([where_y, where_x]) * (extent - side + 1), tf.int32)
        end = corner + tf.cast(side, tf.int32)
        # Not `tf.slice`, which forgets how many channels there are.
        return pictures[:, corner[0] : end[0], corner[1] : end[1]]

    return {**example, **{key: crop(example[key]) for key in _kinds(example)}}


def random_flip(example: dict) -> dict:
    """Mirror all left to right for half of the seeds; motion to the left is then to the right."""
    mirror = tf.random.stateless_uniform([], example["seed"] + 1) < 0.5
    mirrored = {"video": lambda frames: frames[:, :, ::-1], "planes": codec.flip}

    def flip(key):
        return tf.cond(mirror, lambda: mirrored[key](example[key]), lambda: example[key])

    return {**example, **{key: flip(key) for key in _kinds(example)}}


def _kinds(example):
    return [key for key in ("video", "planes") if key in example]
