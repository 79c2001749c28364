"""Backbones: sizes of maps, weights from files and downloads, and what does not serve."""

import dataclasses

import keras
import numpy as np
import pytest
from checks import BACKEND, JIT, assert_close, gradient, tensorflow_is_enough
from keras import ops

from keras_attn import backbones
from keras_attn.backbones import BACKBONES, build_backbone, features_input, weights_hash
from keras_attn.backbones.tiny import AppendMoments
from keras_attn.errors import UserError
from keras_attn.layers import PerFrame
from keras_attn.testing import check_layer


@pytest.mark.parametrize("size, cells", [(None, (8, 8)), ((40, 48), (5, 6))])
def test_map_sizes(size, cells):
    assert build_backbone("tiny", size).output_shape == (None, *cells, 48)


def test_unknown_name():
    with pytest.raises(ValueError, match="one of .*inception_v3.*tiny.*, got 'vgg'"):
        build_backbone("vgg")


@pytest.mark.parametrize("name, size", [("inception_v3", (299, 74)), ("vgg_16", (None, 32))])
def test_frames_too_small(name, size):
    with pytest.raises(ValueError, match=f"size must be at least (75|32) pixels for {name}, got"):
        build_backbone(name, size)


@pytest.mark.parametrize("file", ["a.weights.h5", "a.h5"])
@tensorflow_is_enough
def test_weights_made_at_another_size_load(rng, tmp_path, file):
    network = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(32, 64, 3)
    )
    network.set_weights([rng.random(w.shape) for w in network.weights])
    # The published files are of the older kind, ".h5".
    (network.save_weights if "weights" in file else network.save)(tmp_path / file)
    loaded = build_backbone("mobilenet_v2", 96, tmp_path / file)
    assert weights_hash(loaded) == weights_hash(network)


def test_weights_of_tiny_load(rng, tmp_path):
    model = build_backbone("tiny")
    model.save_weights(tmp_path / "tiny.weights.h5")
    copy = build_backbone("tiny", 32, tmp_path / "tiny.weights.h5")
    assert weights_hash(copy) == weights_hash(model) != weights_hash(build_backbone("tiny"))


@pytest.mark.parametrize(
    "name, side, files",
    [("mobilenet_v2", 32, ["other"]), ("tiny", 16, ["absent", "other", "text"])],
)
def test_files_that_do_not_serve(name, side, files, tmp_path):
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)])
    other.save_weights(tmp_path / "other.weights.h5")
    (tmp_path / "text.weights.h5").write_text("not HDF5")
    for file in (f"{file}.weights.h5" for file in files):
        with pytest.raises(UserError, match=f"(?s){name}.*{file}.*Expected: an HDF5 file"):
            build_backbone(name, side, tmp_path / file)


def test_no_imagenet_weights_for_tiny():
    with pytest.raises(UserError, match="trained from scratch"):
        build_backbone("tiny", weights="imagenet")


