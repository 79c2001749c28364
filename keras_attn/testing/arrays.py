"""Arrays on either backend, TensorFlow or JAX: compare, compile, differentiate, answer."""

import keras
import numpy as np
from keras import ops, tree

BACKEND = keras.backend.backend()


def require(condition, message):
    """Raise an `AssertionError` with `message` unless `condition` holds."""
    if not condition:
        raise AssertionError(message)


def numpy(x):
    """A tensor of any type as a float32 array."""
    return np.asarray(ops.convert_to_numpy(ops.cast(x, "float32")))


def assert_close(actual, expected, atol=1e-5, message=""):
    """Raise unless two equal structures of tensors hold the same numbers."""
    actual, expected = (tree.flatten(x) for x in (actual, expected))
    require(len(actual) == len(expected), f"{message}: {len(actual)} and {len(expected)} tensors")
    for x, y in zip(actual, expected, strict=True):
        np.testing.assert_allclose(numpy(x), numpy(y), rtol=1e-4, atol=atol, err_msg=message)


def require_finite(tensors, message):
    """Raise if any number in a structure of tensors is NaN or infinite."""
    require(all(np.isfinite(numpy(x)).all() for x in tree.flatten(tensors)), message)


def compiled(function):
    """`function` of arrays, compiled by XLA."""
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, jit_compile=True)


def call(function, *inputs):
    """The result of a function of arrays; compiled on JAX, which else compiles each operation."""
    return (compiled(function) if BACKEND == "jax" else function)(*inputs)


def answer(model, inputs):
    """The outputs of a model in inference, as NumPy arrays, in the quickest way for few calls.

    That is without a graph on TensorFlow; JAX would compile each operation by itself.
    """
    if BACKEND == "jax":
        return model.predict(inputs, verbose=0)
    return tree.map_structure(np.array, model(inputs, training=False))


def weight_gradients(layer, inputs):
    """Gradients of the sum of the squared outputs by the layer's trainable weights, in order."""

    def total(outputs):
        return sum(ops.sum(ops.square(y)) for y in tree.flatten(outputs))

    if BACKEND == "jax":
        import jax

        frozen = [w.value for w in layer.non_trainable_variables]

        def function(trainable):
            return total(layer.stateless_call(trainable, frozen, *inputs)[0])

        return jax.jit(jax.grad(function))([w.value for w in layer.trainable_variables])
    import tensorflow as tf

    with tf.GradientTape() as tape:
        value = total(layer(*inputs))
    return tape.gradient(value, [w.value for w in layer.trainable_weights])
