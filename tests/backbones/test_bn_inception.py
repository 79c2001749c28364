"""BN-Inception against the published table of its blocks and counts."""

import math

import keras
import numpy as np
import pytest
from checks import BACKEND, assert_close, numpy
from keras import layers
from networks import multiplications, network

from keras_attn.backbones import bn_inception

# Of each block at 224 pixels: cells in a row, channels, and the filters of its convolutions.
TABLE = {
    "3a": (28, 256, [64, 64, 64, 64, 96, 96, 32]),
    "3b": (28, 320, [64, 64, 96, 64, 96, 96, 64]),
    "3c": (14, 576, [128, 160, 64, 96, 96]),
    "4a": (14, 576, [224, 64, 96, 96, 128, 128, 128]),
    "4b": (14, 576, [192, 96, 128, 96, 128, 128, 128]),
    "4c": (14, 608, [160, 128, 160, 128, 160, 160, 128]),
    "4d": (14, 608, [96, 128, 192, 160, 192, 192, 128]),
    "4e": (7, 1056, [128, 192, 192, 256, 256]),
    "5a": (7, 1024, [352, 192, 320, 160, 224, 224, 128]),
    "5b": (7, 1024, [352, 192, 320, 192, 224, 224, 128]),
}
BRANCHES = "1x1 3x3_reduce 3x3 double_3x3_reduce double_3x3_1 double_3x3_2 pool_proj".split()


@pytest.fixture
def model():
    return network("bn_inception", 224)


@pytest.mark.parametrize("name", TABLE)
def test_blocks(model, name):
    cells, channels, filters = TABLE[name]
    halves = len(filters) < len(BRANCHES)
    assert model.get_layer(f"inception_{name}_output").output.shape[1:] == (cells, cells, channels)
    convolutions = [
        model.get_layer(f"inception_{name}_{branch}")
        for branch in (BRANCHES[1:-1] if halves else BRANCHES)
    ]
    assert [convolution.filters for convolution in convolutions] == filters
    strided = [c.name for c in convolutions if c.strides != (1, 1)]
    ends = [f"inception_{name}_{branch}" for branch in ("3x3", "double_3x3_2")]
    assert strided == (ends if halves else [])
    pool = model.get_layer(f"inception_{name}_pool")
    average = not halves and name != "5b"
    assert isinstance(pool, layers.AveragePooling2D if average else layers.MaxPooling2D)


def test_counts(model):
    convolutions = [layer for layer in model.layers if isinstance(layer, layers.Conv2D)]
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    assert len(convolutions) == len(norms) == 69
    assert sum(layer.count_params() for layer in convolutions) == 10_240_192
    assert sum(layer.gamma.shape[0] for layer in norms) == 10_016
    assert sum(math.prod(weight.shape) for weight in model.trainable_weights) == 10_260_224
    assert multiplications(model) == pytest.approx(2.0316e9, rel=1e-4)


@pytest.mark.skipif(BACKEND == "jax", reason="JAX takes long to build it")
def test_odd_maps_are_halved_up(rng):
    """Of 72 x 40 pixels block 3c gets 9 x 5 cells and 4e 5 x 3, which PyTorch refuses."""
    model = bn_inception.network(72, 40)
    cells = [model.get_layer(f"inception_{name}_output").output.shape[1:3] for name in TABLE]
    assert cells == [(9, 5)] * 2 + [(5, 3)] * 5 + [(3, 2)] * 3
    pool = keras.Model(
        model.get_layer("inception_3c_pool_pad").input, model.get_layer("inception_3c_pool").output
    )
    maps = rng.random((2, 9, 5, 320), dtype="float32")
    pooled = numpy(pool(maps))
    for i, j in np.ndindex(5, 3):  # around the cells that the strided convolutions are around
        window = maps[:, max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2]
        assert_close(pooled[:, i, j], window.max((1, 2)))
