"""From a run on single frames to the features and the backbone of another recipe."""

import dataclasses
import shutil

import keras
import numpy as np
import pytest
from extracting import FOLDER, extract, pictures_of, read_all
from small import SMALL, eagerly

import keras_attn
from keras_attn.backbones import build_backbone, golden
from keras_attn.data.source import stream_videos
from keras_attn.data.streams import RGB
from keras_attn.errors import DataError, UsageError, UserError
from keras_attn.inference import loading
from keras_attn.recipes import RECIPES, override
from keras_attn.utils.files import read_json, sha256

FRAMES = override(
    RECIPES["frame_classifier_tiny"],
    {"clips.size": 32, "clips.frames": 2, "clips.test_frames": 3, "epochs": 1},
)


@pytest.fixture(scope="module")
def runs(tiny_data, tiny_flow, tmp_path_factory):
    """Finished runs on frames, and on two planes of flow. Tests only read them."""
    root = tmp_path_factory.mktemp("runs")
    flow = override(FRAMES, {"input": "flow", "clips.snippet": 2})
    with eagerly():
        keras_attn.train(FRAMES, tiny_data, root / "rgb")
        keras_attn.train(flow, tiny_flow, root / "flow")
    return root


def backbone_weights(path):
    return loading.load_recognizer(path).backbone.get_weights()


def test_features_are_those_of_the_trained_network(runs, tiny_data, tmp_path):
    data = shutil.copytree(tiny_data, tmp_path / "data")
    extract(data, weights=runs / "rgb")
    provenance = read_json(data / FOLDER / "provenance.json")
    assert provenance["weights_file_sha256"] == sha256(runs / "rgb" / "model.keras")
    assert provenance["weights"] == str(runs / "rgb")
    trained = build_backbone("tiny", 32, runs / "rgb")
    video = stream_videos(data, RGB)[0]
    expected = trained.predict(pictures_of(video), verbose=0)
    np.testing.assert_allclose(read_all(data, "maps", video), expected, rtol=1e-3, atol=5e-3)

    # Both the run and the folder of features keep the activations.
    for path in (runs / "rgb" / "model.keras", data / FOLDER / "backbone.weights.h5"):
        assert golden.golden_path(path).exists()
    moved = shutil.copytree(runs / "rgb", tmp_path / "moved")
    assert extract(data, weights=moved).written == 0
    with eagerly():
        model = keras_attn.train(dataclasses.replace(SMALL, epochs=1), data, tmp_path / "run")
    for weight, other in zip(backbone_weights(model.path), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, other)
    (moved / "model.keras").write_bytes((runs / "flow" / "model.keras").read_bytes())
    with pytest.raises(DataError, match="weights_file_sha256"):
        extract(data, weights=moved)


def test_weights_that_load_otherwise_are_refused(runs, tiny_data, tmp_path, monkeypatch):
    """A loader that leaves biases at zero reads the right bytes, and every hash agrees."""
    data = shutil.copytree(tiny_data, tmp_path / "data")
    extract(data, weights=runs / "rgb")
    load_weights, load_model = keras.Model.load_weights, keras.models.load_model

    def without_bias(model):
        layer = model.get_layer("conv_2")
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel, 0 * bias])

    def loads_otherwise(self, path):
        load_weights(self, path)
        without_bias(self)

    def model_loads_otherwise(path, **options):
        model = load_model(path, **options)
        without_bias(model.image_network)
        return model

    message = "1 of 4 layers answer differently: conv_"
    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "load_weights", loads_otherwise)
        with pytest.raises(UserError, match=f"backbone.weights.h5: .*{message}"):
            extract(data, endpoint="conv_1", weights=runs / "rgb")
        recipe = dataclasses.replace(SMALL, epochs=1)
        with eagerly(), pytest.raises(UserError, match=f"backbone.weights.h5: .*{message}"):
            keras_attn.train(recipe, data, tmp_path / "run")
    monkeypatch.setattr(keras.models, "load_model", model_loads_otherwise)
    with pytest.raises(UserError, match=f"rgb/model.keras: .*{message}"):
        extract(tiny_data, weights=runs / "rgb", size=40)


def test_a_recipe_for_frames_starts_from_the_trained_network(runs, tiny_data, tmp_path):
    recipe = dataclasses.replace(SMALL, cached=False, epochs=1, backbone_weights=str(runs / "rgb"))
    with eagerly():
        model = keras_attn.train(recipe, tiny_data, tmp_path / "run")
    assert model.facts["backbone_weights_sha256"] == sha256(runs / "rgb" / "model.keras")
    trained = build_backbone("tiny", 32, runs / "rgb").get_weights()
    for weight, other in zip(backbone_weights(model.path), trained, strict=True):
        np.testing.assert_array_equal(weight, other)


def test_features_of_flow_are_those_of_a_network_of_flow(runs, tiny_flow, tmp_path):
    """Its first kernel is not averaged, neither for the features nor in the run that reads them."""
    data = shutil.copytree(tiny_flow, tmp_path / "data", ignore=shutil.ignore_patterns("features"))
    flow = {"input": "flow", "snippet": 2}
    for weights, settings, message in (
        ("rgb", flow, "rgb was trained on input=rgb, and the features are of flow; .*input=flow"),
        ("flow", {}, "flow was trained on input=flow, and the features are of rgb; .*input=rgb"),
    ):
        with pytest.raises(UsageError, match=f"`weights`: the run .*{message}"):
            extract(data, weights=runs / weights, **settings)
    with pytest.raises(UserError, match="trained on 4 channels, expected 6 channels"):
        extract(data, weights=runs / "flow", **flow | {"snippet": 3})
    assert not (data / "features").exists()
    extract(data, weights=runs / "flow", **flow)
    recipe = override(SMALL, {"input": "flow", "clips.snippet": 2, "epochs": 1})
    with eagerly():
        model = keras_attn.train(recipe, data, tmp_path / "run")
    weights = backbone_weights(model.path)
    assert weights[0].shape[2] == 4 and not np.allclose(weights[0][:, :, 0], weights[0][:, :, 1])
    trained = build_backbone("tiny", 32, runs / "flow", channels=4).get_weights()
    for weight, other in zip(weights, trained, strict=True):
        np.testing.assert_array_equal(weight, other)
