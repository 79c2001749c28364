"""Three convolutions from a feature map to a mask of its salient cells (Meng et al. 2018)."""

import keras
from keras import layers, ops

from keras_attn.layers.base import AttentionLayer
from keras_attn.utils.masks import frame_mask


def convolutions(filters, dtype, name):
    """Stack 3x3 convolutions without biases, each followed by batch normalization and a ReLU.

    Shapes: `(b, h, w, C) -> (b, h, w, filters[-1])`. Momentum and epsilon are those of the authors'
    code, PyTorch's defaults.
    """
    stack = keras.Sequential(name=name)
    for count in filters:
        stack.add(layers.Conv2D(count, 3, padding="same", use_bias=False, dtype=dtype))
        stack.add(layers.BatchNormalization(momentum=0.9, epsilon=1e-5, dtype=dtype))
        stack.add(layers.ReLU(dtype=dtype))
    return stack


@keras.saving.register_keras_serializable("keras_attn")
class SaliencyMask(AttentionLayer):
    """How salient each cell of a map is, by itself: a sigmoid, which does not sum to one.

    Shapes: `(b, h, w, C) -> (b, h, w)`, between 0 and 1. Three 3x3 convolutions of C / 2, C / 4 and
    1 filters without biases, the first two with batch normalization and a ReLU. Meng et al. 2018
    say "several layers" in figure 2 and three in section 3.2; the rest is as in the authors' code.
    Maps that are padding (`mask (b,)` False) count for no mean and variance of the normalization.

    Args:
        attention_regularizer: As for `keras.regularizers.get`: a penalty on the attention weights.

    Raises:
        ValueError: When built, for fewer than 4 channels.
    """

    masks_rows = True  # for `PerFrame`

    def build(self, features_shape):
        channels = features_shape[-1]
        if channels < 4:
            raise ValueError(f"features must have at least 4 channels, got {channels}")
        self.hidden = convolutions((channels // 2, channels // 4), self.dtype_policy, "hidden")
        self.hidden.build(features_shape)
        self.mask = layers.Conv2D(
            1,
            3,
            padding="same",
            use_bias=False,
            activation="sigmoid",
            dtype=self.dtype_policy,
            name="mask",
        )
        self.mask.build((*features_shape[:-1], channels // 4))

    def call(self, features, mask=None):
        return self.regularized(self.mask(self._hidden(features, frame_mask(mask)))[..., 0])

    def _hidden(self, features, mask):
        if mask is None:
            return self.hidden(features)
        mask = mask[:, None, None] if len(mask.shape) == 1 else mask[..., None]
        convolve_1, normalize_1, _, convolve_2, normalize_2, _ = self.hidden.layers
        for convolve, normalize in ((convolve_1, normalize_1), (convolve_2, normalize_2)):
            maps = convolve(features)
            cells = ops.broadcast_to(mask, ops.shape(maps)[:3])
            features = ops.relu(normalize(maps, mask=cells))
        return features

    def compute_mask(self, features, mask):
        return None

    def compute_output_shape(self, features_shape):
        return features_shape[:-1]
