"""A run on features from elsewhere: trained, evaluated, explained, asked and served."""

import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from clean_server import one_clean_process
from foreign import foreign_folder
from small import eagerly

import keras_attn
from keras_attn.data.source import open_source
from keras_attn.datasets import tables
from keras_attn.errors import DataError, UsageError, UserError
from keras_attn.inference import explanation
from keras_attn.inference.trained_model import open_model
from keras_attn.recipes import RECIPES
from keras_attn.training import build
from keras_attn.utils.files import read_json, write_json

SMALL = {"epochs": 2, "clips.frames": 4, "clips.stride": 2, "batch_size": 8, "learning_rate": 0.05}
SMALL |= {"model.units": 6, "model.block": 1, "backbone": "features:theirs"}


@pytest.fixture(scope="module")
def trained(built_once, tiny_data):
    """The root of a data folder with imported features, of the run on them and of its export."""

    def make(root):
        shutil.copytree(tiny_data, root / "data")
        foreign_folder(root / "data", root / "theirs")
        keras_attn.features(root / "data", from_=root / "theirs")
        with eagerly():
            # The paper's recipe trains with pixels that are cropped and a backbone that learns.
            keras_attn.train(
                "structured_attention_tiny", root / "data", root / "run", changes=SMALL
            )
        with one_clean_process():
            keras_attn.export(root / "run", root / "models")

    return built_once("imported", make)


@pytest.fixture(scope="module")
def model(trained):
    return open_model(trained / "run")


def rows(trained):
    return {row.id: row for row in tables.read_manifest(trained / "data")}


def test_the_run_records_the_encoder_and_evaluates(trained, monkeypatch):
    reads, read = [], tables._read_manifest
    monkeypatch.setattr(tables, "_read_manifest", lambda data: reads.append(data) or read(data))
    run = keras_attn.evaluate(trained / "run", examples=2)
    assert len(reads) == 1, "a large manifest takes seconds"
    assert run.summary.videos == 6 and run.summary.accuracy == 1.0  # a channel tells the class
    assert run.report.read_text().count("data:image/jpeg") == 2
    facts = read_json(trained / "run" / "run.json")["input"]
    made = read_json(trained / "theirs" / "provenance.json")
    for key in ("encoder", "revision", "sha256"):
        assert facts[key] == made[key]
    assert facts["shape"] == [2, 4, 8]


def test_features_of_another_encoder_are_refused(trained, tmp_path):
    data = shutil.copytree(trained / "data", tmp_path / "data")
    path = data / "features" / "theirs" / "provenance.json"
    write_json(path, read_json(path) | {"revision": "other"})
    with pytest.raises(DataError, match="different settings than those that .*run was trained on"):
        keras_attn.evaluate(trained / "run", data=data, examples=0)


def test_a_file_of_features_is_answered_by_run_and_export_alike(trained):
    key = next(key for key in rows(trained) if key.startswith("left/"))
    file = trained / "theirs" / f"{key}.npy"
    (by_run,) = keras_attn.predict(file, trained / "run", top_k=4)
    (by_export,) = keras_attn.predict([file], trained / "models", top_k=4)
    assert by_run.guesses[0].name == "left" and by_run.frames == len(np.load(file))
    for one, other in zip(by_run.guesses, by_export.guesses, strict=True):
        assert one.name == other.name and abs(one.probability - other.probability) < 1e-5


OTHERS = [(4, 2, 5, 8), (4, 2, 4, 9), (4, 8), (4, 1, 2, 4, 8), (0, 2, 4, 8)]


@pytest.mark.parametrize("shape", OTHERS)
def test_features_that_the_model_was_not_built_for(trained, model, tmp_path, shape):
    np.save(tmp_path / "new.npy", np.zeros(shape, "float32"))
    (answer,) = predictions = keras_attn.predict(tmp_path / "new.npy", model)
    assert predictions.problems == [answer.problem]
    found = re.escape(str(shape))
    expected = r"expected \(T, h, w, C\) or|but the model was built for \(T, 2, 4, 8\)"
    assert re.search(rf"new.npy: has .*{found}, ({expected})", answer.problem)


def test_a_video_is_refused_since_the_encoder_is_not_here(trained):
    video = trained.parent / "tiny" / "videos" / next(iter(rows(trained)))
    for path in (trained / "run", trained / "models"):
        with pytest.raises(UsageError, match=r"of somebody/encoder \(revision ed25f3a\), and"):
            keras_attn.predict(video, path)
    with pytest.raises(UserError, match="takes features of somebody/encoder.* keras-attn fuse"):
        keras_attn.predict(video, [trained / "run"] * 2, weights=[1, 1])


