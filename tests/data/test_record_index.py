"""The reader of records names what is missing, damaged or not for it."""

import dataclasses
from pathlib import Path

import pytest

from keras_attn.data.record_index import check_contents, read_index
from keras_attn.data.records import prepare
from keras_attn.datasets import tables
from keras_attn.datasets.scanning import scan
from keras_attn.errors import DataError


@pytest.fixture
def data(two_classes, tmp_path):
    """A scanned data folder of six videos of 6 to 8 frames, 48x64."""
    scan(two_classes, tmp_path / "data")
    return tmp_path / "data"


def test_the_reader_names_missing_and_damaged_records(data):
    with pytest.raises(DataError, match="index.csv: no such file.*keras-attn prepare"):
        read_index(data)
    prepare(data)
    path = sorted((data / "records").glob("*.record"))[0]
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(DataError, match="1 of 6 usable videos.*v_Jump_g01_c00"):
        read_index(data)
    path.unlink()
    with pytest.raises(DataError, match="1 of 6 usable videos.*v_Jump_g01_c00"):
        read_index(data)
    index = data / "records" / "index.csv"
    index.write_text("".join(index.read_text().splitlines(keepends=True)[:-2]))
    with pytest.raises(DataError, match="3 of 6 usable videos"):
        read_index(data)


def test_contents_are_held_against_the_index(data):
    prepare(data)
    found = read_index(data)
    check_contents(data, found)
    path = Path(found[2].path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path.name}: .*{found[2].id}.*prepare .*--data {data}"):
        check_contents(data, read_index(data))
    check_contents(data, [one for one in found if one is not found[2]])


def test_several_labels_are_kept_but_not_read_as_one(data):
    rows = tables.read_manifest(data)
    both = dataclasses.replace(rows[0], labels="Jump|Run")
    tables.write_manifest(data, [both, *rows[1:]])
    assert prepare(data).written == 6
    with pytest.raises(DataError, match="1 videos have several labels, the first is"):
        read_index(data)
