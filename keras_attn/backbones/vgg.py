"""VGG-16 with the activations of pooled layers apart, so that their maps exist before activation.

Simonyan and Zisserman, Very Deep Convolutional Networks, ICLR 2015. Pooling before activation gives
the same numbers as after it, which is how keras.applications.VGG16 has it; layers are named as
there and its weights serve. They include the fully connected layers, for which frames have 224
pixels: fc6 is what paper 002 classifies, and fc6 and fc7 follow the maps that paper 004 attends.
"""

import keras
from keras import layers

from keras_attn.backbones.pixels import CAFFE
from keras_attn.backbones.spec import Backbone, Endpoint

BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))  # convolutions, filters


def _network(height, width, channels):
    frames = x = keras.Input((height, width, channels))
    for block, (convolutions, filters) in enumerate(BLOCKS, 1):
        for number in range(1, convolutions + 1):
            activation = "relu" if number < convolutions else None
            name = f"block{block}_conv{number}"
            x = layers.Conv2D(filters, 3, padding="same", activation=activation, name=name)(x)
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
        x = layers.ReLU(name=f"block{block}_relu")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(4096, activation="relu", name="fc1")(x)
    x = layers.Dense(4096, activation="relu", name="fc2")(x)
    # No endpoint, but part of the file of weights.
    return keras.Model(frames, layers.Dense(1000, activation="softmax", name="predictions")(x))


def _download():
    return keras.applications.VGG16(weights="imagenet")


VGG_16 = Backbone(
    name="vgg_16",
    network=_network,
    endpoints={
        "conv3_3": Endpoint("block3_pool", 256),
        "conv4_3": Endpoint("block4_pool", 512),
        "conv5_3": Endpoint("block5_pool", 512),
        "pool5": Endpoint("block5_relu", 512, relu_of="conv5_3"),
        "fc6": Endpoint("fc1", 4096),
        "fc7": Endpoint("fc2", 4096),
    },
    endpoint="pool5",
    pyramid=("conv3_3", "conv4_3", "conv5_3"),
    vector="fc6",
    size=224,
    minimum_size=32,
    pixels=CAFFE,
    description="VGG-16, 7x7x512 or vectors of 4096 at 224 pixels",
    weights_file=(
        "an HDF5 file (.weights.h5 or .h5) of keras.applications.VGG16(include_top=True), for "
        "frames of 224 pixels."
    ),
    download=_download,
)
