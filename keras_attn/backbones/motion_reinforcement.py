"""Motion reinforcement: networks in which flow multiplies the inputs of RGB's residual branches.

Feichtenhofer, Pinz, Wildes, Spatiotemporal Multiplier Networks for Video Action Recognition, CVPR
2017; Hu et al. take it for the RGB stream of paper 004. Two networks of one kind run side by side.
Behind the first block l of each stage

    x_rgb(l+1) = f(x_rgb(l) + F(x_rgb(l) * ReLU(x_flow(l)))),

where F is the residual branch of the next block and f the activation at its end, if it has one. The
identity beside F is not multiplied, nothing goes from RGB to flow, no weight scales the product,
and gradients reach both networks. Of flow there are only the layers that lead to the last product.

MobileNetV2 (ours) has no activation at the end of a block: ReLU makes the factors of it.
"""

import dataclasses
import functools

import keras
from keras import layers

from keras_attn.backbones import imagenet
from keras_attn.backbones.weights import flow_weights

# The first layers of the residual branches F: of the second block of each stage.
BRANCHES = {
    "resnet_50": [f"conv{stage}_block2_1_conv" for stage in (2, 3, 4, 5)],
    "mobilenet_v2": [f"block_{block}_expand" for block in (2, 4, 7, 14)],
}
_FLOW = "flow_"


def network(plain, height, width, channels):
    """From normalized frames, RGB and flow behind it, to the last maps of RGB.

    Layers are named as in the `plain` backbone, those of flow with "flow_" before. For three
    channels, where there is no flow, the network is the plain one.
    """
    rgb = plain.network(height, width, 3)
    if channels == 3:
        return rgb
    frames = keras.Input((height, width, channels))
    flow = keras.models.clone_model(
        plain.network(height, width, channels - 3),
        input_tensors=frames,
        clone_function=_of_flow,
        call_function=lambda layer, x, *args, **kwargs: layer(
            x[..., 3:] if x is frames else x, *args, **kwargs
        ),
    )

    def call(layer, x, *args, **kwargs):
        if x is frames:
            x = x[..., :3]
        if layer.name in BRANCHES[plain.name]:
            x = _multiplied(x, flow.get_layer(_FLOW + layer.name).input, layer.name)
        return layer(x, *args, **kwargs)

    return keras.models.clone_model(rgb, input_tensors=frames, call_function=call)


def _of_flow(layer):
    return type(layer).from_config({**layer.get_config(), "name": _FLOW + layer.name})


def _multiplied(rgb, flow, name):
    factors = layers.ReLU(name=f"{name}_factors")(flow)
    return layers.Multiply(name=f"{name}_reinforced")([rgb, factors])


def copy_weights(rgb, network):
    """Give both streams of `network` the weights of the plain `rgb`; see `flow_weights`."""
    paths = [weight.path for weight in rgb.weights]
    values = dict(zip(paths, rgb.get_weights(), strict=True))
    fitted = []
    for weight in network.weights:
        value = values[weight.path.removeprefix(_FLOW)]
        fits = value.shape == tuple(weight.shape)
        fitted.append(value if fits else flow_weights(value, weight.shape[2]))
    network.set_weights(fitted)


def _reinforced(plain, description):
    return dataclasses.replace(
        plain,
        name=f"{plain.name}_reinforced",
        network=functools.partial(network, plain),
        description=description,
        reinforced=True,
    )


RESNET_50 = _reinforced(
    imagenet.RESNET_50, "ResNet-50 whose RGB is reinforced by flow, 7x7x2048 at 224 pixels"
)
MOBILENET_V2 = _reinforced(
    imagenet.MOBILENET_V2, "MobileNetV2 whose RGB is reinforced by flow, 7x7x1280 at 224 pixels"
)
