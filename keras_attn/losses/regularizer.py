"""Terms of the papers' objectives as regularizers that are saved with a layer."""

import keras

from keras_attn.losses.blocks import block_entropy, block_sparsity
from keras_attn.losses.flow import relaxed_flow_error
from keras_attn.losses.pyramid import interaction, pyramid
from keras_attn.losses.saliency import contrast, total_variation, unimodality

TERMS = {
    term.__name__: term
    for term in (
        block_entropy,
        block_sparsity,
        contrast,
        interaction,
        pyramid,
        relaxed_flow_error,
        total_variation,
        unimodality,
    )
}


@keras.saving.register_keras_serializable("keras_attn")
class AttentionRegularizer(keras.regularizers.Regularizer):
    """`weight * function(...)`, for `attention_regularizer=` of the attention layers.

    Args:
        function: A function of this package or its name, as "block_sparsity"; or a function or
            object of your own that returns a scalar and that
            `keras.saving.register_keras_serializable` has registered.
        weight: Factor of the term.
        arguments: Keyword arguments of the function, plain values by name.

    Raises:
        ValueError: For an unknown name, or a function that is not registered, as a lambda is; in a
            call, unless the function returns a scalar.

    Example:
        AttendedLSTM(512, attention_regularizer=AttentionRegularizer("block_sparsity", 1e-4))
    """

    def __init__(self, function, weight=1.0, arguments=None):
        self.function = _callable(function)
        self.weight, self.arguments = float(weight), dict(arguments or {})

    def __call__(self, *inputs):
        value = self.function(*inputs, **self.arguments)
        if value.shape != ():
            raise ValueError(
                f"`function` must return a scalar, got the shape {tuple(value.shape)}; reduce it "
                "with keras.ops.mean or sum"
            )
        return self.weight * value

    def get_config(self):
        name = getattr(self.function, "__name__", None)
        known = TERMS.get(name) is self.function
        function = name if known else keras.saving.serialize_keras_object(self.function)
        return {"function": function, "weight": self.weight, "arguments": dict(self.arguments)}


def _callable(function):
    """The function of a name, of a configuration, or itself, if it can be saved."""
    if isinstance(function, str):
        if function not in TERMS:
            raise ValueError(f"`function` must be one of {', '.join(TERMS)}, got {function!r}")
        return TERMS[function]
    if isinstance(function, dict):
        function = keras.saving.deserialize_keras_object(function)
    if not callable(function):
        raise ValueError(f"`function` must be a function or a name, got {function!r}")
    if hasattr(function, "get_config") or function in TERMS.values():
        return function
    registered = keras.saving.get_registered_name(function)
    if keras.saving.get_registered_object(registered) is not function:
        name = getattr(function, "__qualname__", repr(function))
        raise ValueError(
            f"`function` must be registered, so that it can be saved, got {name}: decorate a named "
            "function with keras.saving.register_keras_serializable()"
        )
    return function
