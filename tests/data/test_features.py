"""Feature files: what was written is read, at stored positions only, never all in memory."""

import dataclasses
import json
import pathlib
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from windows import segment_indices, window_indices, window_starts

from keras_attn.data import batches, sampling
from keras_attn.data.features import FeatureFolder, FeatureReader, read_maps
from keras_attn.data.sampling import Segments, Windows
from keras_attn.data.video import Video
from keras_attn.datasets.tables import Row
from keras_attn.errors import DataError
from keras_attn.utils.files import staging, write_json

SHAPE = (2, 3, 5)
WINDOWS = Windows(3, 3)
ROWS = [Row(f"{x}.mp4", "", x[0], frames=n, sha256=x[0] * 64) for x, n in (("a/x", 7), ("b/y", 2))]
READER = FeatureReader((("maps", SHAPE, None),))
SETTINGS = {"map": "maps", "shape": SHAPE}


@pytest.fixture
def store(tmp_path):
    return FeatureFolder(tmp_path, "tiny", 32).map_store("maps")


@pytest.fixture
def arrays(store, rng):
    """The maps of two videos, all of which were written."""
    arrays = {row.id: rng.normal(size=(row.frames, *SHAPE)).astype("f4") for row in ROWS}
    for row in ROWS:
        write(store, row, np.arange(row.frames), arrays[row.id])
    return arrays


def write(store, row, positions, maps):
    with store.writing(SETTINGS, ROWS), store.adding(row, positions, SHAPE) as add:
        for piece in np.array_split(maps, 2):
            add(piece)


def videos(store, rows=ROWS):
    return [Video(r.id, str(store.path(r.id)), r.frames, n) for n, r in enumerate(rows)]


def read(index, sampler, batch_size, **options):
    reader = batches.read_features(batches.frame_numbers(sampler), READER)
    return batches.batches(index, reader, batch_size, **options)


def test_windows_are_what_was_written_in_half_precision(store, arrays):
    some = videos(store, ROWS[::-1])
    ((inputs, labels),) = list(read(batches.clip_index(some, Windows(4, 3)), Windows(4, 3), 8))
    expected = [
        arrays[v.id][window_indices(start, v.length, 4)]
        for v in some
        for start in window_starts(v.length, 4, 3)
    ]
    assert inputs["features"].dtype == np.float16 and labels.numpy().tolist() == [0, 1, 1]
    np.testing.assert_array_equal(inputs["features"], np.stack(expected).astype("f2"))
    np.testing.assert_array_equal(inputs["features"][0, 1], inputs["features"][0, 3])  # padded


@pytest.mark.parametrize("segments", [2, 3, 5])  # far apart, and close enough for one read
def test_segments_are_the_frames_they_name(store, arrays, segments):
    sampler = Segments(segments)
    ((inputs, _),) = list(read(batches.clip_index(videos(store), sampler), sampler, 8))
    expected = [array[segment_indices(len(array), segments)] for array in arrays.values()]
    np.testing.assert_array_equal(inputs["features"], np.stack(expected).astype("f2"))


def test_positions_are_those_of_all_maps(store, arrays):
    """Another recipe may have stored more of one map."""
    other, (row, _) = store.parent.map_store("others"), ROWS
    with other.writing(SETTINGS | {"map": "others"}, ROWS), other.adding(row, [1, 4], SHAPE) as add:
        add(arrays[row.id][[1, 4]])
    for names in (("maps", "others"), ("others", "maps")):
        reader = FeatureReader(tuple((name, SHAPE, None) for name in names))
        path = store.parent.map_store(names[-1]).path(row.id)
        assert reader.positions(path).tolist() == [1, 4]
        assert reader.read(path, np.array([1, 4]), row.frames).shape == (2, 2, 3, 10)