@pytest.fixture(autouse=True)
def cache_of_keras(monkeypatch, tmp_path):
    """Where golden activations of downloads are kept."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))


def _with_download(monkeypatch, name, download):
    entry = dataclasses.replace(BACKBONES[name], download=download)
    monkeypatch.setitem(BACKBONES, name, entry)


@tensorflow_is_enough
def test_imagenet_weights_are_copied(monkeypatch):
    """Without a network: the download is a network of random weights."""
    published = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=(64, 64, 3)
    )
    _with_download(monkeypatch, "mobilenet_v2", lambda: published)
    model = build_backbone("mobilenet_v2", 32, "imagenet")
    assert weights_hash(model) == weights_hash(published)
    # Another time they must answer as they did.
    norm = published.get_layer("block_12_expand_BN")
    gamma, *others = norm.get_weights()
    norm.set_weights([gamma[::-1] * 2, *others])
    with pytest.raises(
        UserError, match="keras_attn-mobilenet_v2: .*1 of 104 layers .*: block_12_e"
    ):
        build_backbone("mobilenet_v2", 32, "imagenet")


@pytest.mark.parametrize("name", BACKBONES)
def test_imagenet_weights_are_asked_for_at_the_published_size(monkeypatch, name):
    download = BACKBONES[name].download
    if name == "vgg_16":
        monkeypatch.setattr(keras.applications, "VGG16", lambda **asked: asked)
        assert download() == {"weights": "imagenet"}  # with the fully connected layers
    elif download:
        size = BACKBONES[name].size
        asked = dict(include_top=False, weights="imagenet", input_shape=(size, size, 3))
        assert download.keywords == asked
        assert download.func.__name__ in BACKBONES[name].weights_file


def test_a_failed_download_asks_for_a_path(monkeypatch):
    def download():
        raise Exception("URL fetch failure")

    _with_download(monkeypatch, "mobilenet_v2", download)
    with pytest.raises(UserError, match="URL fetch failure.*give its path.*MobileNetV2"):
        build_backbone("mobilenet_v2", 32, "imagenet")


def test_published_weights_for_frames_of_another_size(monkeypatch):
    published = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)])
    _with_download(monkeypatch, "tiny", lambda: published)
    with pytest.raises(UserError, match="'tiny': those of ImageNet are for frames of 64 pixels"):
        build_backbone("tiny", 32, "imagenet")


@pytest.mark.real
def test_real_weights_load(shared_data):
    path = shared_data / "weights" / "mobilenetv2_1.0_224_imagenet_notop.weights.h5"
    model = build_backbone("mobilenet_v2", weights=path)
    model.compile(jit_compile=JIT)
    maps = model.predict(np.full((1, 224, 224, 3), 127.5), verbose=0)
    assert maps.shape == (1, 7, 7, 1280)
    # The last activation is a ReLU6; trained channels are sparse, unlike random ones.
    assert 0 <= maps.min() and maps.max() <= 6 and 0.5 < (maps == 0).mean() < 1


def test_moments(rng):
    images = rng.random((2, 3, 5, 4), dtype="float32")
    outputs = np.asarray(AppendMoments()(images))
    assert outputs.shape == (2, 3, 5, 12)
    for b, i, j in np.ndindex(2, 3, 5):
        assert_close(outputs[b, i, j, 4:8], images[b, i, j] * (i - 1))
        assert_close(outputs[b, i, j, 8:], images[b, i, j] * (j / 2 - 1))
    assert_close(outputs[..., :4], images)
    check_layer(AppendMoments(), images)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="JAX computes in float32 unless told at start")
def test_gradient_through_frames_and_moments_equals_central_differences(rng):
    layer = PerFrame(AppendMoments(dtype="float64"), dtype="float64")
    video = rng.random((2, 3, 4, 5, 2))

    def total(x):
        return ops.sum(layer(x) ** 3)

    actual = gradient(total, video)
    for index in [(0, 0, 0, 4, 1), (1, 2, 3, 0, 0), (0, 1, 2, 2, 1)]:
        moved = [video.copy(), video.copy()]
        moved[0][index] += 1e-5
        moved[1][index] -= 1e-5
        expected = (float(total(moved[0])) - float(total(moved[1]))) / 2e-5
        np.testing.assert_allclose(actual[index], expected, rtol=1e-6, atol=1e-9)


def test_features_input():
    inputs, features = features_input(None, (None, 3, 4, 5))
    assert list(inputs) == ["features"] and inputs["features"] is features
    inputs, features = features_input("tiny", (3, 16, 24, 3))
    assert inputs["video"].shape == (None, 3, 16, 24, 3)
    assert features.shape == (None, 3, 2, 3, 48)


@tensorflow_is_enough
def test_a_frozen_backbone_does_not_learn_statistics(rng):
    inputs, features = features_input("mobilenet_v2", (2, 32, 32, 3))
    model = keras.Model(inputs, features)
    backbone = model.get_layer("backbone")
    backbone.trainable = False
    before = backbones.weights_hash(backbone)
    video = {"video": rng.random((2, 2, 32, 32, 3), dtype="float32") * 255}
    assert_close(model(video, training=True), model(video, training=False))
    assert weights_hash(backbone) == before
    assert not backbone.trainable_weights
