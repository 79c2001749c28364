"""Features from elsewhere: what was made is what is read, and each fault is named."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from foreign import SHAPE, foreign_folder, positions
from windows import window_indices, window_starts

import keras_attn
from keras_attn.data import batches
from keras_attn.data import foreign_folder as reading
from keras_attn.data.imported_features import ImportedFeatures, frames_at, nearest_positions
from keras_attn.data.source import open_source
from keras_attn.datasets import tables
from keras_attn.errors import DataError, UsageError
from keras_attn.recipes import RECIPES, override
from keras_attn.utils.files import read_json, sha256, write_json

CHANGES = {"backbone": "features:theirs", "clips.frames": 4, "clips.stride": 3}


@pytest.fixture(scope="module")
def original(tiny_data, tmp_path_factory):
    """A data folder that was scanned and split, nothing else, and features of it from elsewhere."""
    root = tmp_path_factory.mktemp("foreign")
    (root / "data").mkdir()
    for name in ("manifest.csv", "classes.txt", "split.csv"):
        shutil.copy(tiny_data / name, root / "data")
    return root, foreign_folder(root / "data", root / "theirs")


@pytest.fixture
def places(original, tmp_path):
    """The data folder, the folder of features and the arrays, to be changed."""
    root = shutil.copytree(original[0], tmp_path / "root")
    return root / "data", root / "theirs", original[1]


def first(data):
    return tables.read_manifest(data)[0].id


@pytest.mark.parametrize(
    ("shape", "dtype"), [(SHAPE, "float32"), ((7,), ">f8"), ((1, 2, 5), "float16")]
)
def test_what_was_made_is_what_is_read(original, tmp_path, monkeypatch, shape, dtype):
    monkeypatch.setattr(reading, "_BYTES_AT_ONCE", 2 * 8 * int(np.prod(shape)))  # a few positions
    data = shutil.copytree(original[0] / "data", tmp_path / "data")
    arrays = foreign_folder(data, tmp_path / "theirs", shape, dtype)
    made = keras_attn.features(data, from_=tmp_path / "theirs")
    total = sum(map(len, arrays.values()))
    assert (made.written, made.kept, made.positions, made.maps) == (24, 0, total, {"theirs": shape})
    recipe = override(RECIPES["structured_attention"], CHANGES)
    source = open_source(data, recipe, check="full")
    assert source.feature_shape == shape and source.feature_folder is None
    facts = source.facts()["input"]
    assert (facts["features"], facts["encoder"]) == ("theirs", "somebody/encoder")
    assert {video.length for video in source.subsets["train"]} == {5, 6, 7, 8}
    clips = source.clips("train")
    assert len(clips) == sum(len(window_starts(v.length, 4, 3)) for v in clips.videos)
    ((inputs, _),) = batches.batches(clips, source.reader(), len(clips))
    expected = [
        arrays[clips.videos[number].id][window_indices(start, clips.videos[number].length, 4)]
        for number, start in zip(clips.numbers, clips.starts, strict=True)
    ]
    np.testing.assert_array_equal(inputs["features"], np.stack(expected).astype("f2"))
    entries = read_json(tmp_path / "theirs" / "provenance.json")["videos"]
    for video in source.subsets["test"]:
        times = source.imported.times(video.path)
        np.testing.assert_allclose(times, entries[video.id]["frame_times"], rtol=1e-6)


def test_a_changed_file_is_imported_again_and_other_videos_are_told(places):
    data, folder, arrays = places
    keras_attn.features(data, from_=folder)
    key = first(data)
    changed = np.flip(arrays[key], 0)
    np.save(folder / f"{key}.npy", np.ascontiguousarray(changed))
    entries = read_json(folder / "provenance.json")
    entries["videos"][key]["sha256"] = sha256(folder / f"{key}.npy")
    entries["videos"] |= {"other/x.mp4": {}, "other/y.mp4": {}}  # not asked for, so not read
    write_json(folder / "provenance.json", entries)
    made = keras_attn.features(data, from_=folder)
    assert (made.written, made.kept) == (1, 23)
    assert "2 videos of" in made.lines()[-1] and "other/x.mp4, other/y.mp4" in made.lines()[-1]
    store = ImportedFeatures(data, "theirs")
    read = store.reader().read(store.path(key), np.arange(len(changed)), len(changed))
    np.testing.assert_array_equal(read, changed.astype("f2"))


def saved(array):
    """A fault: another array in the file of the first video, with its own SHA-256."""

    def put(folder, key, entry, values):
        np.save(folder / f"{key}.npy", array(values), allow_pickle=True)
        entry["sha256"] = sha256(folder / f"{key}.npy")

    return put


def rewritten(content):
    def put(folder, key, entry, values):
        path = folder / f"{key}.npy"
        path.write_bytes(content(path.read_bytes()))
        entry["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()

    return put


def entered(**changes):
    """A fault: the entry of the first video has these values; None for a key that it lacks."""

    def put(folder, key, entry, values):
        entry.update(changes)
        for name in [name for name, value in changes.items() if value is None]:
            del entry[name]

    return put


def at(values, place, value):
    values = values.copy()
    values[place] = value
    return values


EARLY = {  # seen before anything is written
    "rank": (saved(lambda x: x[None]), r"\(1, 5, 2, 4, 8\), expected \(T, h, w, C\) or \(T, D\)"),
    "cells": (saved(lambda x: x[:, :1]), r"\([12], 4, 8\) at each position, expected \([12], 4"),
    "channels": (saved(lambda x: x[..., :7]), r"4, [78]\) at each position, expected .*same cells"),
    "empty": (saved(lambda x: x[:0]), "at least one position"),
    "frames": (saved(lambda x: x[1:]), "features of 4 positions, but .* 5 frame_times"),
    "objects": (saved(lambda x: np.array([{}, 1], object)), "Python objects, which are never load"),
    "integers": (saved(lambda x: x.astype("uint8")), r"uint8, expected float16.*astype"),
    "columns": (saved(np.asfortranarray), "row by row.*ascontiguousarray"),
    "truncated": (rewritten(lambda b: b[:-5]), "has 1403 bytes, expected 1408 .*truncated"),
    "no array": (rewritten(lambda b: b"hello"), r"no array that numpy\.save writes"),
    "nothing": (rewritten(lambda b: b""), r"no array that numpy\.save writes"),
    "no times": (entered(frame_times=None), 'expected "frame_times" of .*, got nothing'),
    "times that fall": (entered(frame_times=[0, 1, 2, 4, 3]), "rising numbers from 0, in seconds"),
    "times before 0": (entered(frame_times=[-1, 1, 2, 3, 4]), "rising numbers from 0"),
    "times of text": (entered(frame_times=["0"] * 5), "rising numbers from 0"),
    "no number": (entered(frame_times=[0, 1, 2, 3, float("nan")]), "rising numbers from 0"),
    "frame numbers": (entered(frame_times=[0, 2, 4, 6, 8]), "end at 8 s, but the video lasts 0.5"),
    "no hash": (entered(sha256="f00"), "SHA-256 of the file .*64 hexadecimal digits, got 'f00'"),
    "outside": (entered(file="../x.npy"), "path of a .npy file below this folder, got '../x.npy'"),
    "absent": (entered(file="x.npy"), r"x\.npy: cannot be read \(No such file"),
}
LATE = {  # in the values
    "NaN": (saved(lambda x: at(x, (3, 1, 2, 4), np.nan)), "finite .*got nan at position 3 of 5"),
    "infinity": (saved(lambda x: at(x, (0, 0, 0, 0), -np.inf)), "got -inf at position 0"),
    "too large": (saved(lambda x: at(x, (4, 1, 3, 7), 7e4)), "at most 65504 .*70000"),
    "wrong hash": (entered(sha256="f" * 64), r"has the SHA-256 \w+, but .* says f{64}"),
}


@pytest.mark.parametrize("fault", [*EARLY, *LATE])
def test_a_fault_names_the_file_and_what_was_expected(places, fault):
    data, folder, arrays = places
    put, message = (EARLY | LATE)[fault]
    key, path = first(data), folder / "provenance.json"
    about = read_json(path)
    put(folder, key, about["videos"][key], arrays[key])
    path.write_text(json.dumps(about))
    with pytest.raises(DataError, match=message) as error:
        keras_attn.features(data, from_=folder)
    assert "theirs" in str(error.value).partition(": ")[0]
    store = ImportedFeatures(data, "theirs")
    assert store.folder.exists() == (fault in LATE)
    assert not store.path(key).exists() and not [*store.folder.glob(".*")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": " "}, 'expected "encoder", a text, got'),
        ({"revision": 3}, 'expected "revision", a text, got 3; docs/features.md'),
        (
            {"sha256": None},
            "the encoder's weights as 64 hexadecimal digits, got nothing",
        ),
        ({"videos": []}, r'"videos", an object with an entry for each video, got \[\]'),
        ({"videos": {"a.mp4": {}}}, "no entry for 24 of the 24 usable videos .*it has 1, .*a.mp4"),
    ],
)
def test_a_provenance_that_lacks_something(places, change, message):
    data, folder, _ = places
    path = folder / "provenance.json"
    write_json(path, read_json(path) | change)
    with pytest.raises(DataError, match=message):
        keras_attn.features(data, from_=folder)
    assert not (data / "features").exists()


def test_a_folder_that_is_none(places):
    data, folder, _ = places
    (folder / "provenance.json").write_text("{")
    with pytest.raises(DataError, match="not valid JSON.*docs/features.md"):
        keras_attn.features(data, from_=folder)
    (folder / "provenance.json").unlink()
    with pytest.raises(DataError, match=r"provenance\.json: no such file; docs/features.md"):
        keras_attn.features(data, from_=folder)
    with pytest.raises(DataError, match="theirs2: no such folder"):
        keras_attn.features(data, from_=f"{folder}2")
    strange = folder.rename(folder.parent / "their features")
    (strange / "provenance.json").write_text("{}")
    with pytest.raises(DataError, match='expected "encoder"'):
        keras_attn.features(data, from_=strange)


def test_arguments_that_do_not_go_together(places):
    data, folder, _ = places
    for options, name in (({"size": 32}, "size"), ({"weights": None}, "weights")):
        with pytest.raises(UsageError, match=f"`from_` imports .*`{name}` cannot apply"):
            keras_attn.features(data, from_=folder, **options)
    with pytest.raises(UsageError, match="'their features' cannot be a name"):
        ImportedFeatures(data, "their features")
    recipe = RECIPES["structured_attention"]
    for changes in ({"cached": False}, {"input": "flow"}):
        with pytest.raises(UsageError, match="backbone=features:theirs needs cached=true and inp"):
            override(recipe, CHANGES | changes)


def test_a_name_that_features_of_a_backbone_have(places):
    data, folder, _ = places
    write_json(data / "features" / "theirs" / "provenance.json", {"backbone": "tiny"})
    with pytest.raises(UsageError, match="holds features of a backbone of this library"):
        keras_attn.features(data, from_=folder)


def test_features_that_were_not_imported_are_named_with_the_command(places):
    data, folder, _ = places
    recipe = override(RECIPES["structured_attention"], CHANGES)
    remedy = rf"Make them with: keras-attn features --from FOLDER/theirs --data {data}"
    with pytest.raises(DataError, match=rf"theirs/provenance\.json: no such file\. {remedy}"):
        open_source(data, recipe)
    keras_attn.features(data, from_=folder)
    ImportedFeatures(data, "theirs").path(first(data)).unlink()
    with pytest.raises(DataError, match=rf"1 of 24 usable videos .*{first(data)}\. {remedy}"):
        open_source(data, recipe)


def test_times_and_frames(rng):
    times = np.array([0.1, 0.5, 0.6, 2.0])
    seconds = np.sort(rng.uniform(0, 3, 40))
    expected = [min(range(4), key=lambda t: (abs(times[t] - s), t)) for s in seconds]
    assert nearest_positions(times, seconds).tolist() == expected
    assert nearest_positions(times[:1], seconds).tolist() == [0] * 40
    row = tables.Row("x", "", "x", frames=12, fps=10.0)
    assert frames_at(times, row).tolist() == [1, 5, 6, 11]


def test_positions_differ_from_frames():
    assert {positions(number) for number in range(24)} == {5, 6, 7, 8}  # of 12 frames each
