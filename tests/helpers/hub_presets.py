"""Tiny presets of KerasHub's families with random weights, written as folders."""

import keras
import numpy as np
import pytest

FAMILIES = ("dinov2", "vit", "siglip", "videoprism")
SIDE, CELLS, CHANNELS, FRAMES = 14, 2, 8, 4
SCALE, OFFSET = [1 / 50, 1 / 60, 1 / 70], [-1.0, -2.0, -3.0]
_SMALL = {"hidden_dim": CHANNELS, "num_heads": 2, "image_shape": (SIDE, SIDE, 3), "patch_size": 7}


def write_preset(name, folder):
    """Write the preset of a family to `folder` and return its KerasHub backbone."""
    hub = pytest.importorskip("keras_hub", reason="keras-hub is not installed here")
    backbone, converter = _MAKERS[name](hub)
    rng = np.random.default_rng(FAMILIES.index(name))
    for weight in backbone.weights:  # also those that start at zero or one
        if weight.dtype == "float32" and "interpolated" not in weight.path:
            weight.assign(rng.normal(0.1, 0.4, weight.shape))
    backbone.save_to_preset(folder)
    options = {"image_size": (SIDE, SIDE), "scale": SCALE, "offset": OFFSET}
    getattr(hub.layers, converter)(**options).save_to_preset(folder)
    return hub.models.Backbone.from_preset(str(folder))


def _dinov2(hub):
    made = hub.models.DINOV2Backbone(
        num_layers=3,
        intermediate_dim=12,
        num_register_tokens=2,
        position_embedding_shape=(SIDE, SIDE, 3),
        **_SMALL,
    )
    return made, "DINOV2ImageConverter"


def _vit(hub):
    return hub.models.ViTBackbone(num_layers=2, mlp_dim=12, **_SMALL), "ViTImageConverter"


def _siglip(hub):
    image = hub.models.SigLIPVisionEncoder(num_layers=2, intermediate_dim=12, **_SMALL)
    text = hub.models.SigLIPTextEncoder(
        vocabulary_size=5,
        embedding_dim=CHANNELS,
        hidden_dim=CHANNELS,
        num_layers=1,
        num_heads=2,
        intermediate_dim=8,
        max_sequence_length=3,
    )
    return hub.models.SigLIPBackbone(image, text), "SigLIPImageConverter"


def _videoprism(hub):
    made = hub.models.VideoPrismBackbone(
        num_frames=FRAMES,
        intermediate_dim=12,
        num_spatial_layers=1,
        num_temporal_layers=2,
        num_auxiliary_layers=0,
        **_SMALL,
    )
    return made, "VideoPrismImageConverter"


_MAKERS = {"dinov2": _dinov2, "vit": _vit, "siglip": _siglip, "videoprism": _videoprism}


def own_maps(name, backbone, frames):
    """The last maps of a family by KerasHub's own call, and those of its first block if it says."""
    scaled = (frames * np.array(SCALE) + OFFSET).astype("float32")
    first = None
    if name == "dinov2":
        levels = keras.Model(backbone.inputs, [backbone.pyramid_outputs["stage1"], backbone.output])
        first, last = (np.asarray(x)[:, 3:] for x in levels({"images": scaled}))
    elif name == "vit":
        last = np.asarray(backbone(scaled))[:, 1:]
    elif name == "siglip":
        encoder = backbone.vision_encoder
        last = keras.Model(encoder.inputs, encoder.post_layer_norm.output)({"images": scaled})
    else:
        last = backbone(scaled)
    shape = (*frames.shape[:-3], CELLS, CELLS, CHANNELS)
    return np.reshape(last, shape), None if first is None else first.reshape(shape)
