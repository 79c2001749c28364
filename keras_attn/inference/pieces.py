"""A function of many rows, computed for a few at a time."""

import tensorflow as tf


def in_pieces(function, inputs, size: int, shapes, dtype=tf.float32):
    """`function(inputs)`, computed for at most `size` rows of axis 0 at a time.

    `shapes` is the shape of one row of what it returns, or a list of them for a tuple of tensors.
    The pieces are equally long, and the last one repeats the last row where it is short.
    """
    count = tf.shape(inputs)[0]
    pieces = -(-count // size)
    size = -(-count // pieces)
    rows = tf.reshape(tf.minimum(tf.range(pieces * size), count - 1), (pieces, size))
    several = isinstance(shapes, list)
    specs = tuple(tf.TensorSpec((None, *s), dtype) for s in (shapes if several else [shapes]))
    outputs = tf.map_fn(
        lambda some: function(tf.gather(inputs, some)),
        rows,
        fn_output_signature=specs if several else specs[0],
        parallel_iterations=1,  # one after the other: that is what bounds the memory
    )

    def joined(output):
        return tf.reshape(output, tf.concat([[-1], tf.shape(output)[2:]], 0))[:count]

    return tuple(joined(output) for output in outputs) if several else joined(outputs)