def test_each_frame_shows_the_answer_at_the_nearest_time(trained, model, tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(explanation, "write_overlay", lambda *a, **_: shown.append(a))
    row = rows(trained)[next(key for key in rows(trained) if key.startswith("up/"))]
    video = trained.parent / "tiny" / "videos" / row.id
    made = keras_attn.explain(video, model, tmp_path / "out.mp4")
    assert (made.answer, made.frames) == ("up", 12)
    _, frames, where, steps, classes, when, _ = shown[0]
    times = read_json(trained / "theirs" / "provenance.json")["videos"][row.id]["frame_times"]
    features = np.load(trained / "theirs" / f"{row.id}.npy").astype("f2").astype("f4")
    answer = model.ask(features=features)
    assert len(frames) == 12 and len(times) == len(features) < 12
    nearest = [int(np.argmin(np.abs(np.array(times) - f / row.fps))) for f in range(12)]
    np.testing.assert_allclose(where, answer["where"][nearest], rtol=1e-5)
    np.testing.assert_allclose(steps, answer["step_probabilities"][nearest], rtol=1e-5)
    expected = answer["when"][nearest]
    np.testing.assert_allclose(when, expected / expected.sum(), rtol=1e-5)
    positions = answer["clip_positions"]
    np.testing.assert_allclose(made.maps["clip_times"], np.array(times)[positions], rtol=1e-5)
    back = [int(np.argmin(np.abs(np.arange(12) / row.fps - time))) for time in times]
    assert made.maps["clip_frames"].tolist() == np.array(back)[positions].tolist()
    np.testing.assert_array_equal(made.maps["spatial_attention"], answer["spatial_attention"])


def test_a_video_without_features_cannot_be_explained(trained, model, tmp_path):
    other = tmp_path / "other.mp4"
    other.write_bytes((trained.parent / "tiny" / "videos" / next(iter(rows(trained)))).read_bytes())
    assert keras_attn.explain(other, model, tmp_path / "out.mp4").frames == 12  # the same bytes
    other.write_bytes(other.read_bytes() + bytes(8))
    with pytest.raises(DataError, match="other.mp4: no features of this file are in .*theirs, and"):
        keras_attn.explain(other, model, tmp_path / "out.mp4")
    with pytest.raises(UsageError, match="explain by its run folder"):
        keras_attn.explain(other, trained / "models", tmp_path / "out.mp4")


def test_the_export_takes_features_alone(trained):
    import tensorflow as tf

    signatures = tf.saved_model.load(str(trained / "models" / "1")).signatures
    names = {"features", "serving_default"}
    assert set(signatures) == names | {f"{name}_with_lengths" for name in names}
    (answer,) = [signatures["features"](features=tf.zeros((2, 5, 2, 4, 8)))]
    assert answer["where"].shape == (2, 5, 2, 4) and answer["when"].shape == (2, 5)


# Two streams, whose maps lie side by side.
JOINED = ("attention_fusion", "motion_reinforcement")


VECTORS = ("temporal_attention",)  # reads those alone
OF_MAPS = [name for name in RECIPES if not name.startswith(JOINED + VECTORS)]


@pytest.mark.parametrize("name", OF_MAPS)
def test_every_recipe_of_one_stream_is_built_on_maps(trained, name):
    recipe = build.resolve(name, {"backbone": "features:theirs", "select": "last"})
    if name == "where_and_when":
        return  # 119 million weights, made as those of where_and_when_mobilenet
    source = open_source(trained / "data", recipe, read=("train",))
    model = build.build_model(recipe, source)
    assert model.output["logits"].shape == (None, 4)
    assert {key: x.shape[2:] for key, x in model.input.items()} == {"features": (2, 4, 8)}


@pytest.mark.parametrize("name", JOINED)
def test_recipes_of_two_streams_say_why_not(name):
    with pytest.raises(UsageError, match="needs cached=true and input=rgb"):
        build.resolve(name, {"backbone": "features:theirs"})


def test_a_recipe_for_maps_refuses_vectors():
    recipe = build.resolve("where_and_when_tiny", {"backbone": "features:theirs"})
    vectors = SimpleNamespace(classes=["a", "b"], feature_shape=(7,))
    with pytest.raises(UsageError, match=r"features theirs have the shape \(7,\) at each .*choose"):
        build.build_model(recipe, vectors)
