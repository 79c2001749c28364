"""Image networks that turn frames into maps or vectors."""

from keras_attn.backbones.model_input import features_input
from keras_attn.backbones.pixels import stream_channels
from keras_attn.backbones.registry import (
    BACKBONES,
    backbone_tail,
    build_backbone,
    endpoint_channels,
    find_backbone,
)
from keras_attn.backbones.spec import Backbone, Endpoint
from keras_attn.backbones.weights import flow_weights, weights_hash

__all__ = [
    "BACKBONES",
    "Backbone",
    "Endpoint",
    "backbone_tail",
    "build_backbone",
    "endpoint_channels",
    "features_input",
    "find_backbone",
    "flow_weights",
    "stream_channels",
    "weights_hash",
]
