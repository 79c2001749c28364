"""Golden activations: a corruption of one tensor or of the graph is refused, rounding is not."""

import dataclasses
import re

import keras
import numpy as np
import pytest
from checks import tensorflow_is_enough
from keras import layers

from keras_attn.backbones import build_backbone, golden, registry
from keras_attn.backbones.tiny import TINY
from keras_attn.errors import UserError


def network(height, width, channels, strides=(2, 1), epsilon=1e-3):
    """Two residual blocks: every kind of layer with weights, and many tensors of one shape."""
    frames = keras.Input((height, width, channels))
    x = layers.Conv2D(8, 7, strides=2, padding="same")(frames)
    for number in range(2):
        y = layers.Conv2D(8, 1, strides=strides[0], use_bias=False)(x)
        y = layers.BatchNormalization(epsilon=epsilon)(y)
        y = layers.DepthwiseConv2D(3, padding="same", name=f"depthwise_{number}")(layers.ReLU()(y))
        y = layers.Conv2D(8, 3, strides=strides[1], padding="same")(y)
        y = layers.GroupNormalization(2)(y)
        x = layers.Add()([layers.Conv2D(8, 1, strides=2)(x), y])
    return keras.Model(frames, layers.Dense(8, name="maps")(x))


@pytest.fixture
def backbone(monkeypatch):
    entry = dataclasses.replace(
        TINY, network=network, endpoints={key: TINY.endpoints[key] for key in ("maps", "pooled")}
    )
    monkeypatch.setitem(registry.BACKBONES, "tiny", entry)
    return entry


@pytest.fixture
def filled(backbone, rng):
    """The network with random weights; biases are a hundredth of the rest."""
    made = backbone.network(32, 32, 3)
    for weight in made.weights:
        small = 1e-2 if weight.path.endswith(("bias", "beta")) else 1.0
        weight.assign(small * (0.5 + np.abs(rng.normal(size=weight.shape))))
    return made


def corruption(values, number, rng):
    """One of four kinds; values, and what was done."""
    changed = [value.copy() for value in values]
    kind = ("zeroed", "swapped", "transposed", "scaled")[number % 4]
    squares = [
        i for i, x in enumerate(values) if x.ndim == 4 and (x.shape[0] > 1 or x.shape[2] == 8)
    ]
    vectors = [i for i, x in enumerate(values) if x.ndim == 1]
    if kind == "zeroed":
        changed[rng.choice(vectors)][:] = 0
    elif kind == "swapped":
        i = rng.choice(len(values))
        same = [j for j, x in enumerate(values) if j != i and x.shape == values[i].shape]
        if not same:
            return corruption(values, number, rng)
        j = rng.choice(same)
        changed[i], changed[j] = changed[j], changed[i]
    elif kind == "transposed":
        i = rng.choice(squares)
        axes = (1, 0, 2, 3) if values[i].shape[0] > 1 else (0, 1, 3, 2)
        changed[i] = values[i].transpose(axes)
    else:
        changed[rng.choice(len(values))][:] *= 1.05
    return changed, kind


@tensorflow_is_enough
def test_100_of_100_corruptions_of_one_tensor_are_refused(backbone, filled, rng, tmp_path):
    path, good = tmp_path / "a.weights.h5", filled.get_weights()
    golden.record(path, {"tiny": (filled, backbone)})

    def check():
        golden.check(path, "tiny", None, filled, backbone)

    message = r"a\.weights\.h5: .*not answer as it did .*[12] of 14 layers answer diff.*golden"
    for number in range(100):
        changed, kind = corruption(good, number, rng)
        filled.set_weights(changed)
        with pytest.raises(UserError, match=message):
            check()
            pytest.fail(kind)
    filled.set_weights([value * (1 + 1e-6 * rng.normal(size=value.shape)) for value in good])
    check()  # as another processor rounds


def test_another_graph_with_the_same_weights_is_refused(backbone, filled, tmp_path):
    """The stride in the other convolution, which public ResNets differ in, and another epsilon."""
    path = tmp_path / "a.weights.h5"
    golden.record(path, {"tiny": (filled, backbone)})
    for options in ({"strides": (1, 2)}, {"epsilon": 1e-2}):
        other = network(32, 32, 3, **options)
        other.set_weights(filled.get_weights())
        with pytest.raises(UserError, match="answer differently|connected differently"):
            golden.check(path, "tiny", None, other, backbone)
    larger = network(40, 64, 3)
    larger.set_weights(filled.get_weights())
    golden.check(path, "tiny", None, larger, backbone)


def test_a_file_is_held_against_what_is_kept_beside_it(backbone, filled, tmp_path, policy):
    path = tmp_path / "a.weights.h5"
    filled.save_weights(path)
    build_backbone("tiny", 32, path)  # nothing is kept
    golden.record(path, {"tiny": (filled, backbone)})
    policy("mixed_float16")
    build_backbone("tiny", (40, 24), path)  # of another size and precision, for flow
    build_backbone("tiny", 32, path, channels=4)
    policy("float32")
    bias = next(w for w in filled.weights if w.path.endswith("maps/bias"))
    bias.assign(0 * bias)
    filled.save_weights(path)
    for channels in (3, 4):
        with pytest.raises(UserError, match="1 of 14 layers answer differently: maps"):
            build_backbone("tiny", 32, path, channels=channels)
    for content in ("[1]", "{}"):
        golden.golden_path(path).write_text(content)
        with pytest.raises(UserError, match="golden.json: holds no activations"):
            build_backbone("tiny", 32, path)
    golden.record(path, {"tiny": (TINY.network(32, 32, 3), TINY)})
    with pytest.raises(
        UserError, match=re.escape("golden.json: is of a network with other layers")
    ):
        build_backbone("tiny", 32, path)
