"""The table of all backbones, and models built from it."""

import dataclasses

import keras
from keras import layers

from keras_attn.backbones import (
    bn_inception,
    hub,
    imagenet,
    motion_reinforcement,
    own,
    temporal_shift_resnet,
    tiny,
    vgg,
)
from keras_attn.backbones.pixels import normalization, stream_channels
from keras_attn.backbones.run_weights import run_channels
from keras_attn.backbones.spec import Backbone
from keras_attn.backbones.weights import flow_weights, load, load_if_it_fits
from keras_attn.layers import AdaptiveMaxPool, PerFrame
from keras_attn.utils.checks import check_option
from keras_attn.utils.plain import slug

BACKBONES = {
    backbone.name: backbone
    for backbone in (
        bn_inception.BN_INCEPTION,
        imagenet.INCEPTION_RESNET_V2,
        imagenet.INCEPTION_V3,
        imagenet.MOBILENET_V2,
        motion_reinforcement.MOBILENET_V2,
        imagenet.RESNET_50,
        motion_reinforcement.RESNET_50,
        imagenet.RESNET_101,
        temporal_shift_resnet.RESNET_50_TORCH,
        temporal_shift_resnet.TSM_RESNET_50,
        tiny.TINY,
        vgg.VGG_16,
    )
}


def find_backbone(backbone) -> Backbone | None:
    """The entry of a backbone, however it is given; None for None.

    Args:
        backbone: Name in `BACKBONES`; "hub:PRESET" or "hub:FOLDER", see `backbones.hub`; a
            `keras.Model` from frames (b, H, W, channels) to maps or vectors, or from clips
            (B, T, H, W, channels), see `backbones.own`; or what `get_config` says of one of these.

    Raises:
        ValueError: For what is no backbone.
        UserError: For a preset where KerasHub is not installed or the preset cannot be fetched.
    """
    if backbone is None or isinstance(backbone, Backbone):
        return backbone
    if isinstance(backbone, keras.Model):
        return own.of_model(backbone)
    if isinstance(backbone, dict):
        if "hub" in backbone:
            return dataclasses.replace(hub.from_config(backbone), fill=None)
        return own.of_config(backbone)
    if not isinstance(backbone, str):
        raise ValueError(f"backbone must be a name, a keras.Model or None, got {backbone!r}")
    if backbone.startswith(hub.PREFIX):
        return hub.find(backbone)
    check_option("backbone", backbone, (*BACKBONES, "hub:PRESET"))
    return BACKBONES[backbone]


def build_backbone(name, size=None, weights=None, endpoint=None, channels=3):
    """Build a `keras.Model` from frames to one of a backbone's endpoints, preprocessing inside.

    Shapes: `(b, H, W, channels) -> (b, h, w, C)` or `(b, D)`; for a backbone that sees whole clips
    `(B, T, ...)` on both sides. Frames are bytes from 0 to 255, as uint8 or float.

    Three channels are RGB; any other even number is stacked flow, whose first kernel is that of RGB
    averaged and repeated (`flow_weights`). 3 + 2L channels are RGB and flow: two of the backbone,
    "rgb" and "flow", each with weights of its own, give their maps side by side, those of RGB
    first; a backbone that is `reinforced` takes both and gives one.

    Args:
        name: Name in `BACKBONES`, or what else `find_backbone` takes.
        size: Pixels of a side, or (H, W); None for the backbone's own.
        weights: "imagenet" (downloaded by Keras), "preset" (those of "hub:PRESET"), the path of a
            weights file (HDF5, or PyTorch's names in .safetensors or .npz:
            `convert.load_torch_state`), the folder of a run whose model has this backbone, whole,
            or None (random); weights for RGB serve flow too.
        endpoint: Name in `find_backbone(name).endpoints`, None for the backbone's own. Several maps
            joined by "+" are max-pooled to the cells of the last and concatenated along the
            channels.
        channels: Number of channels of a frame.

    Raises:
        ValueError: For a name, endpoint, size or number of channels that the backbone does not
            have.
        UserError: For weights that cannot be loaded.
    """
    backbone, endpoints = chosen(name, endpoint)

    def joined(network):
        return _joined([tensor(network, backbone, at) for at in endpoints], endpoints)

    return built(backbone, size, weights, channels, joined)