def test_many_threads_read_at_once(store, arrays, monkeypatch):
    """Without numpy.load, whose parsing of the header fails now and then in threads."""
    index = batches.clip_index(videos(store)[:1] * 300, WINDOWS)
    monkeypatch.setattr(np, "load", None)
    options = tf.data.Options()
    options.threading.private_threadpool_size = 16
    dataset = read(index, WINDOWS, 100, seed=1).with_options(options)
    starts = index.starts[sampling.epoch_order(len(index), 1, 0)]
    place, array = 0, arrays["a/x.mp4"].astype("f2")
    for inputs, _ in dataset:
        for clip in inputs["features"].numpy():
            np.testing.assert_array_equal(clip, array[starts[place] : starts[place] + 3])
            place += 1
    assert place == len(index) == 900


@pytest.mark.parametrize("change", [lambda old: old[:-1], lambda old: old + b"x", lambda old: b""])
def test_a_file_that_changes_during_the_training_is_named(store, arrays, change):
    path = store.path("a/x.mp4")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(tf.errors.OpError, match=r"a-x-.*\.npy: became shorter or longer"):
        list(read(batches.clip_index(videos(store)[:1], WINDOWS), WINDOWS, 8))


# === Some positions ===


@pytest.mark.parametrize(
    "first, second", [([1, 4], [0, 2, 6]), ([3], [5]), ([0, 6], [1, 2, 3, 4, 5]), ([2], [3])]
)
def test_positions_are_added_to_those_that_are_there(store, rng, first, second):
    maps = rng.normal(size=(7, *SHAPE)).astype("f4")
    for positions in (first, second):
        write(store, ROWS[0], np.array(positions), maps[positions])
    together = sorted({*first, *second})
    (entry,) = store.complete(ROWS[:1])
    assert int(entry["positions"]) == len(together) and entry["length"] == "7"
    path = store.path("a/x.mp4")
    assert store.stored(entry).tolist() == READER.positions(path).tolist() == together
    np.testing.assert_array_equal(np.load(path), maps[together].astype("f2"))  # a .npy file
    for some in ([together[0]], [together[0], together[-1]], together):
        found = read_maps(path, SHAPE, np.array(some), 7)
        np.testing.assert_array_equal(found, maps[some].astype("f2"))
    for lacking in {*range(7)} - {*together}:
        with pytest.raises(OSError, match=rf"a-x-.*has no features of position {lacking}$"):
            read_maps(path, SHAPE, np.array(sorted([together[0], lacking])), 7)
    store.require([entry], {"a/x.mp4": np.array(first)})
    if len(together) < 7:
        with pytest.raises(DataError, match=r"of 7 positions of a/x.mp4, not of.*--backbone tiny"):
            store.require([entry], {"a/x.mp4": np.arange(7)})


def test_a_failure_midway_leaves_what_was_there(store, rng):
    maps = rng.normal(size=(7, *SHAPE)).astype("f4")
    write(store, ROWS[0], np.array([1, 2]), maps[1:3])
    before = {path.name: path.read_bytes() for path in store.folder.iterdir()}
    for sent in (1, 3):
        with pytest.raises(
            DataError, match=f"a/x.mp4: expected features of 2 positions, got {sent}"
        ):
            write(store, ROWS[0], np.array([0, 4]), maps[:sent])
    with pytest.raises(RuntimeError, match="boom"), store.writing(SETTINGS, ROWS):
        with store.adding(ROWS[0], np.array([0, 4]), SHAPE) as add:
            add(maps[:1])
            raise RuntimeError("boom")
    assert {path.name: path.read_bytes() for path in store.folder.iterdir()} == before


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e5])
def test_what_half_precision_cannot_hold_is_refused(store, value):
    with (
        np.errstate(over="ignore"),
        pytest.raises(DataError, match=r"a/x\.mp4: features must be finite"),
    ):
        write(store, ROWS[0], np.arange(7), np.full((7, *SHAPE), value, "f4"))


# === Maps together ===


