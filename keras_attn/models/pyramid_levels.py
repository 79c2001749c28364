"""Which levels of a backbone, or of features, a pyramid has, and the network behind the last."""

import keras
from keras import layers

from keras_attn.backbones import backbone_tail, endpoint_channels, stream_channels
from keras_attn.utils.checks import check_at_least, check_input_shape


def level_names(levels, backbone):
    """The endpoints of a `Backbone` that are the levels; `ValueError` unless they can be."""
    if levels is None:
        return backbone.pyramid
    endpoints = backbone.endpoints
    if not 1 <= len(levels) <= 4 or [name for name in endpoints if name in levels] != [*levels]:
        raise ValueError(
            f"levels must be 1 to 4 of {', '.join(endpoints)}, in this order, got {levels!r}"
        )
    return tuple(levels)


def backbone_levels(input_shape, names, backbone, cached, streams):
    """The channels of each level; `ValueError` for an `input_shape` of other ones."""
    both = streams > 1 or backbone.reinforced
    if streams > 1 and (backbone.reinforced or backbone.config):
        reason = "joins two itself" if backbone.reinforced else "is not in the table of backbones"
        raise ValueError(
            f"backbone must see one stream, got {backbone.name!r}, which {reason}; "
            "`features` of any network serve with backbone=None"
        )
    sizes = endpoint_channels(backbone, "+".join(names))
    channels = streams * sum(sizes)
    layout = f"(T, H, W, {'3 + 2L) of a video of RGB and flow' if both else '3) of a video'}"
    if cached:
        cells = "" if names[-1] == backbone.vector else "h, w, "
        layout = f"(T, {cells}{channels}) of cached {'+'.join(names)}"
        layout += f", of {streams} streams" if streams > 1 else ""
    check_input_shape(input_shape, layout)
    fits = input_shape[-1] == channels if cached else all(stream_channels(input_shape[-1])) == both
    if not fits and (cached or backbone.pixels):
        raise ValueError(f"input_shape must be {layout}, got {input_shape}")
    return sizes


def feature_levels(input_shape, level_channels, levels, streams):
    """The channels of each level of foreign features; `ValueError` unless they fit."""
    if levels is not None:
        raise ValueError(
            f"levels are endpoints of a backbone; those of features are told by level_channels, "
            f"got levels={levels!r} with backbone=None"
        )
    layout = "(T, D)" if len(input_shape) == 2 else "(T, h, w, C)"
    check_input_shape(input_shape, f"{layout} of features")
    share, rest = divmod(input_shape[-1], streams)
    sizes = (share,) if level_channels is None else tuple(level_channels)
    for size in sizes:
        check_at_least(1, level_channels=size)
    if rest or sum(sizes) != share or not 1 <= len(sizes) <= 4:
        of = f" of each of {streams} streams" if streams > 1 else ""
        raise ValueError(
            f"level_channels must be 1 to 4 numbers that sum to the channels{of} of "
            f"input_shape={input_shape}, got {level_channels}"
        )
    return sizes


def network_behind(backbone, level, map_shape, weights):
    """The layer "tail", from the attended map to the vector that the classifier reads.

    It is the rest of the backbone, or, where that has none, the mean over the cells (ours).
    """
    *size, channels = map_shape
    if backbone and level == backbone.vector:
        return layers.Reshape((channels,), name="tail")
    if not backbone or not backbone.tail:
        return layers.GlobalAveragePooling2D(name="tail")
    tail = backbone_tail(backbone, level, tuple(size), weights)
    return keras.Model(tail.input, tail.output, name="tail")
