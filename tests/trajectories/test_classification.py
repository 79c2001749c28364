"""The verb trajectories: extracted once, learned on the training subset, scored for fusion."""

import dataclasses
import io
import json
import pathlib
import shutil
import threading

import numpy as np
import pytest
import sklearn.mixture  # noqa: F401  loads the libraries that `one_thread` limits
import threadpoolctl

import keras_attn
from keras_attn.cli.parser import main
from keras_attn.data import records
from keras_attn.data.records import RecordStore
from keras_attn.data.source import subset_labels
from keras_attn.datasets import tables
from keras_attn.datasets.synthetic import MOTIONS, write_dataset
from keras_attn.errors import DataError, UsageError, UserError
from keras_attn.metrics.scores import read_scores
from keras_attn.trajectories import FisherEncoder, classification
from keras_attn.trajectories.store import TrajectoryStore, descriptors_of
from keras_attn.utils.files import read_json

COMPONENTS = 2


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """On arrays this small, threads of scikit-learn mostly wait for each other."""
    with threadpoolctl.threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """24 clips of 22 frames of 48 pixels, of moving shapes, scanned, split and prepared."""
    root = tmp_path_factory.mktemp("moving")
    write_dataset(root / "videos", scenes=6, seed=26, side=48, frames=22)
    keras_attn.scan(root / "videos", root / "data", workers=1)
    keras_attn.split(root / "data", fractions=(0.67, 0.0, 0.33))
    keras_attn.prepare(root / "data", workers=1)
    return root


@pytest.fixture(scope="module")
def first(root):
    """The summary of a first run; its data folder has the trajectories of all videos."""
    return score(root / "data", root / "scores.npz")


@pytest.fixture
def data(root, first, tmp_path):
    return shutil.copytree(root / "data", tmp_path / "data")


def score(data, out, **options):
    settings = {"components": COMPONENTS, "short_side": 48, "limit": 40, "workers": 2}
    return keras_attn.score_trajectories(data, out, **{**settings, **options})


def store_of(data):
    store = TrajectoryStore(data, 48, 40)
    store.extract(usable(data), [])
    return store


def usable(data):
    return [row for row in tables.read_manifest(data) if row.usable]


def without_trajectories(data, subset):
    """Make the store of `data` say that the first video of a subset has none; its id."""
    store, key = store_of(data), next(iter(subset_labels(data)[subset]))
    content = io.BytesIO()
    np.save(content, np.zeros((0, 426), "float16"))
    with store.writing(store.provenance(), usable(data)):
        row = next(row for row in usable(data) if row.id == key)
        store.add(row, store.write(key, [content.getvalue()]), found=0, stored=0)
    return key


def test_the_scores_are_of_the_test_part_and_tell_the_motions(root, first):
    found = read_scores(first.path)
    labels = subset_labels(root / "data")["test"]
    assert (found.model, found.input, found.subset) == ("trajectories", "trajectories", "test")
    assert found.ids == list(labels) and found.labels.tolist() == list(labels.values())
    assert found.class_names == sorted(MOTIONS)
    np.testing.assert_array_equal(found.predicted, found.logits.argmax(1))
    np.testing.assert_array_equal(found.votes.argmax(1), found.predicted)
    exponentials = np.exp(found.logits)
    expected = exponentials / exponentials.sum(1, keepdims=True)
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-9)
    assert (
        first.notes == ()
        and first.scored == 8
        and first.correct == (found.predicted == found.labels).sum()
    )
    assert first.accuracy > 0.7  # of four classes


def test_the_summary_adds_up(first):
    assert (first.videos, first.written, first.kept) == (24, 24, 0)
    assert first.trajectories > first.stored > 100
    assert first.lines()[0].startswith("24 videos = 24 written + 0 kept")
    assert f"{first.correct} of 8 videos right" in first.lines()[1]
    assert json.loads(json.dumps(first.as_dict()))["stored"] == first.stored


