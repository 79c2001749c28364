"""Every verb makes one answer of the clips of a video by the same rule, whatever it goes through.

Three clips of two classes where the rules disagree: [.51, .49], [.51, .49], [.02, .98].
"""

import dataclasses
import shutil

import numpy as np
import pytest
from foreign import write_features

import keras_attn
from keras_attn.data.source import open_source
from keras_attn.datasets import tables
from keras_attn.errors import UsageError
from keras_attn.inference import loading
from keras_attn.inference.trained_model import open_model
from keras_attn.metrics.scores import read_scores
from keras_attn.models import FrameClassifier
from keras_attn.serving import exporting, verification
from keras_attn.training import build
from keras_attn.utils.files import read_json, write_json

CLIPS = np.array([[0.51, 0.49], [0.51, 0.49], [0.02, 0.98]])
WINNER = {"vote": 0, "mean": 1}
SMALL = {"backbone": "features:theirs", "clips.sampling": "windows", "clips.test_frames": None}
SMALL |= {"clips.frames": 2, "clips.stride": 2, "select": "last"}


@pytest.fixture(scope="module")
def made(tiny_data, tiny_run, tmp_path_factory):
    """A folder with the features of videos, and a run whose model is their softmax."""
    root = tmp_path_factory.mktemp("rule")
    data, run = shutil.copytree(tiny_data, root / "data"), root / "run"
    scores = np.log(np.pad(CLIPS, ((0, 0), (0, 2)), constant_values=1e-6)).repeat(2, axis=0)
    times = (np.arange(6) + 0.5) / 12.5
    rows = tables.read_manifest(data)
    videos = [(row.id, scores.astype("float32"), times) for row in rows]
    write_features(root / "theirs", videos, "somebody/encoder", "ed25f3a", "0123456789abcdef" * 4)
    keras_attn.features(data, from_=root / "theirs")
    recipe = build.resolve("frame_classifier_tiny", SMALL)
    shutil.copytree(tiny_run, run)
    facts = read_json(run / "run.json") | open_source(data, recipe).facts()
    write_json(run / "run.json", facts | {"recipe": dataclasses.asdict(recipe)})
    model = FrameClassifier(4, input_shape=(2, 4), **recipe.arguments)
    model.get_layer("classifier").set_weights([np.eye(4), np.zeros(4)])
    model.save(run / "model.keras")
    return root


@pytest.fixture(scope="module", params=WINNER)
def changes(request):
    """Changes to a rule; the recognizer of each is built once."""
    load, built = loading.load_recognizer, {}

    def load_once(path, changes=None):
        if str(changes) not in built:
            built[str(changes)] = load(path, changes)
        return built[str(changes)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "load_recognizer", load_once)
        yield {"clip_aggregation": request.param}


@pytest.fixture
def winner(changes, made):
    """The class that the rule answers."""
    return tables.read_classes(made / "data")[WINNER[changes["clip_aggregation"]]]


@pytest.fixture
def files(made, tiny_data):
    """A video and its features."""
    row = tables.read_manifest(made / "data")[0]
    return tiny_data.parent / "videos" / row.id, made / "theirs" / f"{row.id}.npy"


def test_predict_and_explain(made, files, changes, winner, tmp_path):
    video, features = files
    (found,) = keras_attn.predict(features, made / "run", changes=changes, top_k=2)
    assert found.guesses[0].name == winner
    votes = {guess.name: guess.votes for guess in found.guesses}
    assert sorted(votes.values()) == pytest.approx([1 / 3, 2 / 3])
    explained = keras_attn.explain(video, made / "run", tmp_path / "maps.npz", changes=changes)
    assert explained.answer == winner
    np.testing.assert_allclose(explained.maps["clip_probabilities"][:, :2], CLIPS, atol=1e-3)


def test_evaluate_and_fuse(made, changes, winner, tmp_path):
    folder = keras_attn.evaluate(made / "run", changes=changes, examples=0).folder
    twin, out = shutil.copy(folder / "scores.npz", tmp_path), tmp_path / "fused.npz"
    keras_attn.fuse([folder / "scores.npz", twin], weights=(1, 1), out=out)
    for path in (twin, out):
        scores = read_scores(path)
        assert {scores.class_names[label] for label in scores.predicted} == {winner}


def test_export_and_verify(made, files, changes, winner, tmp_path, monkeypatch):
    compared = []

    def passed(folder, reference):
        compared.append(reference)
        return verification.Verification(folder, {})

    monkeypatch.setattr(exporting, "verify_folder", passed)
    monkeypatch.setattr(verification, "verify_folder", passed)
    keras_attn.export(made / "run", tmp_path / "models", changes=changes)
    (found,) = keras_attn.predict(files[1], tmp_path / "models")
    assert found.guesses[0].name == winner
    keras_attn.verify(tmp_path / "models", run=made / "run")
    for stored, anew in zip(*compared, strict=True):  # `verify` knows what was changed
        np.testing.assert_allclose(stored.expected["decision"], anew.expected["decision"])


def test_what_is_no_run_takes_no_changes(made, tiny_export):
    changes = {"clip_aggregation": "mean"}
    message = "is a SavedModel, whose .* export the run with `changes` of clip_aggregation, or"
    with pytest.raises(UsageError, match=message):
        open_model(tiny_export, changes=changes)
    with pytest.raises(UsageError, match="are for runs, got a model that is open"):
        open_model(open_model(made / "run"), changes=changes)
