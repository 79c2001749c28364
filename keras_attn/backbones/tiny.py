"""A small convolutional network, trained from scratch, for demonstrations and tests."""

import keras
from keras import layers, ops

from keras_attn.backbones.spec import Backbone, load_weights_file
from keras_attn.errors import UserError


@keras.saving.register_keras_serializable("keras_attn")
class AppendMoments(layers.Layer):
    """Append each map times its row and each map times its column, both from -1 to 1.

    Shapes: `(b, h, w, C) -> (b, h, w, 3 * C)`. A mean over the cells then tells where in the frame
    a feature is, which the maps alone do not.
    """

    def call(self, maps):
        rows, columns = (
            ops.linspace(-1.0, 1.0, cells, dtype=maps.dtype) for cells in maps.shape[1:3]
        )
        by_row, by_column = maps * rows[:, None, None], maps * columns[:, None]
        return ops.concatenate([maps, by_row, by_column], axis=-1)


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
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(x)
    # The recurrent part gets a weighted sum over the cells and must tell motions apart.
    x = AppendMoments(name="maps")(x)
    model = keras.Model(frames, x, name="tiny")
    if weights is not None:
        expected = "an HDF5 file written by save_weights of this backbone (.weights.h5)."
        load_weights_file(model, weights, "tiny", expected)
    return model


TINY = Backbone("tiny", _build, "maps", 64, "three convolutions, 8x8x48 at 64 pixels")
