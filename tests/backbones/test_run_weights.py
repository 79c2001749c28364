"""The backbone of a run as the weights of another: whole, wherever it was cut, or refused."""

import dataclasses

import keras
import numpy as np
import pytest
from checks import assert_close, numpy, tensorflow_is_enough
from keras import layers

from keras_attn.backbones import build_backbone, registry
from keras_attn.errors import UserError
from keras_attn.models import FrameClassifier, StructuredAttentionLSTM, TemporalAttentionLSTM


@pytest.fixture
def run(tmp_path):
    """A function that saves a model as a finished run does, and returns the folder."""

    def save(model, name="run"):
        (tmp_path / name).mkdir()
        model.save(tmp_path / name / "model.keras")
        return tmp_path / name

    return save


@tensorflow_is_enough
def test_fc6_lies_inside_a_network_that_was_trained_to_fc7(rng, run):
    model = FrameClassifier(3, (2, 32, 32, 3), backbone="vgg_16")
    trained = model.image_network
    for name in ("block2_conv2", "fc1"):
        layer = trained.get_layer(name)
        layer.set_weights([rng.normal(size=w.shape) / 50 for w in layer.weights])
    folder = run(model)
    fc6 = build_backbone("vgg_16", 32, folder, "fc6")
    frames = rng.integers(0, 256, (2, 32, 32, 3)).astype("float32")
    kernel, bias = trained.get_layer("fc2").get_weights()
    fc7 = np.maximum(numpy(fc6(frames)) @ kernel + bias, 0)
    assert fc7.max() > 0.1
    assert_close(numpy(trained(frames)), fc7, atol=1e-4)
    # What is no endpoint is the same each time.
    one, two = (registry.whole_network("vgg_16", 32, folder).get_weights() for _ in range(2))
    for weight, other in zip(one, two, strict=True):
        np.testing.assert_array_equal(weight, other)


@tensorflow_is_enough
def test_layers_without_names_of_their_own(rng, run, monkeypatch):
    """Keras numbers them, anew in each process; the tenth comes after the ninth."""

    def network(height, width, channels):
        frames = x = keras.Input((height, width, channels))
        for _ in range(12):
            x = layers.Conv2D(4, 3, padding="same", bias_initializer="random_normal")(x)
        return keras.Model(frames, layers.ReLU(name="maps")(x))

    tiny = registry.BACKBONES["tiny"]
    endpoints = {"maps": tiny.endpoints["maps"], "pooled": tiny.endpoints["pooled"]}
    numbered = dataclasses.replace(tiny, network=network, endpoints=endpoints)
    monkeypatch.setitem(registry.BACKBONES, "tiny", numbered)
    model = FrameClassifier(3, (2, 8, 12, 3), backbone="tiny")
    folder = run(model)
    frames = rng.integers(0, 256, (2, 8, 12, 3)).astype("float32")
    found = build_backbone("tiny", (8, 12), folder, "pooled")
    assert_close(numpy(found(frames)), numpy(model.image_network(frames)))


def test_flow_is_loaded_as_it_was_trained(rng, run, tmp_path):
    """Six channels of a run, or of a file of one; RGB is averaged for as many."""
    model = FrameClassifier(3, (2, 16, 24, 6), backbone="tiny")
    folder = run(model)
    whole = registry.whole_network("tiny", (16, 24), folder, 6)
    whole.save_weights(tmp_path / "flow.weights.h5")
    planes = rng.integers(0, 256, (2, 16, 24, 6)).astype("float32")
    for weights in (folder, tmp_path / "flow.weights.h5"):
        found = build_backbone("tiny", (16, 24), weights, "pooled", channels=6)
        assert_close(numpy(found(planes)), numpy(model.image_network(planes)))
    with pytest.raises(UserError, match="run was trained on 6 channels, expected RGB.*frame_class"):
        build_backbone("tiny", (16, 24), folder)
    with pytest.raises(UserError, match="trained on 6 channels, expected 4 channels"):
        build_backbone("tiny", (16, 24), folder, channels=4)
    rgb = FrameClassifier(3, (2, 16, 24, 3), backbone="tiny")
    found = build_backbone("tiny", (16, 24), run(rgb, "rgb"), channels=6)
    mean = rgb.image_network.get_layer("conv_1").get_weights()[0].mean(2)
    for channel in range(6):
        assert_close(numpy(found.get_layer("conv_1").kernel)[:, :, channel], mean)


@tensorflow_is_enough
def test_runs_that_are_refused(run, tmp_path):
    cut = TemporalAttentionLSTM(3, (2, 32, 32, 3), units=3, iterations=1, last=1, backbone="vgg_16")
    folder = run(cut)
    with pytest.raises(
        UserError, match="run has a backbone that was cut.*: 1 layers .*frame_classif"
    ):
        build_backbone("vgg_16", 32, folder)
    with pytest.raises(UserError, match="'tiny': the run .*run has the backbone 'vgg_16'. Train"):
        build_backbone("tiny", 32, folder)
    cached = run(StructuredAttentionLSTM(3, (2, 2, 2, 5), units=3), "cached")
    with pytest.raises(UserError, match="cached has the backbone None"):
        build_backbone("tiny", 32, cached)
    (folder / "model.keras").write_bytes(b"PK")
    with pytest.raises(UserError, match="run has a model.keras that cannot be loaded .*--resume"):
        build_backbone("vgg_16", 32, folder)
    (tmp_path / "new").mkdir()
    with pytest.raises(UserError, match="new holds no finished run .no model.keras..*--resume"):
        build_backbone("tiny", 32, tmp_path / "new")
