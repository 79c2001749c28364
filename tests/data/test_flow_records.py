"""Flow beside the records: one plane fewer than frames, whole or absent, never of another kind."""

import json
import os
import re
import shutil
from pathlib import Path

import damage
import numpy as np
import pytest
import tensorflow as tf

import keras_attn
from keras_attn.cli.parser import main
from keras_attn.data import batches, flow_estimation, records
from keras_attn.data.flow_records import (
    check_flow_contents,
    extract_flow,
    flow_name,
    read_flow_index,
    read_flow_provenance,
)
from keras_attn.data.record_format import PLANES, RecordFile
from keras_attn.data.source import stream_provenance
from keras_attn.data.streams import Stream
from keras_attn.datasets import tables
from keras_attn.datasets.synthetic import write_dataset
from keras_attn.errors import DataError, UsageError
from keras_attn.flow import codec, estimate, settings

SIZE = {"width": 56, "height": 40}
FRAMES = 7


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A prepared data folder of four videos of 7 frames of 32 pixels; its videos beside it."""
    root = tmp_path_factory.mktemp("flow")
    write_dataset(root / "videos", scenes=1, seed=3, side=32, frames=FRAMES)
    keras_attn.scan(root / "videos", root / "data", workers=2)
    keras_attn.prepare(root / "data", workers=2)
    return root / "data"


@pytest.fixture
def data(original, tmp_path):
    """A copy to write to."""
    shutil.copytree(original, tmp_path / "data")
    return tmp_path / "data"


def dis(data, **options):
    return extract_flow(data, "dis", **SIZE, **options)


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).glob("[!.]*.record")}


def decoded(path):
    """The planes of a record: `(n, H, W, 2)` uint8."""
    return batches.decoded_planes(batches.encoded_planes(path)).numpy()


def pictures(path):
    """The frames of a record, stretched as for flow."""
    jpegs = batches.encoded_frames(path)
    frames = np.stack([tf.io.decode_jpeg(one, channels=3).numpy() for one in jpegs])
    return tf.image.resize(frames, (SIZE["height"], SIZE["width"]), antialias=True).numpy()


def test_a_plane_is_the_motion_from_its_frame_to_the_next(data, monkeypatch):
    before = contents(data / "records")
    monkeypatch.setattr(flow_estimation, "_PAIRS_AT_ONCE", 4)  # pieces of 4 and 2
    summary = dis(data)
    assert (summary.videos, summary.written, summary.kept, summary.failed) == (4, 4, 0, 0)
    assert summary.planes == 4 * (FRAMES - 1) and summary.problems == ()
    assert contents(data / "records") == before
    found = read_flow_index(data, "dis")
    assert [one.id for one in found] == [row.id for row in tables.read_manifest(data)]
    check_flow_contents(data, "dis", found)
    for one, record in zip(found, records.read_index(data), strict=True):
        planes, frames = decoded(one.path), pictures(record.path)
        assert planes.shape == (FRAMES - 1, 40, 56, 2) and one.planes == FRAMES - 1
        expected = np.asarray(codec.to_bytes(estimate(frames[:-1], frames[1:], "dis"))).astype(int)
        difference = np.abs(planes - expected)
        assert difference.mean() < 0.5 and difference.max() <= 4
        assert np.abs(planes[1:] - expected[:-1]).mean() > 4 * difference.mean()


def test_neither_pieces_nor_threads_show(data):
    dis(data, workers=1)
    whole = contents(data / "flow" / "dis")
    shutil.rmtree(data / "flow")
    seen = []
    dis(data, workers=3, progress=lambda *event: seen.append(event))
    assert contents(data / "flow" / "dis") == whole
    rows = tables.read_manifest(data)
    assert [event[:2] for event in seen] == [(k, 4) for k in (1, 2, 3, 4)]
    assert {event[2] for event in seen} == {row.id for row in rows}


def test_what_it_was_made_with_lies_beside_it(data):
    summary = dis(data, warped=True)
    made = read_flow_provenance(data, "dis_warped")
    assert made == json.loads(json.dumps(summary.settings))
    assert (made["method"], made["warped"], made["bound"]) == ("dis", True, 20.0)
    assert (made["width"], made["height"], made["quality"]) == (56, 40, 95)
    assert made["index_base"] == 0 and "frame k to frame k + 1" in made["planes"]
    assert made["settings"].items() >= settings("dis").items()
    assert made["settings"]["camera"]["sift"]["nfeatures"] == 500
    assert made["records"] == records.read_provenance(data)
    record = read_flow_index(data, "dis_warped")[2]
    with RecordFile(record.path, PLANES) as file:
        assert file.metadata == made | {"video": file.metadata["video"]}
        assert file.metadata["video"]["id"] == record.id and len(file) == FRAMES - 1


def test_warped_flow_lies_beside_and_is_another(data):
    dis(data)
    plain = contents(data / "flow" / "dis")
    summary = dis(data, warped=True)
    assert (summary.name, summary.written) == (flow_name("dis", True), 4)
    assert contents(data / "flow" / "dis") == plain
    assert contents(data / "flow" / "dis_warped") != plain
    assert dis(data).kept == 4


def test_wrong_arguments_are_refused_before_anything_is_written(data, tmp_path):
    for message, arguments in (
        ("`method` must be one of tvl1, dis", {"method": "hs"}),
        ("at least 16, got 340 x 15", {"height": 15}),
        ("`workers` must be at least 1, got 0", {"workers": 0}),
    ):
        with pytest.raises(UsageError, match=message):
            extract_flow(data, **({"method": "dis"} | arguments))
    shutil.rmtree(data / "records")
    with pytest.raises(DataError, match="provenance.json: no such file.*keras-attn prepare"):
        dis(data)
    assert not (data / "flow").exists()


def test_damaged_records_are_told_and_the_others_are_done(data, capsys):
    rows = tables.read_manifest(data)
    paths = [Path(one.path) for one in records.read_index(data)]
    content = bytearray(paths[1].read_bytes())
    content[len(content) // 2] ^= 1
    paths[1].write_bytes(content)
    paths[2].unlink()
    options = ["--method", "dis", "--width", "56", "--height", "40", "--workers", "1"]
    assert main(["flow", "--data", str(data), *options, "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert (found["videos"], found["written"], found["kept"], found["failed"]) == (4, 2, 0, 2)
    first, second = found["problems"]
    remedy = f"keras-attn prepare .*--data {data}"
    assert re.match(rf"{rows[1].id}: .*{paths[1].name}: .* is damaged.*{remedy}", first)
    assert re.match(rf"{rows[2].id}: its record is missing, .*{remedy}", second)
    assert main(["flow", "--data", str(data), *options]) == 3
    assert f"flow of 0 written, 2 kept, 2 failed\n{12} planes" in capsys.readouterr().out
    keras_attn.prepare(data, workers=1)
    assert main(["flow", "--data", str(data), *options, "--quiet"]) == 0


def test_a_single_frame_has_no_flow_and_new_labels_change_none(original, tmp_path):
    videos, data = tmp_path / "videos", tmp_path / "data"
    shutil.copytree(original.parent / "videos", videos)
    keras_attn.scan(videos, data, workers=2)
    keras_attn.prepare(data, workers=2)
    assert dis(data).written == 4
    (videos / "a").mkdir()  # the first class now, so that all other labels change
    (videos / "a" / "one.mkv").write_bytes(damage.encode(".mkv", "ffv1", damage.pictures(1)))
    shutil.rmtree(videos / "left")
    keras_attn.scan(videos, data, workers=2)
    keras_attn.prepare(data, workers=2)
    summary = dis(data)
    assert (summary.videos, summary.written, summary.kept, summary.failed) == (4, 0, 3, 1)
    assert summary.problems == (
        "a/one.mkv: has one frame, and flow needs two; take it out of the videos and scan again",
    )
    assert summary.orphans == 1 and "1 files in" in summary.notes[0]
    with pytest.raises(DataError, match="1 of these have one frame .*as a/one.mkv: take them out"):
        read_flow_index(data, "dis")


def test_the_remedy_is_the_command_with_the_settings_that_are_there(data):
    with pytest.raises(DataError, match="json: no such file.*extract-flow --method dis --warped"):
        read_flow_provenance(data, "dis_warped")
    dis(data)
    (data / "flow" / "dis" / "index.csv").unlink()
    with pytest.raises(DataError, match="extract-flow --method dis --width 56 --height 40 --data"):
        read_flow_index(data, "dis")


def test_a_record_that_flow_found_damaged_is_made_again_by_prepare(data):
    """The byte is wrong, size and time stamp are right: only who reads all of it can tell."""
    path = sorted((data / "records").glob("*.record"))[0]
    before, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert dis(data).failed == 1
    assert keras_attn.prepare(data, workers=1).written == 1
    assert dis(data).failed == 0


def test_flow_of_other_records_is_refused(data):
    dis(data)
    shutil.rmtree(data / "records")
    keras_attn.prepare(data, short_side=24, workers=1)
    with pytest.raises(DataError, match=r"short_side is 256, expected 24.*extract-flow"):
        stream_provenance(data, Stream("flow", "dis", 2))
