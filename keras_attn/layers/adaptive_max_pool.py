"""Max pooling to a given number of cells."""

import keras
from keras import ops

from keras_attn.layers.base import SavableLayer
from keras_attn.utils.masks import frame_mask


@keras.saving.register_keras_serializable("keras_attn")
class AdaptiveMaxPool(SavableLayer):
    """Max pooling to a given number of cells, by windows that cover the map evenly.

    Shapes: `(..., H, W, C) -> (..., h, w, C)`. Window i of h has the rows from floor(i H / h) up to
    ceil((i + 1) H / h), as in PyTorch's `adaptive_max_pool2d`; windows share a row where h does not
    divide H. A mask is passed on.

    Args:
        size: Rows and columns (h, w) of the pooled map.

    Raises:
        ValueError: When built, for an `h` or `w` below 1 or above the map's, or a map of unknown
            size.
    """

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def build(self, map_shape):
        for cells, wanted in zip(map_shape[-3:-1], self.size, strict=True):
            if cells is None or not 1 <= wanted <= cells:
                raise ValueError(
                    f"size must be at least 1 and at most the map's known (H, W), got "
                    f"{tuple(self.size)} for a map of {tuple(map_shape[-3:-1])}"
                )

    def call(self, maps):
        rows, columns = self.size
        return _pooled(_pooled(maps, rows, axis=-3), columns, axis=-2)

    def compute_mask(self, maps, mask):
        return frame_mask(mask)


def _pooled(maps, size, axis):
    cells = maps.shape[axis]
    windows = []
    for i in range(size):
        window = [slice(None)] * (-axis)
        window[0] = slice(i * cells // size, -(-(i + 1) * cells // size))
        windows.append(ops.max(maps[(..., *window)], axis))
    return ops.stack(windows, axis)
