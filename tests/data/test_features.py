"""Feature files: windows as written, whole or absent, never stale, never all in memory."""

import dataclasses
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from windows import segment_indices, window_indices, window_starts

from keras_attn.data import batches, sampling
from keras_attn.data.features import FeatureStore, IndexWriter
from keras_attn.data.sampling import Segments, Windows
from keras_attn.datasets import tables
from keras_attn.errors import DataError
from keras_attn.utils.files import staging

SHAPE = (2, 3, 5)
WINDOWS = Windows(3, 3)
LENGTHS = {"a/x.mp4": 7, "b/y.mp4": 2}


@pytest.fixture
def store(tmp_path):
    """A store of two videos, and the arrays that were written."""
    tables.write_classes(tmp_path, ["a", "b"])
    rows = [
        tables.Row(key, key, key[0], frames=n, sha256=str(n) * 64, usable=True)
        for key, n in LENGTHS.items()
    ]
    tables.write_manifest(tmp_path, rows)
    store = FeatureStore(tmp_path, "tiny", 32, "maps")
    random = np.random.default_rng(1)
    arrays = {key: random.normal(size=(n, *SHAPE)).astype("f4") for key, n in LENGTHS.items()}
    with IndexWriter(store, {}) as index:
        for row in rows:
            store.write(row.id, np.array_split(arrays[row.id], 2), row.frames, SHAPE)
            index.add(row.id, row.frames, row.sha256)
    return store, arrays


def files(store):
    return sorted(path.name for path in store.folder.iterdir())


def test_windows_are_what_was_written_in_half_precision(store):
    store, arrays = store
    videos = store.videos({"b/y.mp4": 1, "a/x.mp4": 0}, SHAPE)
    assert [(v.id, v.length, v.label) for v in videos] == [("b/y.mp4", 2, 1), ("a/x.mp4", 7, 0)]
    index = batches.clip_index(videos, Windows(4, 3))
    read = batches.read_features(batches.frame_numbers(Windows(4, 3)), SHAPE)
    ((inputs, labels),) = list(batches.batches(index, read, 8))
    expected = [
        arrays[v.id][window_indices(start, v.length, 4)]
        for v in videos
        for start in window_starts(v.length, 4, 3)
    ]
    assert inputs["features"].dtype == np.float16 and labels.numpy().tolist() == [1, 0, 0]
    np.testing.assert_array_equal(inputs["features"], np.stack(expected).astype("f2"))
    np.testing.assert_array_equal(inputs["features"][0, 1], inputs["features"][0, 3])  # padded


@pytest.mark.parametrize("segments", [2, 3, 5])  # far apart, and close enough for one read
def test_segments_are_the_frames_they_name(store, segments):
    store, arrays = store
    sampler = Segments(segments)
    index = batches.clip_index(store.videos({"a/x.mp4": 0, "b/y.mp4": 1}, SHAPE), sampler)
    read = batches.read_features(batches.frame_numbers(sampler), SHAPE)
    ((inputs, _),) = list(batches.batches(index, read, 8))
    expected = [array[segment_indices(len(array), segments)] for array in arrays.values()]
    np.testing.assert_array_equal(inputs["features"], np.stack(expected).astype("f2"))


def test_many_threads_read_at_once(store, monkeypatch):
    """Without numpy.load, whose parsing of the header fails now and then in threads."""
    store, arrays = store
    index = batches.clip_index(store.videos({"a/x.mp4": 0}, SHAPE) * 300, WINDOWS)
    monkeypatch.setattr(np, "load", None)
    read = batches.read_features(batches.frame_numbers(WINDOWS), SHAPE)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 16
    dataset = batches.batches(index, read, 100, seed=1).with_options(options)
    starts = index.starts[sampling.epoch_order(len(index), 1, 0)]
    place, array = 0, arrays["a/x.mp4"].astype("f2")
    for inputs, _ in dataset:
        for clip in inputs["features"].numpy():
            np.testing.assert_array_equal(clip, array[starts[place] : starts[place] + 3])
            place += 1
    assert place == len(index) == 900


def test_a_file_that_is_cut_during_the_training_is_named(store):
    store, _ = store
    index = batches.clip_index(store.videos({"a/x.mp4": 0}, SHAPE), WINDOWS)
    cut(store.path("a/x.mp4"))
    with pytest.raises(tf.errors.OpError, match=r"a-x-.*\.npy: became shorter"):
        read = batches.read_features(batches.frame_numbers(WINDOWS), SHAPE)
        list(batches.batches(index, read, 8))


def test_a_failure_midway_leaves_nothing(store):
    store, arrays = store
    before = files(store)

    def pieces():
        yield arrays["a/x.mp4"][:3]
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        store.write("c.mp4", pieces(), 7, SHAPE)
    for count, sent in ((7, 3), (3, 7)):
        with pytest.raises(DataError, match=f"c.mp4: expected features of {count} frames, got"):
            store.write("c.mp4", [arrays["a/x.mp4"][:sent]], count, SHAPE)
    assert files(store) == before


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e5])
def test_what_half_precision_cannot_hold_is_refused(store, value):
    with (
        np.errstate(over="ignore"),
        pytest.raises(DataError, match=r"c\.mp4: features must be finite"),
    ):
        store[0].write("c.mp4", [np.full((2, *SHAPE), value, "f4")], 2, SHAPE)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def other_shape(path):
    np.save(path, np.zeros((7, 2, 3, 4), "f2"))


