"""A small convolutional network, trained from scratch, for demonstrations and tests."""

import keras
from keras import layers, ops

from keras_attn.backbones.pixels import SYMMETRIC
from keras_attn.backbones.spec import Backbone, Endpoint


@keras.saving.register_keras_serializable("keras_attn")
class AppendMoments(layers.Layer):
    """Append each map times its row and each map times its column, both from -1 to 1.

    Shapes: `(b, h, w, C) -> (b, h, w, 3*C)`. A mean over the cells then tells where in the frame a
    feature is, which the maps alone do not.
    """

    def call(self, maps):
        rows, columns = (
            ops.linspace(-1.0, 1.0, cells, dtype=maps.dtype) for cells in maps.shape[1:3]
        )
        by_row, by_column = maps * rows[:, None, None], maps * columns[:, None]
        return ops.concatenate([maps, by_row, by_column], axis=-1)


def _network(height, width, channels):
    frames = x = keras.Input((height, width, channels))
    for number, filters in enumerate((16, 32, 16), 1):
        if number == 3:
            x = layers.GroupNormalization(8)(x)  # the same in training and inference
        x = layers.Conv2D(filters, 3, strides=2, padding="same", name=f"conv_{number}")(x)
        x = layers.ReLU(name=f"relu_{number}")(x)
    # The recurrent part reads a weighted sum over the cells and must tell motions apart.
    x = AppendMoments(name="maps")(x)
    return keras.Model(frames, x)


TINY = Backbone(
    name="tiny",
    network=_network,
    endpoints={
        "conv_1": Endpoint("conv_1", 16),
        "conv_2": Endpoint("conv_2", 32),
        "conv_3": Endpoint("conv_3", 16),
        "maps": Endpoint("maps", 48),
        "pooled": Endpoint("pooled", 48),
    },
    endpoint="maps",
    pyramid=("conv_1", "conv_2", "conv_3"),
    size=64,
    minimum_size=1,
    pixels=SYMMETRIC,
    description="three convolutions, 8x8x48 at 64 pixels",
    weights_file=(
        "an HDF5 file (.weights.h5) written by save_weights of this backbone, which is trained "
        "from scratch."
    ),
)