def test_what_was_extracted_is_kept_and_gives_the_same_scores(data, first, tmp_path):
    files = {p.name: p.stat().st_mtime_ns for p in data.glob("trajectories/short-48/*.npy")}
    assert len(files) == 24
    events = []
    again = score(data, tmp_path / "out", progress=lambda *event: events.append(event))
    assert (again.written, again.kept, events) == (0, 24, [])
    assert again.path == tmp_path / "out" / "scores.npz"
    assert files == {p.name: p.stat().st_mtime_ns for p in data.glob("trajectories/short-48/*.npy")}
    np.testing.assert_array_equal(read_scores(again.path).logits, read_scores(first.path).logits)


def test_a_run_that_fails_midway_keeps_what_is_complete(data, tmp_path, monkeypatch):
    """The first record fails while a second worker is at the fourth, and the others are told."""
    shutil.rmtree(data / "trajectories")
    ids = [record.id for record in records.read_index(data)]
    begun, told, failed = (threading.Event() for _ in range(3))

    def descriptors(record, short_side, stopped):
        if record.id == ids[0]:
            assert begun.wait(20) and told.wait(20)
            failed.set()
            raise UserError("no room")
        if record.id == ids[3]:
            begun.set()
            assert failed.wait(20)
        return np.zeros((1, 426))

    def progress(done, total, key):
        if key == ids[1]:
            told.set()

    monkeypatch.setattr("keras_attn.trajectories.store.descriptors_of", descriptors)
    with pytest.raises(UserError, match="no room"):
        score(data, tmp_path / "scores.npz", workers=2, progress=progress)
    assert not (tmp_path / "scores.npz").exists()
    assert ids[0] not in store_of(data).index and set(ids[1:4]) <= store_of(data).index.keys()


def test_a_changed_video_is_extracted_again(data):
    """As after `scan` and `prepare`, whose records then have another source too."""
    rows = usable(data)
    rows[0] = dataclasses.replace(rows[0], sha256="f" * 64)
    records_of = RecordStore(data)
    with records_of.writing(records_of.provenance(), rows):
        written = records_of.write(rows[0].id, [records_of.path(rows[0].id).read_bytes()])
        records_of.add(rows[0], written, height=48, width=48, label=0)
    store = TrajectoryStore(data, 48, 40)
    assert store.extract(rows, {row.id for row in rows}) == [rows[0].id]


def test_descriptors_are_those_of_the_frames_and_chosen_reproducibly(data):
    store = store_of(data)
    record = max(records.read_index(data), key=lambda record: int(store.index[record.id]["found"]))
    found = descriptors_of(record, 48).astype("float16")
    stored = store.read(record.id)
    assert len(found) > 40 and stored.shape == (40, 426) and stored.dtype == np.float16
    rows = [tuple(row) for row in found]
    places = [rows.index(tuple(row)) for row in stored]
    assert places == sorted(set(places))
    assert len(descriptors_of(record, 34)) and not len(descriptors_of(record, 31))


def test_the_sample_is_drawn_from_all_videos(data):
    store = store_of(data)
    ids = list(store.index)[:5]
    everything = np.concatenate([store.read(key) for key in ids]).astype("float32")
    np.testing.assert_array_equal(store.sample(ids, 10**6), everything)
    some = store.sample(ids, 60)
    rows = [tuple(row) for row in everything]
    assert some.shape == (60, 426) and len({rows.index(tuple(row)) for row in some}) == 60
    np.testing.assert_array_equal(some, store.sample(ids, 60))


def test_only_the_training_part_is_learned_from(data, tmp_path, monkeypatch):
    learned = []
    fit = FisherEncoder.fit
    monkeypatch.setattr(FisherEncoder, "fit", lambda self, x: learned.append(x) or fit(self, x))
    svm = classification._train_svm
    monkeypatch.setattr(
        classification, "_train_svm", lambda x, y: learned.extend([x, y]) or svm(x, y)
    )
    empty = without_trajectories(data, "train")
    score(data, tmp_path / "scores.npz")
    subsets = subset_labels(data)
    train = subsets["train"]
    sample, vectors, labels = learned
    kept = {key: store_of(data).read(key) for key in train}
    np.testing.assert_array_equal(sample, np.concatenate(list(kept.values())).astype("float32"))
    assert labels.tolist() == [label for key, label in train.items() if key != empty]
    assert len(vectors) == len(train) - 1 == 15 and vectors.any(1).all()
    assert read_scores(tmp_path / "scores.npz").ids == list(subsets["test"])


