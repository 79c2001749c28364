"""Image networks that turn frames into maps or vectors."""

from keras_attn.backbones.caching import build_maps, cached_maps, mean_of
from keras_attn.backbones.pixels import stream_channels
from keras_attn.backbones.registry import (
    BACKBONES,
    backbone_tail,
    build_backbone,
    endpoint_channels,
    features_input,
    whole_network,
)
from keras_attn.backbones.spec import Backbone, Endpoint
from keras_attn.backbones.weights import flow_weights, weights_hash

__all__ = [
    "BACKBONES",
    "Backbone",
    "Endpoint",
    "backbone_tail",
    "build_backbone",
    "build_maps",
    "cached_maps",
    "endpoint_channels",
    "features_input",
    "flow_weights",
    "mean_of",
    "stream_channels",
    "weights_hash",
    "whole_network",
]
