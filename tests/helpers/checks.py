"""Helpers of tests on either backend: how to run a model quickly, and gradients."""

import itertools

import keras
import numpy as np
import pytest

from keras_attn.testing.arrays import BACKEND, answer, assert_close, compiled, numpy
from keras_attn.testing.model_contract import cross_entropy

__all__ = [
    "BACKEND",
    "CROSS_ENTROPY",
    "JIT",
    "QUICK",
    "answer",
    "assert_close",
    "check_gradient",
    "compiled",
    "cross_entropy",
    "gradient",
    "numpy",
    "sum_of_squares",
    "tensorflow_is_enough",
]

tensorflow_is_enough = pytest.mark.skipif(
    BACKEND == "jax", reason="does not depend on the backend, and JAX takes long"
)
# On TensorFlow, Keras compiles even `predict` with XLA unless told otherwise, which takes seconds
# a function on a CPU. Models in tests are run without; `check_model` trains once with it.
JIT = BACKEND == "jax"
# Arguments of `compile` for few steps: a graph on TensorFlow takes longer than it saves.
QUICK = {"jit_compile": True} if JIT else {"jit_compile": False, "run_eagerly": True}
CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy


def gradient(function, x):
    """Gradient of a scalar function at the array x, as NumPy."""
    if BACKEND == "jax":
        import jax

        with jax.enable_x64(x.dtype == np.float64):
            return np.asarray(jax.jit(jax.grad(function))(x))
    import tensorflow as tf

    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = function(x)
    return tape.gradient(value, x).numpy()


def check_gradient(function, reference, x):
    """The gradient of `function` at x is that of the NumPy `reference`, in float64.

    Without a reference the function's own differences are taken, which needs TensorFlow.
    """
    x = x.astype("float64")
    if reference is None:
        import tensorflow as tf

        reference = tf.function(function, input_signature=[tf.TensorSpec(x.shape, "float64")])
    expected = np.zeros_like(x)
    step = 1e-6
    for index, sign in itertools.product(np.ndindex(x.shape), (1, -1)):
        moved = x.copy()
        moved[index] += sign * step
        expected[index] += sign * reference(moved) / (2 * step)
    actual = gradient(function, x)
    assert actual.dtype == np.float64
    assert np.abs(actual - expected).max() < 1e-6 * np.abs(expected).max()


def sum_of_squares(model):
    """Of all weights outside the backbone."""
    own = [layer for layer in model.layers if layer.name != "backbone"]
    return sum(np.sum(np.square(w)) for layer in own for w in layer.get_weights())
