"""From pixels to what a network was trained on."""

import dataclasses

import keras
from keras import backend, ops


@dataclasses.dataclass(frozen=True)
class PixelScale:
    """What the published weights of a network expect, for pixels from 0 to 255, in RGB order."""

    description: str
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    bgr: bool = False


# The two conventions of keras.applications.
SYMMETRIC = PixelScale("RGB, pixels / 127.5 - 1", (127.5,) * 3, (127.5,) * 3)
CAFFE = PixelScale(
    "BGR, pixels - (103.939, 116.779, 123.68)", (123.68, 116.779, 103.939), (1.0,) * 3, bgr=True
)


@keras.saving.register_keras_serializable("keras_attn")
class NormalizePixels(keras.layers.Layer):
    """`(pixels - mean) / deviation`, then, with `bgr`, the channels in reverse order.

    Shapes: `(..., C) -> (..., C)`; `mean` and `deviation` are numbers, or C of them. Computed in
    float32 at least, because a half-precision number cannot tell neighbouring pixel values apart
    once they are no whole numbers.
    """

    def __init__(self, mean, deviation, bgr=False, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.mean, self.deviation, self.bgr = mean, deviation, bgr

    def call(self, pixels):
        precise = backend.result_type(self.compute_dtype, "float32")
        mean, deviation = (ops.convert_to_tensor(x, precise) for x in (self.mean, self.deviation))
        pixels = (ops.cast(pixels, precise) - mean) / deviation
        return ops.cast(ops.flip(pixels, -1) if self.bgr else pixels, self.compute_dtype)


def normalization(scale, channels):
    """The `NormalizePixels` for RGB, or for any other number of `channels`, which are flow bytes.

    128 is no motion. Flow is scaled as RGB is, by the mean of its three deviations.
    """
    if channels == 3:
        return NormalizePixels(scale.mean, scale.deviation, scale.bgr, name="normalized")
    return NormalizePixels(128.0, sum(scale.deviation) / 3, name="normalized")
