"""The data of a run: subsets, labels and readers, or an error that says what to run first."""

import dataclasses
import shutil
from pathlib import Path

import pytest
from small import SMALL

from keras_attn.data import records
from keras_attn.data.source import open_source, subset_labels
from keras_attn.datasets import tables
from keras_attn.errors import DataError, UsageError
from keras_attn.utils.files import read_json, write_json

VIDEO = dataclasses.replace(SMALL, cached=False)


@pytest.fixture
def data(tiny_features, tmp_path):
    return shutil.copytree(tiny_features, tmp_path / "data")


@pytest.mark.parametrize("recipe", [SMALL, VIDEO])
def test_subsets_hold_the_split_with_labels_and_files(tiny_features, recipe):
    source = open_source(tiny_features, recipe)
    split = tables.read_split(tiny_features)
    assert source.classes == ["down", "left", "right", "up"]
    for subset, videos in source.subsets.items():
        assert {v.id for v in videos} == {key for key, name in split.items() if name == subset}
        for video in videos:
            assert video.id.startswith(f"{source.classes[video.label]}/") and video.length == 12
            assert video.path.endswith(".npy" if recipe is SMALL else ".record")
    assert {subset: len(videos) for subset, videos in source.subsets.items()} == {
        "train": 12,
        "validation": 6,
        "test": 6,
    }
    assert len(source.clips("train")) == 48
    if recipe is SMALL:
        assert source.feature_shape[:2] == (4, 4)
        assert list(source.feature_shape) == source.provenance["shape"]
    else:
        assert source.feature_shape is None
    facts = source.facts()
    assert facts["classes"] == source.classes and facts["videos"]["train"] == 12
    assert ("weights_sha256" if recipe is SMALL else "quality") in facts["input"]


def test_folds(data):
    ids = list(tables.read_split(data))
    tables.write_split(data, {key: str(i % 3) for i, key in enumerate(ids)})
    subsets = subset_labels(data, fold=1)
    assert set(subsets) == {"train", "test"}
    assert sorted(subsets["test"]) == sorted(ids[1::3]) and len(subsets["train"]) == 16
    for fold in (None, 3, -1):
        with pytest.raises(UsageError, match=r"folds 0, 1, 2; say with `fold` which"):
            subset_labels(data, fold)


def test_a_fold_of_a_split_without_folds(tiny_features):
    with pytest.raises(UsageError, match="not folds; drop `fold`"):
        subset_labels(tiny_features, fold=0)


def test_several_labels_are_refused(data):
    rows = tables.read_manifest(data)
    tables.write_manifest(data, [dataclasses.replace(rows[0], labels="down|left"), *rows[1:]])
    with pytest.raises(DataError, match=r"down/v_down_g00_c01\.mp4: has 2 labels \(down\|left\)"):
        subset_labels(data)


MISSING = {
    "classes.txt": (SMALL, "classes.txt.*keras-attn scan"),
    "manifest.csv": (SMALL, "manifest.csv.*keras-attn scan"),
    "split.csv": (SMALL, "split.csv.*keras-attn split"),
    "features": (SMALL, "tiny-32/provenance.json: no such file.*keras-attn features"),
    "features/tiny-32/maps": (SMALL, "maps/provenance.json: no such file.*keras-attn features"),
    "features/tiny-32/maps/index.csv": (SMALL, "index.csv.*keras-attn features"),
    "features/tiny-32/backbone.weights.h5": (SMALL, "weights.h5: is not the.*keras-attn features"),
    "records": (VIDEO, "records.*keras-attn prepare"),
    "records/index.csv": (VIDEO, "index.csv.*keras-attn prepare"),
}


@pytest.mark.parametrize("name", MISSING)
def test_missing_files_are_named_with_the_verb_that_makes_them(data, name):
    recipe, message = MISSING[name]
    path = data / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(DataError, match=f"{message}.*--data {data}"):
        open_source(data, recipe)


def test_one_missing_record_is_named(data):
    next((data / "records").glob("left-v-left-g00*")).unlink()
    with pytest.raises(DataError, match=r"1 of 24 usable videos are missing.*left/v_left_g00"):
        open_source(data, VIDEO)
    assert open_source(data, SMALL).subsets["train"]


@pytest.mark.parametrize("read", [None, ("train", "validation")])
def test_a_wrong_bit_in_a_record_that_is_read_is_found(data, read):
    damaged = [r for r in records.read_index(data) if part_of(data, r.id) == "test"][1]
    content = bytearray(Path(damaged.path).read_bytes())
    content[len(content) // 2] ^= 1
    Path(damaged.path).write_bytes(content)
    if read:
        assert len(open_source(data, VIDEO, read=read).subsets["test"]) == 6
        return
    with pytest.raises(DataError, match=rf"{Path(damaged.path).name}: .*{damaged.id} is damaged"):
        open_source(data, VIDEO)
    assert open_source(data, SMALL).subsets["train"]


def part_of(data, video_id):
    return tables.read_split(data)[video_id]


def test_features_of_another_backbone_or_size_are_refused(data):
    path = data / "features" / "tiny-32" / "provenance.json"
    write_json(path, {**read_json(path), "backbone": "mobilenet_v2"})
    with pytest.raises(DataError, match="backbone is 'mobilenet_v2', expected 'tiny'"):
        open_source(data, SMALL)
    other = dataclasses.replace(SMALL, clips=dataclasses.replace(SMALL.clips, size=64))
    with pytest.raises(DataError, match="tiny-64/provenance.json: no such file"):
        open_source(data, other)


def test_features_of_other_records_or_other_weights_are_refused(data):
    (folder,) = (data / "features").iterdir()
    (made,) = folder.glob("*/provenance.json")
    for path, key in ((made, "weights_sha256"), (data / "records" / "provenance.json", "quality")):
        before = read_json(path)
        write_json(path, {**before, key: "another"})
        with pytest.raises(DataError, match="created with different settings.*another"):
            open_source(data, SMALL)
        write_json(path, before)
    open_source(data, SMALL)


def test_a_check_that_there_is_not_is_refused(tiny_features):
    with pytest.raises(UsageError, match="`check` must be quick or full, got 'ful'"):
        open_source(tiny_features, SMALL, check="ful")


def test_provenance_that_is_no_object_is_a_problem_of_the_data(data):
    (data / "records" / "provenance.json").write_text("[]")
    with pytest.raises(DataError, match="provenance.json: is damaged. Remove it.*prepare"):
        open_source(data, VIDEO)
