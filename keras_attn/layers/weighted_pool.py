"""Pool features over the cells of a map by attention weights."""

import keras
from keras import ops

from keras_attn.layers.base import SavableLayer
from keras_attn.utils.masks import cleared, frame_mask


@keras.saving.register_keras_serializable("keras_attn")
class WeightedPool(SavableLayer):
    """Weighted sum over the cells of each map: sum_i weights_i x_i.

    Shapes: `(B, T, h, w, C), (B, T, h, w) -> (B, T, C)`, or without time `(B, h, w, C), (B, h, w)
    -> (B, C)`. Uniform weights that sum to one over the cells give the mean. Yang et al. 2020, eq.
    (9), with the weights after the softmax and without the factor 1 / (h w): see
    `keras_attn.models.STACNN`. Padded frames (the mask of the features False) give zeros.
    """

    def call(self, features, weights, features_mask=None):
        features = cleared(features, frame_mask(features_mask))
        return ops.einsum("...hwc,...hw->...c", features, weights)

    def compute_mask(self, features, mask):
        return frame_mask(mask)

    def compute_output_shape(self, features_shape, weights_shape):
        return (*features_shape[:-3], features_shape[-1])
