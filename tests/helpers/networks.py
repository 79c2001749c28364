"""Networks of the table for tests, each built once and only where it is quick."""

import dataclasses
import functools
import math

import keras
import pytest
from checks import BACKEND

from keras_attn.backbones import BACKBONES, registry

# Those that `share` can serve; the others, of two streams, have tests of their own.
PLAIN = [name for name, entry in BACKBONES.items() if not entry.reinforced]
QUICK = ("mobilenet_v2", "tiny")
# Sides in pixels at which the maps have the published sizes, or those of 224 over a whole number.
SIDES = {name: 64 for name in BACKBONES} | {
    "inception_resnet_v2": 299,
    "inception_v3": 299,
    "vgg_16": 32,
}


@functools.cache
def _network(name, side):
    return BACKBONES[name].network(side, side, 3)


def network(name, side=None):
    """The network of that name, with random weights, without preprocessing."""
    if BACKEND == "jax" and name not in QUICK:
        pytest.skip("the graph is the same on every backend, and JAX takes long to build it")
    return _network(name, side or SIDES[name])


def share(monkeypatch, name):
    """Let all models of one test be cut from one network; any weights are then its own."""
    shared = network(name)
    entry = dataclasses.replace(BACKBONES[name], network=lambda *shape: shared, size=SIDES[name])
    monkeypatch.setitem(BACKBONES, name, entry)
    monkeypatch.setattr(registry, "load", lambda *arguments: None)
    return entry


def multiplications(model):
    """Of the convolutions: one product a weight and cell of the output; biases are free."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            total += math.prod(layer.output.shape[1:3]) * math.prod(layer.kernel.shape)
    return total
