"""From pixels to what a network was trained on."""

import dataclasses

import keras
from keras import backend, ops


@dataclasses.dataclass(frozen=True)
class PixelScale:
    """The normalization that published weights expect, for pixels from 0 to 255, in RGB order."""

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
    """`(pixels - mean) / deviation`, then, with `bgr`, the first three channels in reverse order.

    Shapes: `(..., C) -> (..., C)`. Computed in float32 at least, because half precision cannot tell
    neighboring pixel values apart once they are no whole numbers.

    Args:
        mean: Number, or one per channel, in units of a pixel (0 to 255).
        deviation: Likewise.
        bgr: Whether the first three channels are reversed.
    """

    def __init__(self, mean, deviation, bgr=False, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.supports_masking = True
        self.mean, self.deviation, self.bgr = mean, deviation, bgr

    def call(self, pixels):
        precise = backend.result_type(self.compute_dtype, "float32")
        mean, deviation = (ops.convert_to_tensor(x, precise) for x in (self.mean, self.deviation))
        pixels = (ops.cast(pixels, precise) - mean) / deviation
        if self.bgr:
            colors, others = ops.flip(pixels[..., :3], -1), pixels[..., 3:]
            pixels = ops.concatenate([colors, others], -1) if others.shape[-1] else colors
        return ops.cast(pixels, self.compute_dtype)


def stream_channels(channels):
    """Return how many channels of an input are RGB, and how many are flow, which lies behind it.

    Three are RGB, `(3, 0)`. Flow comes in pairs, of x and y, so that an odd number above three has
    both, `(3, 2L)`; any other is flow, `(0, channels)`.

    Args:
        channels: Number of channels of a frame.
    """
    if channels == 3:
        return 3, 0
    return (3, channels - 3) if channels > 3 and channels % 2 else (0, channels)


def normalization(scale, channels):
    """Return the `NormalizePixels` for RGB, flow bytes or both; see `stream_channels`.

    In flow 128 is no motion. It is scaled as RGB is, by the mean of its three deviations.
    """
    rgb, flow = stream_channels(channels)
    deviation = sum(scale.deviation) / 3
    if not rgb:
        return NormalizePixels(128.0, deviation, name="normalized")
    means, deviations = scale.mean + (128.0,) * flow, scale.deviation + (deviation,) * flow
    return NormalizePixels(means, deviations, scale.bgr, name="normalized")
