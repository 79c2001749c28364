"""Networks against published numbers: parameters, multiplications, the sums of paper 004."""

import math

import keras
import pytest
from checks import BACKEND, assert_close
from networks import SIDES, multiplications, network

from keras_attn.backbones import endpoint_channels

CLASSES = 1000


def _dense(inputs, outputs):
    return inputs * outputs + outputs


@pytest.mark.parametrize(
    "name, parameters, with_classifier",
    [
        ("inception_v3", 21_802_784, 23_851_784),
        ("inception_resnet_v2", 54_336_736, 55_873_736),
        ("resnet_50", 23_587_712, 25_636_712),
        ("resnet_101", 42_658_176, 44_707_176),
        ("mobilenet_v2", 2_257_984, 3_538_984),
        # PyTorch counts 25,557,032, without the 53,120 means and variances.
        ("resnet_50_torch", 23_561_152, 25_557_032 + 53_120),
        ("tsm_resnet_50", 23_561_152, 25_557_032 + 53_120),
    ],
)
def test_parameters(name, parameters, with_classifier):
    count = network(name).count_params()
    assert count == parameters
    (vector,) = endpoint_channels(name, "pooled")
    assert count + _dense(vector, CLASSES) == with_classifier


@pytest.mark.parametrize("side, cells", [(299, 8), (224, 5)])
def test_maps_of_inception(side, cells):
    assert network("inception_v3", side).output_shape == (None, cells, cells, 2048)


def test_parameters_of_vgg():
    """Built for frames of 32 pixels, at which the last map has 1 cell instead of 49."""
    vgg = network("vgg_16", 32)
    convolutions = sum(layer.count_params() for layer in vgg.layers if "conv" in layer.name)
    assert convolutions == 14_714_688
    assert vgg.count_params() + 48 * 512 * 4096 == 138_357_544


def test_vgg_is_that_of_keras(rng):
    ours = network("vgg_16")
    theirs = keras.applications.VGG16(weights=None, input_shape=(32, 32, 3))
    assert [w.path for w in theirs.weights] == [w.path for w in ours.weights]
    theirs.set_weights(ours.get_weights())
    pixels = rng.normal(size=(2, 32, 32, 3)).astype("float32")
    assert_close(ours(pixels) * 1000, theirs(pixels) * 1000)


@pytest.mark.parametrize(
    "name, side, published",
    [
        ("vgg_16", 224, 15.36e9),
        ("inception_v3", 299, 5.73e9),
        ("inception_v3", 224, 2.85e9),
        ("inception_resnet_v2", 299, 13.19e9),
        ("resnet_50", 224, 3.88e9),
        ("resnet_50", 256, 5.06e9),
        ("resnet_101", 224, 7.60e9),
        ("mobilenet_v2", 224, 0.300e9),
    ],
)
def test_multiplications(name, side, published):
    if SIDES[name] == 299:
        counted = multiplications(network(name, side))
    else:  # padded so that every map has a fixed part of the frame's pixels
        counted = multiplications(network(name)) * (side / SIDES[name]) ** 2
    assert counted == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize(
    "name, endpoints, cells, base, printed",
    [
        # TF-slim's network, what it trains: with a classifier of 101 classes and the auxiliary one.
        (
            "inception_resnet_v2",
            "block_c+block_b+block_a",
            8 * 8,
            54_276_192 + _dense(1536, 101) + 2_675_429,
            (57.11, 57.24, 57.31, 57.33),
        ),
        # Convolutions without biases, gammas and betas; no classifier.
        ("bn_inception", "5b+4e+3b", 7 * 7, 10_260_224, (10.26, 10.31, 10.36, 10.38)),
    ],
)
def test_parameters_of_attention(name, endpoints, cells, base, printed):
    """Table 10 of paper 004, in millions: a level adds a score, and its bias, a cell of the output.

    Its row of VGG-16 cannot be had from any choice of levels: the network has 138.36 million, not
    138.56, and 49 cells of 512, 512 and 256 channels add 0.06, not 0.26.
    """
    totals = [base]
    for channels in endpoint_channels(name, endpoints):
        totals.append(totals[-1] + _dense(channels, cells))
    assert tuple(round(total / 1e6, 2) for total in totals) == printed


@pytest.mark.skipif(BACKEND == "jax", reason="JAX takes long to build it")
def test_what_inception_resnet_trains():
    trained = network("inception_resnet_v2").trainable_weights
    assert sum(math.prod(weight.shape) for weight in trained) == 54_276_192
