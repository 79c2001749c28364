"""What the layers share: arguments that are objects are saved, and attention is regularized."""

import keras


class SavableLayer(keras.layers.Layer):
    """A layer whose automatic configuration may hold objects, as dtype policies, too."""

    def __new__(cls, *args, **kwargs):  # Keras takes the configuration from these arguments
        args = [_plain(value) for value in args]
        return super().__new__(cls, *args, **{name: _plain(x) for name, x in kwargs.items()})


class AttentionLayer(SavableLayer):
    """A layer that computes attention weights, on which a regularizer may act.

    Args:
        attention_regularizer: Function of the weights as the layer returns them, such as
            `keras_attn.losses.AttentionRegularizer`, or what else `keras.regularizers.get` takes.
            Its value is added to the loss of the model that the layer is a part of.
    """

    def __init__(self, attention_regularizer=None, **kwargs):
        super().__init__(**kwargs)
        self.attention_regularizer = keras.regularizers.get(attention_regularizer)

    def regularized(self, weights):
        """Return the weights, and add their penalty to the losses of the layer."""
        if self.attention_regularizer is not None:
            self.add_loss(self.attention_regularizer(weights))
        return weights


def _plain(value):
    return keras.saving.serialize_keras_object(value) if hasattr(value, "get_config") else value
