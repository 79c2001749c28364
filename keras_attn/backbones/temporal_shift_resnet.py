"""ResNet-50 as PyTorch has it, on frames, or on clips with channels shifted along time.

He et al., Deep Residual Learning for Image Recognition, CVPR 2016, in torchvision's form: the 3x3
convolution of a block has the stride, where keras.applications.ResNet50 gives it to the first 1x1
convolution. The two have the same shapes and other numbers, so weights of one do not serve the
other. Layers are named as in torchvision, and borders are its.

With `shift` the network takes clips, and the input of the first 1x1 convolution of each residual
branch, never the identity beside it, goes through `TemporalShift` (Lin et al., TSM, ICCV 2019).
The weights are the same.
"""

import dataclasses
import functools

import keras
from keras import layers

from keras_attn.backbones.pixels import PixelScale
from keras_attn.backbones.spec import Backbone, Endpoint
from keras_attn.layers import PerFrame, TemporalShift

STAGES = {"layer1": (3, 64), "layer2": (4, 128), "layer3": (6, 256), "layer4": (3, 512)}
_EXPANSION = 4  # a block ends with four times the filters that it works with


def network(height, width, channels=3, shift=False):
    """From normalized frames `(b, H, W, C)`, or clips `(B, T, H, W, C)`, to the last maps.

    The sum at the end of the first block is the layer `layer1.0.sum`, and after activation
    `layer1.0.output`; so for all blocks.
    """
    shape = (None, height, width, channels) if shift else (height, width, channels)
    frames = keras.Input(shape)
    stem = [
        *_convolved("conv1", "bn1", 64, 7, 2),
        layers.ReLU(name="relu"),
        layers.ZeroPadding2D(1, name="maxpool_pad"),  # beside what is not negative
        layers.MaxPooling2D(3, 2, name="maxpool"),
    ]
    x = _applied(stem, "stem", frames)
    for stage, (blocks, filters) in STAGES.items():
        for block in range(blocks):
            strides = 2 if block == 0 and stage != "layer1" else 1
            x = _block(x, f"{stage}.{block}", filters, strides, shift)
    return keras.Model(frames, x, name="network")


def _block(x, name, filters, strides, shift):
    identity = x
    if x.shape[-1] != _EXPANSION * filters:
        projection = _convolved(
            f"{name}.downsample.0", f"{name}.downsample.1", _EXPANSION * filters, 1, strides
        )
        identity = _applied(projection, f"{name}.downsample", x)
    branch = [
        *_convolved(f"{name}.conv1", f"{name}.bn1", filters, 1, 1),
        layers.ReLU(name=f"{name}.relu1"),
        *_convolved(f"{name}.conv2", f"{name}.bn2", filters, 3, strides),
        layers.ReLU(name=f"{name}.relu2"),
        *_convolved(f"{name}.conv3", f"{name}.bn3", _EXPANSION * filters, 1, 1),
    ]
    shifted = TemporalShift(name=f"{name}.shift")(x) if shift else x
    x = layers.Add(name=f"{name}.sum")([identity, _applied(branch, f"{name}.branch", shifted)])
    return layers.ReLU(name=f"{name}.output")(x)


def _convolved(name, norm_name, filters, side, strides):
    """A convolution and its batch normalization, with as many zeros on both sides."""
    return [
        layers.ZeroPadding2D(side // 2, name=f"{name}_pad"),
        layers.Conv2D(filters, side, strides, use_bias=False, name=name),
        layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=norm_name),
    ]


def _applied(image_layers, name, x):
    """The layers, in order, on a batch of frames or on each frame of clips."""
    maps = keras.Input((None, None, x.shape[-1]))  # of any size, for the rest of a network
    part = keras.Sequential([maps, *image_layers], name=name)
    return PerFrame(part, name=name)(x) if len(x.shape) == 5 else part(x)


RESNET_50_TORCH = Backbone(
    name="resnet_50_torch",
    network=network,
    endpoints={
        # Sums at the end of a stage before their activation; "stage5_relu" is the last after it.
        "stage2": Endpoint("layer1.2.sum", 256),
        "stage3": Endpoint("layer2.3.sum", 512),
        "stage4": Endpoint("layer3.5.sum", 1024),
        "stage5": Endpoint("layer4.2.sum", 2048),
        "stage5_relu": Endpoint("layer4.2.output", 2048, relu_of="stage5"),
        "pooled": Endpoint("pooled", 2048),
    },
    endpoint="stage5_relu",
    pyramid=("stage3", "stage4", "stage5"),
    size=224,
    minimum_size=1,
    pixels=PixelScale(
        "RGB, (pixels / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)",
        (123.675, 116.28, 103.53),
        (58.395, 57.12, 57.375),
    ),
    description="ResNet-50 in torchvision's form, 7x7x2048 at 224 pixels",
    weights_file=(
        "an HDF5 file (.weights.h5) of this network, or torchvision's resnet50 in .safetensors or "
        ".npz (scripts/convert_weights.py)."
    ),
)
TSM_RESNET_50 = dataclasses.replace(
    RESNET_50_TORCH,
    name="tsm_resnet_50",
    network=functools.partial(network, shift=True),
    description="ResNet-50 with channels shifted along time, 7x7x2048 at 224 pixels: TSM",
    weights_file=(
        "an HDF5 file (.weights.h5) of this network, or the ResNet-50 of torchvision or of TSM in "
        ".safetensors or .npz (scripts/convert_weights.py)."
    ),
    per_frame=False,
)
