"""Pool features over the cells of a map by attention weights."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_attn")
class WeightedPool(keras.layers.Layer):
    """Weighted sum over the cells of each map: sum_i weights_i x_i.

    Shapes: `(B, T, h, w, C), (B, T, h, w) -> (B, T, C)`, or without time `(B, h, w, C), (B, h, w)
    -> (B, C)`. Uniform weights that sum to one over the cells give the mean. Yang et al. 2020, eq.
    (9), with the weights after the softmax and without the factor 1 / (h w): see
    `keras_attn.models.STACNN`.
    """

    def call(self, features, weights):
        return ops.einsum("...hwc,...hw->...c", features, weights)

    def compute_output_shape(self, features_shape, weights_shape):
        return (*features_shape[:-3], features_shape[-1])
