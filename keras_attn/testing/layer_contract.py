"""The contract of a layer: shapes, configuration, gradients, XLA, half precision."""

import keras
import numpy as np
from keras import tree

from keras_attn.testing.arrays import (
    BACKEND,
    assert_close,
    call,
    compiled,
    numpy,
    require,
    require_finite,
    weight_gradients,
)


def check_layer(layer, *inputs):
    """Check that a layer can be a part of any model of this library.

    It infers the shapes that it returns, its configuration makes an equal layer, a gradient other
    than zero reaches each trainable weight, XLA compiles it to the same answer, and its outputs
    are finite under "mixed_float16".

    Choose inputs whose axes differ in size, and arguments away from their defaults: an argument
    that the configuration loses is otherwise not noticed.

    Args:
        layer: A Keras layer, built or not.
        inputs: Its arguments in a call: arrays with a batch axis, or lists or dicts of such arrays.

    Returns:
        The outputs of the layer for `inputs`.

    Raises:
        AssertionError: The layer breaks the contract; the message names the check.

    Example:
        check_layer(LocationAttention(map_size=(6, 8)), np.ones((2, 3, 4, 5), "float32"))
    """
    symbols = tree.map_structure(lambda x: keras.KerasTensor(x.shape, str(x.dtype)), inputs)
    inferred = [tuple(x.shape) for x in tree.flatten(layer(*symbols))]
    outputs = call(layer, *inputs)
    actual = [tuple(x.shape) for x in tree.flatten(outputs)]
    require(inferred == actual, f"inferred shapes must be those returned: {inferred}, {actual}")
    require_finite(outputs, f"the outputs of {layer.name} must be finite")
    copy = copy_from_config(layer)
    copy(*symbols)
    copy.set_weights(layer.get_weights())
    message = "a layer from get_config() must give the same answer"
    assert_close(call(copy, *inputs), outputs, message=message)
    _check_gradients(layer, inputs)
    if BACKEND == "tensorflow":
        message = "compiled by XLA, the layer must give the same answer"
        assert_close(compiled(layer)(*inputs), outputs, atol=1e-4, message=message)
    half = type(layer).from_config({**layer.get_config(), "dtype": "mixed_float16"})
    half(*symbols)
    require_finite(call(half, *inputs), "outputs must be finite under mixed_float16")
    return outputs


def copy_from_config(layer):
    """A copy of a layer or model by its configuration, which must be the same afterwards."""
    for _ in range(2):  # Keras' wrappers change the dict that they get
        copy = type(layer).from_config(layer.get_config())
    require(
        copy.get_config() == layer.get_config(),
        f"from_config(get_config()) must give the same configuration, got {copy.get_config()} "
        f"for {layer.get_config()}",
    )
    return copy


def _check_gradients(layer, inputs):
    gradients = weight_gradients(layer, inputs)
    for weight, values in zip(layer.trainable_weights, gradients, strict=True):
        require(values is not None, f"no gradient reaches {weight.path}")
        require(np.any(numpy(values)), f"the gradient of {weight.path} is zero everywhere")