def whole_network(name, size=None, weights=None, channels=3):
    """The network that `build_backbone` cuts; what its `save_weights` writes are weights.

    It is that of RGB, also for other `channels`, unless `weights` are of a network for these. The
    errors are those of `build_backbone`.
    """
    backbone = find_backbone(name)
    sides = _sides(backbone, size, channels)
    one_network = backbone.reinforced or not all(stream_channels(channels))
    if weights is not None and one_network:
        network = backbone.network(*sides, channels)
        if _filled(network, backbone, weights):
            return network
    return _network(backbone, *sides, 3, weights)


def _sides(backbone, size, channels):
    """Height and width of the frames; `ValueError` unless the backbone can see them."""
    if backbone.reinforced and not all(stream_channels(channels)):
        raise ValueError(
            f"channels must be 3 + 2L for {backbone.name}, 3 of RGB and 2L of flow, got {channels}"
        )
    size = backbone.size if size is None else size
    height, width = (size, size) if isinstance(size, int) else size
    if not all(side and side >= backbone.minimum_size for side in (height, width)):
        raise ValueError(
            f"size must be at least {backbone.minimum_size} pixels for {backbone.name}, got "
            f"{height}x{width}"
        )
    return height, width


def built(backbone, size, weights, channels, outputs):
    """The backbone from frames to `outputs(network)`: a tensor, or a list of several."""
    height, width = _sides(backbone, size, channels)
    if all(stream_channels(channels)) and not backbone.reinforced and backbone.pixels:
        return _side_by_side(backbone, size, weights, channels, outputs)
    network = _network(backbone, height, width, channels, weights)
    cut = keras.Model(network.input, outputs(network))
    frames = keras.Input(network.input_shape[1:], name="frames")
    # `call` puts the layers themselves into the model, under the names that weights files know.
    scaled = normalization(backbone.pixels, channels)(frames) if backbone.pixels else frames
    return keras.Model(frames, cut.call(scaled), name=slug(backbone.name))


def _side_by_side(backbone, size, weights, channels, outputs):
    """Two of a backbone, on RGB and on flow; in the channels of their maps those of RGB come first.

    They are models in the model, since the layers of both have the same names.
    """
    rgb, flow = (
        built(backbone, size, weights, part, outputs) for part in stream_channels(channels)
    )
    frames = keras.Input((*rgb.input_shape[1:-1], channels), name="frames")
    rgb = keras.Model(rgb.input, rgb.output, name="rgb")(frames[..., :3])
    flow = keras.Model(flow.input, flow.output, name="flow")(frames[..., 3:])
    if isinstance(rgb, list):
        pairs = zip(rgb, flow, strict=True)
        maps = [layers.Concatenate()(pair) for pair in pairs]
    else:
        maps = layers.Concatenate(name="streams")([rgb, flow])
    return keras.Model(frames, maps, name=slug(backbone.name))


def endpoint_channels(name, endpoint=None):
    """Return the number of channels of each of the names joined in `endpoint`.

    Args:
        name, endpoint: As for `build_backbone`.

    Raises:
        ValueError: For an unknown name or endpoint.
    """
    backbone, endpoints = chosen(name, endpoint)
    return tuple(backbone.endpoints[at].channels for at in endpoints)


