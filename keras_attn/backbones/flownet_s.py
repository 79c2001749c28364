"""FlowNetS: optical flow between two frames, as a contracting and an expanding part.

Dosovitskiy et al.: FlowNet: Learning Optical Flow with Convolutional Networks. ICCV 2015.

    frames (b, H, W, 6) -> conv1 .. conv6_1: 1/2 .. 1/64 -> maps (b, h, w, 1024)
                           conv2, conv3_1, conv4_1, conv5_1, maps -> flow at 1/4 .. 1/64

Both parts are one graph: the flow model holds the very layers of the contracting model. Layers are
named as in FlowNetPytorch, and borders are its: strided convolutions pad both sides equally,
upsampled maps are cropped to meet maps of odd size. 38,675,536 parameters.
"""

import keras
from keras import layers

from keras_attn.backbones.pixels import NormalizePixels
from keras_attn.utils.checks import check_option

CONVOLUTIONS = {  # name: side, strides, filters
    "conv1": (7, 2, 64),
    "conv2": (5, 2, 128),
    "conv3": (5, 2, 256),
    "conv3_1": (3, 1, 256),
    "conv4": (3, 2, 512),
    "conv4_1": (3, 1, 512),
    "conv5": (3, 2, 512),
    "conv5_1": (3, 1, 512),
    "conv6": (3, 2, 1024),
    "conv6_1": (3, 1, 1024),
}
EXPANSIONS = {5: 512, 4: 256, 3: 128, 2: 64}  # level: filters; level n is at 1 / 2**n of the size
LEVELS = {5: "conv5_1", 4: "conv4_1", 3: "conv3_1", 2: "conv2"}  # the contracting map of each
FLOW_DIVISOR = 20  # flow is predicted in pixels of the frames, divided by this
_MEANS = (0.45, 0.432, 0.411)  # of R, G, B / 255: what FlowNetPytorch trains with


def contracting(height, width, last_stride=2, pooling="stride"):
    """Ten convolutions from two RGB frames side by side, 0..255, to a map of 1024 channels.

    Shapes: `(b, H, W, 6) -> (b, h, w, 1024)`. Six of them halve the map: 224 pixels give 4x4.

    Args:
        height, width: Size of the frames, in pixels.
        last_stride: 2, or 1 (ours), so that the last of the six does not halve and 224 pixels give
            7x7; conv6_1 then looks at every second cell, so that with the same weights every second
            cell of the output is what it was.
        pooling: "stride", or "max": 2x2 max pooling after convolutions of stride 1 ("six
            max-pooling layers": Yang et al. 2020).

    Raises:
        ValueError: For another `last_stride` or `pooling`.
    """
    check_option("last_stride", last_stride, (1, 2))
    check_option("pooling", pooling, ("stride", "max"))
    frames = keras.Input((height, width, 6), name="frames")
    means = [255 * mean for mean in 2 * _MEANS]
    x = NormalizePixels(means, 255.0, name="normalized")(frames)
    for name, (side, strides, filters) in CONVOLUTIONS.items():
        strides = last_stride if name == "conv6" else strides
        dilation = 2 // last_stride if name == "conv6_1" else 1
        pooled = pooling == "max" and strides == 2
        x = _convolved(x, filters, side, 1 if pooled else strides, dilation, name)
        if pooled:  # the activation keeps order, so it may as well follow the pooling
            x = layers.MaxPooling2D(2, padding="same", name=f"{name}_pool")(x)
        x = layers.LeakyReLU(0.1, name=f"{name}_relu")(x)
    return keras.Model(frames, x, name="flownet_s_contracting")


def expanding(contracting_model):
    """The flow model on top of a contracting model, whose layers it shares.

    From the same frames to flow `(b, h, w, 2)`, x then y, at 1/4, 1/8, 1/16, 1/32 of the size and
    on the contracting model's own map. At every size the flow is in pixels of the frames, divided
    by `FLOW_DIVISOR`. On a map that conv6 did not halve nothing is doubled: the layers of that
    level then have stride 1, and public weights need training there.

    Args:
        contracting_model: A model of `contracting`.
    """
    x = contracting_model.output
    # 1 where conv6_1 looks at every second cell, because conv6 did not halve.
    strides = 2 // contracting_model.get_layer("conv6_1").dilation_rate[0]
    flows = [_flow(x, 6)]
    for level, filters in EXPANSIONS.items():
        beside = contracting_model.get_layer(f"{LEVELS[level]}_relu").output
        flow = _upsampled(flows[-1], 2, strides, f"upsampled_flow{level + 1}_to_{level}")
        x = _upsampled(x, filters, strides, f"deconv{level}")
        x = layers.LeakyReLU(0.1, name=f"deconv{level}_relu")(x)
        parts = [beside, _cropped(x, beside), _cropped(flow, beside)]
        x = layers.Concatenate(name=f"concat{level}")(parts)
        flows.append(_flow(x, level))
        strides = 2
    return keras.Model(contracting_model.input, flows[::-1], name="flownet_s")


def flownet_s(height, width, last_stride=2, pooling="stride"):
    """The flow model of `expanding` on a contracting model of its own.

    Args:
        height, width, last_stride, pooling: As for `contracting`.
    """
    return expanding(contracting(height, width, last_stride, pooling))


def _convolved(x, filters, side, strides, dilation, name):
    if strides > 1:  # Keras' own padding puts nothing before a map of even size
        x = layers.ZeroPadding2D(side // 2, name=f"{name}_pad")(x)
    convolution = layers.Conv2D(
        filters,
        side,
        strides,
        padding="same" if strides == 1 else "valid",
        dilation_rate=dilation,
        kernel_initializer="he_uniform",
        name=name,
    )
    return convolution(x)


def _upsampled(x, filters, strides, name):
    convolution = layers.Conv2DTranspose(
        filters,
        4,
        strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_uniform",
        name=name,
    )
    return convolution(x)


def _flow(x, level):
    convolution = layers.Conv2D(
        2,
        3,
        padding="same",
        use_bias=False,
        kernel_initializer="he_uniform",
        name=f"predict_flow{level}",
    )
    return convolution(x)


def _cropped(x, like):
    excess = [size - wanted for size, wanted in zip(x.shape[1:3], like.shape[1:3], strict=True)]
    return layers.Cropping2D([(0, cells) for cells in excess])(x) if any(excess) else x
