"""Attention over the cells of a map with scores of each cell's own (Yang et al. 2020)."""

import keras
from keras import ops

from keras_attn.layers.base import AttentionLayer
from keras_attn.utils.numerics import precise, softmax


@keras.saving.register_keras_serializable("keras_attn")
class LocationAttention(AttentionLayer):
    """Attention over the cells of a map, each scored by a kernel of its own.

    Shapes: `(b, h, w, C) -> (b, h, w)`; the weights sum to one over the cells of a map. Yang et al.
    2020, eq. (7)-(8): `(h w, C)` kernel entries, no bias. The kernel starts at zero (ours), so the
    attention starts uniform.

    Args:
        map_size: Rows and columns to which the scores are resized, bilinearly, before the softmax,
            so that the features of one network weigh the cells of another. None: those of the
            features.
        attention_regularizer: As for `keras.regularizers.get`: a penalty on the attention weights.
    """

    def __init__(self, map_size=None, attention_regularizer=None, **kwargs):
        super().__init__(attention_regularizer, **kwargs)
        self.map_size = None if map_size is None else tuple(map_size)

    def build(self, features_shape):
        self.kernel = self.add_weight(
            shape=tuple(features_shape[1:]), initializer="zeros", name="kernel"
        )

    def call(self, features):
        scores = precise(ops.einsum("bhwc,hwc->bhw", features, self.kernel))  # eq. (7)
        if self.map_size not in (None, tuple(scores.shape[1:])):
            scores = ops.image.resize(scores[..., None], self.map_size)[..., 0]
        _, height, width = scores.shape
        weights = softmax(ops.reshape(scores, (-1, height * width)))  # eq. (8)
        weights = self.regularized(ops.reshape(weights, (-1, height, width)))
        return ops.cast(weights, self.compute_dtype)

    def compute_output_shape(self, features_shape):
        return (features_shape[0], *(self.map_size or features_shape[1:3]))
