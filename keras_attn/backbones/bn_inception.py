"""BN-Inception: the table of its blocks and the few lines that read it.

The network of Ioffe and Szegedy (Batch Normalization, ICML 2015) as the temporal segment networks
use it. Layers are named as in the public PyTorch ports, and borders are theirs, so that weights
convert exactly: strided convolutions pad both sides equally, average pooling counts the zeros
around the map, max pooling keeps the last, partial window.

Convolutions have no bias. Those of the public weights are subtracted from the moving means of the
batch normalization that follows, which changes no output in inference or in training. So there are
10,240,192 convolution weights and, with gamma and beta, 10,260,224 parameters to train.
"""

import keras
from keras import layers

from keras_attn.backbones.pixels import PixelScale
from keras_attn.backbones.spec import Backbone, Endpoint

# Filters of each block: 1x1; 3x3 and its reduction; double 3x3 and its reduction; projection of
# the pool. The blocks that halve the map have neither 1x1 nor projection.
BLOCKS = {
    "3a": (64, (64, 64), (64, 96), 32),
    "3b": (64, (64, 96), (64, 96), 64),
    "3c": (None, (128, 160), (64, 96), None),
    "4a": (224, (64, 96), (96, 128), 128),
    "4b": (192, (96, 128), (96, 128), 128),
    "4c": (160, (128, 160), (128, 160), 128),
    "4d": (96, (128, 192), (160, 192), 128),
    "4e": (None, (128, 192), (192, 256), None),
    "5a": (352, (192, 320), (160, 224), 128),
    "5b": (352, (192, 320), (192, 224), 128),
}


def network(height, width, channels=3):
    """From normalized frames to the map of the last block.

    The joined branches of block 3a are the layer `inception_3a_concat`, and after activation
    `inception_3a_output`; so for all blocks.
    """
    frames = keras.Input((height, width, channels))
    x = _activated(frames, 64, 7, 2, "conv1_7x7_s2")
    x = _halved(x, "pool1_3x3_s2")
    x = _activated(x, 64, 1, 1, "conv2_3x3_reduce")
    x = _activated(x, 192, 3, 1, "conv2_3x3")
    x = _halved(x, "pool2_3x3_s2")
    for name in BLOCKS:
        x = _block(x, name)
    return keras.Model(frames, x, name="network")


def _block(x, name):
    single, (reduced, filters), (double_reduced, double_filters), projected = BLOCKS[name]
    prefix = f"inception_{name}"
    strides = 1 if projected else 2
    branches = []
    if single:
        branches.append(_convolved(x, single, 1, 1, f"{prefix}_1x1"))

    branch = _activated(x, reduced, 1, 1, f"{prefix}_3x3_reduce")
    branches.append(_convolved(branch, filters, 3, strides, f"{prefix}_3x3"))

    branch = _activated(x, double_reduced, 1, 1, f"{prefix}_double_3x3_reduce")
    branch = _activated(branch, double_filters, 3, 1, f"{prefix}_double_3x3_1")
    branches.append(_convolved(branch, double_filters, 3, strides, f"{prefix}_double_3x3_2"))

    if projected:
        pooled = (_max_pooled if name == "5b" else _mean_pooled)(x, f"{prefix}_pool")
        branches.append(_convolved(pooled, projected, 1, 1, f"{prefix}_pool_proj"))
    else:
        # PyTorch refuses a map of odd size here: it would halve up in the convolutions and down in
        # the pool. A zero on either side halves it up too (ours).
        odd = [cells % 2 for cells in x.shape[1:3]]
        branches.append(_halved(x, f"{prefix}_pool", odd))
    # One activation for all branches, so that the map before it exists. It leaves a branch that
    # only pools as it is, because what comes in is not negative.
    x = layers.Concatenate(name=f"{prefix}_concat")(branches)
    return layers.ReLU(name=f"{prefix}_output")(x)


def _activated(x, filters, side, strides, name):
    return layers.ReLU(name=f"{name}_relu")(_convolved(x, filters, side, strides, name))


def _convolved(x, filters, side, strides, name):
    if strides > 1:  # Keras' own padding puts nothing before a map of even size
        x = layers.ZeroPadding2D(side // 2, name=f"{name}_pad")(x)
    padding = "same" if strides == 1 else "valid"
    x = layers.Conv2D(filters, side, strides, padding, use_bias=False, name=name)(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)


def _halved(x, name, before=(0, 0)):
    """Max of 3x3 cells in steps of two; x is not negative, so a zero beside it changes no max."""
    x = layers.ZeroPadding2D([(cells, 1) for cells in before], name=f"{name}_pad")(x)
    return layers.MaxPooling2D(3, 2, name=name)(x)


def _max_pooled(x, name):
    return layers.MaxPooling2D(3, 1, "same", name=name)(x)


def _mean_pooled(x, name):
    """Mean of 3x3 cells; the zeros around the map count."""
    x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    return layers.AveragePooling2D(3, 1, name=name)(x)


BN_INCEPTION = Backbone(
    name="bn_inception",
    network=network,
    endpoints={
        # Joined branches before their activation; "5b_relu" is the last map after it.
        "3a": Endpoint("inception_3a_concat", 256),
        "3b": Endpoint("inception_3b_concat", 320),
        "3c": Endpoint("inception_3c_concat", 576),
        "4a": Endpoint("inception_4a_concat", 576),
        "4b": Endpoint("inception_4b_concat", 576),
        "4c": Endpoint("inception_4c_concat", 608),
        "4d": Endpoint("inception_4d_concat", 608),
        "4e": Endpoint("inception_4e_concat", 1056),
        "5a": Endpoint("inception_5a_concat", 1024),
        "5b": Endpoint("inception_5b_concat", 1024),
        "5b_relu": Endpoint("inception_5b_output", 1024, relu_of="5b"),
        "pooled": Endpoint("pooled", 1024),
    },
    endpoint="5b_relu",
    pyramid=("3b", "4e", "5b"),
    size=224,
    minimum_size=7,
    # The third mean is that of the PyTorch ports; the Caffe networks have 123.
    pixels=PixelScale(
        "BGR, pixels - (104, 117, 128)", (128.0, 117.0, 104.0), (1.0, 1.0, 1.0), bgr=True
    ),
    description="BN-Inception, 7x7x1024 at 224 pixels: the network of TSN and STA-CNN",
    weights_file=(
        "an HDF5 file (.weights.h5) of this network, or PyTorch's bninception in .safetensors or "
        ".npz (scripts/convert_weights.py)."
    ),
)