def test_folds(data, tmp_path):
    keras_attn.split(data, folds=3)
    summary = score(data, tmp_path / "scores.npz", fold=2)
    assert (summary.kept, summary.scored) == (24, 8)
    assert read_scores(summary.path).ids == list(subset_labels(data, 2)["test"])


@pytest.mark.parametrize("classes", [2, 3])
def test_classes_without_training_videos_have_the_lowest_decision_value(rng, classes):
    vectors = rng.normal(size=(30, 5))
    labels = np.arange(30) % classes + 1
    vectors[np.arange(30), labels] += 9
    svm = classification._train_svm(vectors, labels)
    values = classification.decision_values(svm, vectors, 5)
    assert values.shape == (30, 5) and (values[:, [0, 4]] == -1).all()
    assert (values.argmax(1) == labels).all()
    assert (values[np.arange(30), labels] > 0).all()


def test_videos_without_trajectories_are_told_and_too_few_are_refused(tiny_data, data, tmp_path):
    short = shutil.copytree(tiny_data, tmp_path / "short")  # 12 frames
    message = "0 trajectories in the training subset .*components need .*more videos or fewer comp"
    with pytest.raises(DataError, match=message):
        score(short, tmp_path / "scores.npz")
    key = without_trajectories(data, "test")
    summary = score(data, tmp_path / "scores.npz")
    assert summary.written == 0
    assert summary.notes == (f"1 videos have no trajectories, the first is {key}",)


def test_another_tracker_is_refused_with_both_values(data, tmp_path):
    path = data / "trajectories" / "short-48" / "provenance.json"
    made = read_json(path)
    assert made["settings"]["length"] == 15 and made["records"]["quality"] == 95
    made["settings"]["grid"] = 6
    path.write_text(json.dumps(made))
    with pytest.raises(DataError, match="settings is .*'grid': 6.*expected .*'grid': 5"):
        score(data, tmp_path / "scores.npz")


def test_files_of_no_video_are_told(data, tmp_path):
    (data / "trajectories" / "short-48" / "mine.npy").write_bytes(b"")
    (note,) = score(data, tmp_path / "scores.npz").notes
    assert note.startswith("1 files in ") and note.endswith("mine.npy")


def test_a_damaged_record_is_named(data, tmp_path):
    record = records.read_index(data)[0]
    shutil.rmtree(data / "trajectories")
    path = pathlib.Path(record.path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{record.id} is damaged.*prepare"):
        score(data, tmp_path / "scores.npz")


def test_mistakes(data, tmp_path):
    for error, message, options in (
        (UsageError, "`subset` must be one of train, .* got 'all'", {"subset": "all"}),
        (DataError, r"no videos in the subset 'validation'; there are", {"subset": "validation"}),
        (UsageError, "`components` must be at least 1, got 0", {"components": 0}),
        (UsageError, "`sample` must be at least 54 for 2 components, got 53", {"sample": 53}),
        (UsageError, "`workers` must be at least 1, got 0", {"workers": 0}),
        (UsageError, "`workers` must be at least 1, got -1", {"workers": -1}),
        (UsageError, "`short_side` must be at least 32 pixels .* got 31", {"short_side": 31}),
        (UsageError, "drop `fold`", {"fold": 1}),
    ):
        with pytest.raises(error, match=message):
            score(data, tmp_path / "scores.npz", **options)
    split = data / "split.csv"
    lines = split.read_text().splitlines()
    split.write_text("\n".join(x for x in lines if "test" in x or "left" in x or "id" in x) + "\n")
    with pytest.raises(DataError, match="training subset has .* of one class.*without traj"):
        score(data, tmp_path / "scores.npz")


def test_the_command_line(data, capsys, tmp_path):
    out = tmp_path / "scores.npz"
    options = ["--short-side", "48", "--limit", "40", "--components", "2", "--workers", "2"]
    assert main(["trajectories", "--data", str(data), "--out", str(out), *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["kept"], found["scored"], found["path"]) == (24, 8, str(out))
    assert {field.name for field in dataclasses.fields(classification.TrajectorySummary)} == set(
        found
    )
