"""A term of the objective as a layer, for functional models of one's own."""

import keras
from keras import tree

from keras_attn.losses import AttentionRegularizer


@keras.saving.register_keras_serializable("keras_attn")
class Penalty(keras.layers.Layer):
    """Add `weight * function(*inputs)` to the loss, and return the inputs as they are.

    Shapes: `(B, ...) -> (B, ...)`; the input is a tensor or a list of tensors, the arguments of
    `function`. The outputs must be a part of the graph of the model, or the term is not.

    The models of `keras_attn.models` add the terms of their papers themselves. A functional model
    of one's own, or a sub-model `keras.Model(model.input, model.output["logits"])` of one of them,
    has the terms that its layers add, and so these.

    Args:
        function: As for `keras_attn.losses.AttentionRegularizer`.
        weight: Factor of the term.
        arguments: Keyword arguments of the function, plain values by name.

    Raises:
        ValueError: As for `keras_attn.losses.AttentionRegularizer`.

    Example:
        weights = Penalty("block_sparsity", weight=1e-4)(weights)
    """

    def __init__(self, function, weight=1.0, arguments=None, **kwargs):
        super().__init__(**kwargs)
        self.term = AttentionRegularizer(function, weight, arguments)
        self.autocast = False  # the inputs pass as they are under mixed precision, too
        self.supports_masking = True

    def call(self, inputs):
        self.add_loss(self.term(*tree.flatten(inputs)))
        return inputs

    def get_config(self):
        return {**super().get_config(), **self.term.get_config()}
