"""Attention over the cells of a map with scores of each cell's own (Yang et al. 2020)."""

import keras
from keras import ops

from keras_attn.utils.numerics import precise, softmax


@keras.saving.register_keras_serializable("keras_attn")
class LocationAttention(keras.layers.Layer):
    """Each cell scores its features with weights that no other cell shares; softmax over the cells.

    Shapes: `(b, h, w, C) -> (b, h, w)`; the weights sum to one over the cells of a map. Yang et al.
    2020, eq. (7)-(8): `(h w, C)` kernel entries, no bias. With `map_size` (height, width) the
    scores are resized to that map, bilinearly, before the softmax, so that features of one network
    can say where to look in those of another.

    The kernel starts at zero (ours), so that attention starts as the plain mean.
    """

    def __init__(self, map_size=None, **kwargs):
        super().__init__(**kwargs)
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
        return ops.cast(ops.reshape(weights, (-1, height, width)), self.compute_dtype)

    def compute_output_shape(self, features_shape):
        return (features_shape[0], *(self.map_size or features_shape[1:3]))