def test_joined_maps_are_those_of_one_network_after_the_other(tmp_path, rng):
    """Two maps of two networks each, of which the first is read through ReLU6."""
    folder = FeatureFolder(tmp_path, "tiny", 32)
    maps = {"low@high": rng.normal(0, 6, (7, 2, 3, 4)), "high": rng.normal(0, 6, (7, 2, 3, 6))}
    for name, array in maps.items():
        store, settings = folder.map_store(name), {"map": name, "shape": array.shape[1:]}
        with (
            store.writing(settings, ROWS),
            store.adding(ROWS[0], np.arange(7), array.shape[1:]) as add,
        ):
            add(array)
    write_json(folder.provenance_path, {"networks": 2})
    parts = [
        SimpleNamespace(name="low@high", ceiling=6.0),
        SimpleNamespace(name="high", ceiling=None),
    ]
    reader = folder.reader(parts)
    assert reader.shape == (2, 3, 10)
    low, high = np.clip(maps["low@high"], 0, 6).astype("f2"), maps["high"].astype("f2")
    expected = np.concatenate([low[..., :2], high[..., :3], low[..., 2:], high[..., 3:]], -1)
    path = folder.map_store("high").path("a/x.mp4")
    np.testing.assert_array_equal(reader.read(path, np.array([0, 5]), 7), expected[[0, 5]])


# === What is checked ===


@pytest.mark.parametrize("change", [{"sha256": "f" * 64}, {"frames": 8}])
def test_features_of_a_changed_video_are_outdated(store, arrays, change):
    rows = [dataclasses.replace(ROWS[0], **change), ROWS[1]]
    with pytest.raises(DataError, match=r"features of 1 of 2 usable videos .* outdated.*a/x\.mp4"):
        store.complete(rows)


def test_a_reader_leaves_what_another_process_is_writing(store, arrays):
    with staging(store.path("c.mp4")) as temporary:
        temporary.write_bytes(b"half")
        assert len(store.complete(ROWS)) == 2 and temporary.exists()


def test_the_remedy_is_the_whole_command_with_the_weights_that_are_there(tmp_path):
    folder = FeatureFolder(tmp_path, "tiny", 32, endpoint="maps")
    command = f"keras-attn features --backbone tiny --size 32 --endpoint maps --data {tmp_path}"
    assert folder.remedy().endswith(command)
    with pytest.raises(DataError, match=rf"maps/provenance.json: no such file.*{command}$"):
        folder.map_store("maps").provenance()
    folder.folder.mkdir(parents=True)
    for weights, text in ((None, "none"), ("a b.h5", "'a b.h5'")):
        write_json(folder.provenance_path, {"weights": weights})
        expected = command.replace("--endpoint maps", f"--endpoint maps --weights {text}")
        assert folder.map_store("maps").remedy().endswith(expected)


LARGER_THAN_MEMORY = """
import json, pathlib, sys
import keras, numpy as np
from keras_attn.data import batches
from keras_attn.data.features import FeatureReader
from keras_attn.data.video import Video
from keras_attn.data.sampling import Windows
from keras_attn.models import StructuredAttentionLSTM
from keras_attn.utils.process import peak_memory

folder, frames, shape = pathlib.Path(sys.argv[1]), 5000, (8, 8, 1024)
header = {"descr": "<f2", "fortran_order": False, "shape": (frames, *shape)}
videos = []
(folder / "maps").mkdir()
for number in range(60):
    path = folder / "maps" / f"{number}.npy"
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + frames * (2 * np.prod(shape) + 4))
    videos.append(Video(str(number), str(path), frames, number % 3))
size = sum(pathlib.Path(video.path).stat().st_size for video in videos)
model = StructuredAttentionLSTM(3, input_shape=(16, *shape), units=8, dropout=0.0)
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
windows = Windows(16, 1)
index = batches.clip_index(videos * 4, windows)
reader = FeatureReader((("maps", shape, None),))
read = batches.read_features(batches.frame_numbers(windows), reader)
batches = batches.batches(index, read, 16, seed=0)
for _, (inputs, labels) in zip(range(12), batches):
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