def other_type(path):
    np.save(path, np.zeros((7, *SHAPE), "f4"))


def garbage(path):
    path.write_bytes(b"\x93NUMPY garbage")


@pytest.mark.parametrize("damage", [cut, other_shape, other_type, garbage, pathlib.Path.unlink])
def test_damage_is_found_and_named(store, damage):
    store, _ = store
    damage(store.path("a/x.mp4"))
    assert list(store.kept(SHAPE)) == ["b/y.mp4"]
    with pytest.raises(DataError, match=r"1 of 2 videos.*first is a/x\.mp4.*keras-attn features"):
        store.videos({"a/x.mp4": 0, "b/y.mp4": 1}, SHAPE)
    assert len(store.videos({"b/y.mp4": 1}, SHAPE)) == 1


@pytest.mark.parametrize("change", [{"sha256": "f" * 64}, {"frames": 8}, {"usable": False}])
def test_features_of_a_changed_video_are_stale(store, change):
    store, _ = store
    rows = tables.read_manifest(store.data)
    tables.write_manifest(store.data, [dataclasses.replace(rows[0], **change), rows[1]])
    assert list(store.kept(SHAPE)) == ["b/y.mp4"]


def test_a_reader_leaves_what_another_process_is_writing(store):
    store, arrays = store
    with staging(store.path("c.mp4")) as beside:
        beside.write_bytes(b"half")
        assert len(store.videos({"a/x.mp4": 0, "b/y.mp4": 1}, SHAPE)) == 2
        assert beside.exists()


def test_another_way_of_making_is_refused_with_both_values(tmp_path):
    store = FeatureStore(tmp_path, "tiny", 32, "maps")
    made = {"backbone": "tiny", "size": 32, "weights_sha256": "0a"}
    with pytest.raises(
        DataError, match="no features here.*--backbone tiny --size 32 --endpoint maps --data"
    ):
        store.check(made)
    store.claim(made)
    store.claim(made)
    assert store.check({"size": 32}) == made
    for key, value in {"backbone": "x", "size": 64, "weights_sha256": "ff"}.items():
        with pytest.raises(DataError, match=f"{key} is {made[key]!r}, expected {value!r}"):
            store.claim({**made, key: value})
    assert store.check({}) == made


def test_the_remedy_is_the_whole_command_with_the_weights_that_are_there(store):
    store, _ = store
    command = f"keras-attn features --backbone tiny --size 32 --endpoint maps --data {store.data}"
    assert store.remedy.endswith(command)
    store.claim({"weights": "None"})
    remedy = command.replace("maps ", "maps --weights None ")
    assert store.remedy.endswith(remedy)
    store.index_path.write_text("id\n")
    with pytest.raises(DataError, match=f"Remove it.*{remedy}"):
        store.kept(SHAPE)
    store.index_path.unlink()
    with pytest.raises(DataError, match=remedy):
        store.videos({"a/x.mp4": 0}, SHAPE)


LARGER_THAN_MEMORY = """
import json, pathlib, sys
import keras, numpy as np
from keras_attn.data import batches
from keras_attn.data.video import Video
from keras_attn.data.sampling import Windows
from keras_attn.models import StructuredAttentionLSTM
from keras_attn.utils.process import peak_memory

folder, frames, shape = pathlib.Path(sys.argv[1]), 5000, (8, 8, 1024)
header = {"descr": "<f2", "fortran_order": False, "shape": (frames, *shape)}
videos = []
for number in range(60):
    path = folder / f"{number}.npy"
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 2 * frames * np.prod(shape))
    videos.append(Video(str(number), str(path), frames, number % 3))
size = sum(pathlib.Path(video.path).stat().st_size for video in videos)
model = StructuredAttentionLSTM(3, input_shape=(16, *shape), units=8, dropout=0.0)
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
windows = Windows(16, 1)
index = batches.clip_index(videos * 4, windows)
read = batches.read_features(batches.frame_numbers(windows), shape)
batches = batches.batches(index, read, 16, seed=0)
for _, (inputs, labels) in zip(range(40), batches):
    logs = model.train_on_batch(inputs, labels, return_dict=True)
found = {"size": size / 2**30, "peak": peak_memory(), "clips": len(index)}
found["loss"] = float(logs["loss"])
print(json.dumps(found))
"""


@pytest.mark.slow
def test_a_cache_larger_than_memory_trains_in_two_gib(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LARGER_THAN_MEMORY, tmp_path],
        capture_output=True,
        text=True,
        cwd=pathlib.Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["size"] > 36 and found["clips"] == 4 * 60 * 4985
    assert found["peak"] < 2, found
    assert np.isfinite(found["loss"])
