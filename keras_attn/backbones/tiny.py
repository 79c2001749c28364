"""A small convolutional network, trained from scratch, for demonstrations and tests."""

import keras
from keras import layers, ops

from keras_attn.backbones.spec import Backbone, load_weights_file
from keras_attn.errors import UserError


@keras.saving.register_keras_serializable("keras_attn")
class AppendCoordinates(layers.Layer):
    """Append each pixel's row and column, from -1 to 1, as channels (CoordConv, Liu et al. 2018).

    Shapes: `(b, H, W, C) -> (b, H, W, C + 2)`.
    """

    def call(self, images):
        rows, columns = (
            ops.linspace(-1.0, 1.0, cells, dtype=images.dtype) for cells in images.shape[1:3]
        )
        constants = ops.stack(ops.meshgrid(rows, columns, indexing="ij"), axis=-1)
        # Adding to zeros spreads the constants over a batch of any, also unknown, size.
        return ops.concatenate([images, ops.zeros_like(images[..., :2]) + constants], axis=-1)


def _build(height, width, weights):
    if weights == "imagenet":
        raise UserError(
            "Weights of the backbone 'tiny': there are no ImageNet weights for it; it is trained "
            "from scratch. Give a path, or no weights."
        )
    frames = x = keras.Input((height, width, 3), name="frames")
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(x)
    for filters in (16, 32):
        x = layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.GroupNormalization(8)(x)  # unlike batch norm the same in training and in use
    # A map of a small network does not say where it was seen, but the recurrent part, which
    # gets a weighted sum over the cells, must tell motions apart.
    x = AppendCoordinates()(x)
    x = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.GroupNormalization(8, name="maps")(x)  # without it the first epochs stand still
    model = keras.Model(frames, x, name="tiny")
    if weights is not None:
        expected = "an HDF5 file written by save_weights of this backbone (.weights.h5)."
        load_weights_file(model, weights, "tiny", expected)
    return model


TINY = Backbone(
    "tiny", _build, "maps", 64, "three convolutions with coordinates, 8x8x32 at 64 pixels"
)