def backbone_tail(name, endpoint, map_size, weights=None):
    """Build a `keras.Model` of all that follows a map in the backbone, up to its last vector.

    Shapes: `(b, h, w, C) -> (b, D)`. A map before activation is activated first, since the
    activation is the next layer. Where a backbone sees whole clips, the map is taken for a clip of
    one frame; where flow reinforces RGB, nothing is multiplied behind the map.

    Args:
        name: Name in `BACKBONES`.
        endpoint: The map's name in `BACKBONES[name].maps`.
        map_size: Rows and columns (h, w) of the map.
        weights: As for `build_backbone`.

    Raises:
        ValueError: For an unknown name or endpoint, or a size that does not fit the weights.
        UserError: For weights that cannot be loaded.
    """
    backbone, endpoints = chosen(name, endpoint)
    if endpoint not in backbone.maps:
        raise ValueError(
            f"endpoint of {backbone.name} must be one of {', '.join(backbone.maps)}, got "
            f"{endpoint!r}"
        )
    channels = run_channels(weights) or 3  # behind the first layer it does not matter
    network = _network(backbone, backbone.size, backbone.size, channels, weights)
    ends = [tensor(network, backbone, at) for at in (endpoint, backbone.last)]
    cut = keras.Model(*ends)
    maps = x = keras.Input((*map_size, ends[0].shape[-1]), name="input_maps")
    if not backbone.per_frame:
        x = layers.Reshape((1, *x.shape[1:]), name="clip")(x)
    # A copy, so that the first part of the network is not kept.
    tail = keras.models.clone_model(cut, input_tensors=keras.Input(x.shape[1:]))
    if weights is not None:
        _copy_weights(cut, tail, backbone.name, map_size)
    x = tail.call(x)
    if not backbone.per_frame:
        x = layers.Reshape(x.shape[2:], name="vector")(x)
    return keras.Model(maps, x, name=f"{backbone.name}_tail")


def chosen(name, endpoint):
    backbone = find_backbone(name)
    endpoints = (endpoint or backbone.endpoint).split("+")
    known = backbone.endpoints if len(endpoints) == 1 else backbone.maps
    if not set(known).issuperset(endpoints):
        raise ValueError(
            f"endpoint of {backbone.name} must be one of {', '.join(backbone.endpoints)}, or maps "
            f"of these joined by '+', got {endpoint!r}"
        )
    return backbone, endpoints


def _network(backbone, height, width, channels, weights):
    network = backbone.network(height, width, channels)
    if weights is None or _filled(network, backbone, weights):
        return network
    rgb = _network(backbone, height, width, 3, weights)
    if backbone.reinforced:
        motion_reinforcement.copy_weights(rgb, network)
        return network
    kernel, *rest = rgb.get_weights()
    network.set_weights([flow_weights(kernel, channels), *rest])
    return network


def _filled(network, backbone, weights):
    """Fill a network; False if the weights can only be for RGB, and the network is for more."""
    if network.input_shape[-1] == 3:
        load(network, backbone, weights)
        return True
    return weights != "imagenet" and load_if_it_fits(network, backbone, weights)


def _copy_weights(cut, tail, name, map_size):
    try:
        tail.set_weights(cut.get_weights())
    except ValueError as error:
        raise ValueError(
            f"map_size must be {cut.input_shape[1:3]} for the weights of {name}, got {map_size}"
        ) from error


def tensor(network, backbone, name):
    layer, _, side, *_ = backbone.endpoints[name]
    if layer == "pooled":
        several = isinstance(network.output, list)
        return _pooled(tensor(network, backbone, backbone.maps[-1]) if several else network.output)
    at = {"index": layer} if isinstance(layer, int) else {"name": layer}
    return getattr(network.get_layer(**at), side)


def _pooled(maps):
    pool = layers.GlobalAveragePooling2D(name="pooled")
    return pool(maps) if len(maps.shape) == 4 else PerFrame(pool, name="pooled")(maps)


def _joined(maps, names):
    if len(maps) == 1:
        return maps[0]
    size = maps[-1].shape[-3:-1]
    pooled = [
        AdaptiveMaxPool(size, name=f"{name}_pooled")(x)
        for x, name in zip(maps[:-1], names[:-1], strict=True)
    ]
    return layers.Concatenate(name="levels")([*pooled, maps[-1]])
