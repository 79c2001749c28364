"""Backbones with published ImageNet weights, from `keras.applications`."""

import functools

import keras

from keras_attn.backbones.spec import Backbone, load_weights_file
from keras_attn.errors import UserError


def _build(name, application, endpoint, size, height, width, weights):
    network = application(include_top=False, weights=None, input_shape=(height, width, 3))
    if weights == "imagenet":
        # Loaded at the published size: the file that Keras chooses depends on the size.
        network.set_weights(_download(name, application, size).get_weights())
    elif weights is not None:
        expected = (
            f"an HDF5 file (.weights.h5 or .h5) of keras.applications.{application.__name__}"
            "(include_top=False)."
        )
        load_weights_file(network, weights, name, expected)
    frames = keras.Input((height, width, 3), name="frames")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(frames)
    maps = keras.Model(network.input, network.get_layer(endpoint).output, name="network")
    return keras.Model(frames, maps(scaled), name=name)


def _download(name, application, size):
    try:
        return application(include_top=False, weights="imagenet", input_shape=(size, size, 3))
    except Exception as error:
        # Keras reports a failed download as a bare Exception.
        raise UserError(
            f"Weights of the backbone {name!r}: the ImageNet weights could not be downloaded "
            f"({error}). Without a connection, fetch the no-top file of keras.applications."
            f"{application.__name__} elsewhere and give its path instead of 'imagenet'."
        ) from error


def _backbone(name, application, endpoint, size, description):
    build = functools.partial(_build, name, application, endpoint, size)
    return Backbone(name, build, endpoint, size, description)


INCEPTION_V3 = _backbone(
    "inception_v3",
    keras.applications.InceptionV3,
    "mixed10",
    299,
    "InceptionV3, 8x8x2048 at 299 pixels: the network of Quan et al. 2020",
)
MOBILENET_V2 = _backbone(
    "mobilenet_v2",
    keras.applications.MobileNetV2,
    "out_relu",
    224,
    "MobileNetV2, 7x7x1280 at 224 pixels: small and fast on a CPU",
)
