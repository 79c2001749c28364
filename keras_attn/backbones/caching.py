"""Which maps of a backbone a cache of its features holds, and the model that computes them."""

from keras_attn.backbones.registry import built, chosen, find_backbone, tensor
from keras_attn.backbones.spec import CachedMap
from keras_attn.layers import AdaptiveMaxPool


def build_maps(name, size, weights, maps, channels=3):
    """As `build_backbone`, to a list of outputs, one for each `CachedMap` of `maps`."""
    backbone = find_backbone(name)

    def outputs(network):
        found = []
        for one in maps:
            x = tensor(network, backbone, one.endpoint)
            if one.cells:
                size = tensor(network, backbone, one.cells).shape[-3:-1]
                x = AdaptiveMaxPool(size, name=f"{one.endpoint}_{one.cells}")(x)
            found.append(x)
        return found

    return built(backbone, size, weights, channels, outputs)


def cached_maps(name, endpoint=None):
    """The `CachedMap`s from which an endpoint is read: one, or one for each that is joined.

    The cache is shared: of a map before and after its activation it holds the first.
    """
    backbone, endpoints = chosen(name, endpoint)
    *others, last = (_cached(backbone, at) for at in endpoints)
    return (*(one._replace(cells=last.endpoint) for one in others), last)


def mean_of(name, endpoint):
    """The `CachedMap` whose mean over the cells an endpoint is, or None."""
    backbone = find_backbone(name)
    pooled = backbone.endpoints[endpoint].layer == "pooled"
    return _cached(backbone, backbone.maps[-1]) if pooled else None


def _cached(backbone, name):
    endpoint = backbone.endpoints[name]
    if endpoint.relu_of:
        return CachedMap(endpoint.relu_of, ceiling=endpoint.ceiling)
    return CachedMap(name)
