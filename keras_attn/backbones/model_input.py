"""The input of a model: features from a cache, or a video and the backbone that makes them."""

import warnings

import keras

from keras_attn.backbones.registry import build_backbone, find_backbone
from keras_attn.layers import PerFrame


def features_input(backbone, input_shape, backbone_weights=None, endpoint=None):
    """Return a model's inputs, by name, and its features, from a cache or from frames.

    Without a backbone the input is `features`, with one `video`, bytes from 0 to 255. The backbone
    runs on each frame, or on the clip, under the layer name "backbone".

    Args:
        backbone: As for `find_backbone`, or None.
        input_shape: (T, h, w, C) or (T, D) of features, or (T, H, W, channels) of a video.
        backbone_weights: `weights` of `build_backbone`.
        endpoint: As for `build_backbone`.

    Raises:
        ValueError, UserError: As `build_backbone`.
    """
    if backbone is None:
        features = keras.Input(input_shape, name="features")
        return {"features": features}, features
    entry = find_backbone(backbone)
    time, *size, channels = input_shape
    if entry.frames not in (None, time):
        raise ValueError(
            f"input_shape must begin with {entry.frames} frames for the backbone {entry.name}, "
            f"got {tuple(input_shape)}"
        )
    warn_of_random_weights(entry, backbone_weights)
    network = build_backbone(entry, size, backbone_weights, endpoint, channels)
    video = keras.Input(input_shape, name="video")
    if entry.per_frame:
        return {"video": video}, PerFrame(network, name="backbone")(video)
    clips = keras.Model(network.input, network.output, name="backbone")
    clips.supports_masking = (
        True  # passed on by its layers; a `VideoClassifier` asks whether all do
    )
    return {"video": video}, clips(video)


def warn_of_random_weights(backbone, weights):
    """Warn where the name of a preset was given, and not its weights.

    A model that is loaded has weights of its own; the warning does not come then, as it is built
    from a configuration, which is no name.
    """
    if backbone.fill and weights is None:
        warnings.warn(
            f'the backbone {backbone.name} has random weights: backbone_weights="preset" takes '
            "those of the preset",
            stacklevel=4,
        )


def check_maps(features, backbone=None):
    """Raise a `ValueError` unless features are maps `(B, T, h, w, C)`."""
    if len(features.shape) != 5:
        name = backbone.name if backbone else "input_shape"
        raise ValueError(
            f"backbone must give a map for each frame, got {name!r} with {tuple(features.shape)}"
        )
