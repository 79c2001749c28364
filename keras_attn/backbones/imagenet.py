"""Backbones with published ImageNet weights, from `keras.applications`.

Levels of a pyramid are maps before activation, except where the network has none: the blocks of
InceptionV3 end in activated branches side by side.
"""

import functools
import warnings

import keras

from keras_attn.backbones.pixels import CAFFE, SYMMETRIC
from keras_attn.backbones.spec import Backbone, Endpoint


def _network(application, height, width, channels):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This model usually expects 1 or 3 input channels")
        return application(include_top=False, weights=None, input_shape=(height, width, channels))


def _backbone(application, size, **facts):
    # Downloaded at the published size: the file that Keras chooses depends on the size.
    download = functools.partial(
        application, include_top=False, weights="imagenet", input_shape=(size, size, 3)
    )
    return Backbone(
        network=functools.partial(_network, application),
        size=size,
        download=download,
        weights_file=(
            "an HDF5 file (.weights.h5 or .h5) of keras.applications."
            f"{application.__name__}(include_top=False)."
        ),
        **facts,
    )


def _resnet(application, name, blocks_of_stage_4, depth):
    return _backbone(
        application,
        224,
        name=name,
        endpoints={
            "stage3": Endpoint("conv3_block4_add", 512),
            "stage4": Endpoint(f"conv4_block{blocks_of_stage_4}_add", 1024),
            "stage5": Endpoint("conv5_block3_add", 2048),
            "stage5_relu": Endpoint("conv5_block3_out", 2048, relu_of="stage5"),
            "pooled": Endpoint("pooled", 2048),
        },
        endpoint="stage5_relu",
        pyramid=("stage3", "stage4", "stage5"),
        minimum_size=32,
        pixels=CAFFE,
        description=f"ResNet-{depth}, 7x7x2048 at 224 pixels",
    )


RESNET_50 = _resnet(keras.applications.ResNet50, "resnet_50", 6, 50)
RESNET_101 = _resnet(keras.applications.ResNet101, "resnet_101", 23, 101)
INCEPTION_RESNET_V2 = _backbone(
    keras.applications.InceptionResNetV2,
    299,
    name="inception_resnet_v2",
    endpoints={
        "conv2d_4a": Endpoint(16, 192, "input"),  # Keras numbers the names of the first layers
        "block_a": Endpoint("block35_10_ac", 320, "input"),
        "block_b": Endpoint("block17_20_ac", 1088, "input"),
        "block_c": Endpoint("conv_7b", 2080, "input"),
        "conv_7b": Endpoint("conv_7b_ac", 1536),
        "pooled": Endpoint("pooled", 1536),
    },
    endpoint="conv_7b",
    pyramid=("block_a", "block_b", "block_c"),
    minimum_size=75,
    pixels=SYMMETRIC,
    description="InceptionResNetV2, 8x8x1536 at 299 pixels: the best network of Hu et al.",
)
INCEPTION_V3 = _backbone(
    keras.applications.InceptionV3,
    299,
    name="inception_v3",
    endpoints={
        "mixed2": Endpoint("mixed2", 288),
        "mixed7": Endpoint("mixed7", 768),
        "mixed10": Endpoint("mixed10", 2048),
        "pooled": Endpoint("pooled", 2048),
    },
    endpoint="mixed10",
    pyramid=("mixed2", "mixed7", "mixed10"),
    minimum_size=75,
    pixels=SYMMETRIC,
    description="InceptionV3, 8x8x2048 at 299 pixels: the network of Quan et al. 2020",
)
MOBILENET_V2 = _backbone(
    keras.applications.MobileNetV2,
    224,
    name="mobilenet_v2",
    endpoints={
        "block_12": Endpoint("block_12_add", 96),
        "block_16": Endpoint("block_16_project_BN", 320),
        "conv_1": Endpoint("Conv_1_bn", 1280),
        "out_relu": Endpoint("out_relu", 1280, relu_of="conv_1", ceiling=6.0),
        "pooled": Endpoint("pooled", 1280),
    },
    endpoint="out_relu",
    pyramid=("block_12", "block_16", "conv_1"),
    minimum_size=32,
    pixels=SYMMETRIC,
    description="MobileNetV2, 7x7x1280 at 224 pixels: small and fast on a CPU",
)
