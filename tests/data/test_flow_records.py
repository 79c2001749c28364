"""Flow beside the records: one plane fewer than frames, whole or absent, never of another kind."""

import errno
import json
import re
import shutil
from pathlib import Path

import damage
import numpy as np
import pytest
import tensorflow as tf

import keras_attn
from keras_attn.cli.parser import main
from keras_attn.data import batches, flow_estimation, record_index
from keras_attn.data.flow_records import (
    check_flow_contents,
    extract_flow,
    flow_name,
    read_flow_index,
    read_flow_provenance,
)
from keras_attn.datasets import tables
from keras_attn.datasets.synthetic import write_dataset
from keras_attn.errors import DataError, UsageError, UserError
from keras_attn.flow import codec, estimate, settings
from keras_attn.utils import files

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
    lists = batches.encoded_planes(tf.io.read_file(str(path)))
    components = [[tf.io.decode_jpeg(one).numpy() for one in some] for some in lists]
    return np.concatenate([np.stack(some) for some in components], axis=-1)


def pictures(path):
    """The frames of a record, stretched as for flow."""
    jpegs = batches.encoded_frames(tf.io.read_file(str(path)))
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
    for one, record in zip(found, record_index.read_index(data), strict=True):
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
    assert made["records"] == record_index.read_provenance(data)
    record = read_flow_index(data, "dis_warped")[2]
    example = tf.train.SequenceExample.FromString(Path(record.path).read_bytes())
    context = example.context.feature
    assert context["video/id"].bytes_list.value == [record.id.encode()]
    assert context["flow/method"].bytes_list.value == [b"dis"]
    sizes = [context[f"flow/{key}"].int64_list.value[0] for key in ("width", "height", "warped")]
    assert sizes == [56, 40, 1]


def test_warped_flow_lies_beside_and_is_another(data):
    dis(data)
    plain = contents(data / "flow" / "dis")
    summary = dis(data, warped=True)
    assert (summary.name, summary.written) == (flow_name("dis", True), 4)
    assert contents(data / "flow" / "dis") == plain
    assert contents(data / "flow" / "dis_warped") != plain
    assert dis(data).kept == 4


def test_what_is_complete_is_kept_and_the_rest_is_made_again(data):
    dis(data)
    folder = data / "flow" / "dis"
    before, index = contents(folder), (folder / "index.csv").read_text()
    assert dis(data).lines()[0] == "4 usable videos: flow of 0 written, 4 kept, 0 failed"
    first, second, third, _ = sorted(folder.glob("*.record"))
    first.write_bytes(before[first.name][:-1])  # cut
    flipped = bytearray(before[second.name])
    flipped[len(flipped) // 2] ^= 1
    second.write_bytes(flipped)  # the same size, another content
    third.unlink()
    summary = dis(data)
    assert (summary.written, summary.kept, summary.failed) == (3, 1, 0)
    assert contents(folder) == before and (folder / "index.csv").read_text() == index


def test_what_a_stopped_run_left_is_taken_up(data):
    folder = data / "flow" / "dis"

    def stop(done, total, text):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dis(data, workers=1, progress=stop)
    entries = tables.read_table(folder / "index.csv", ("id",), "")
    assert len(entries) == 2
    # As a killed run leaves it: a file that was being written, and one that no index names.
    (folder / ".0123abcd-cut.record").write_bytes(b"half")
    files.write_atomic(folder / "index.csv", (folder / "index.csv").read_text().rsplit("\n", 2)[0])
    with pytest.raises(DataError, match="3 of 4 usable videos.*flow .*/data --method dis --width"):
        read_flow_index(data, "dis")
    summary = dis(data)
    assert (summary.written, summary.kept, summary.stale) == (3, 1, 0)
    assert not list(folder.glob(".*")) and len(read_flow_index(data, "dis")) == 4


def test_other_settings_are_refused_with_the_difference(data):
    dis(data)
    with pytest.raises(UsageError, match="width is 56, expected 64.*remove that folder"):
        extract_flow(data, "dis", width=64, height=40)
    made = record_index.read_provenance(data) | {"quality": 80}
    files.write_json(data / "records" / "provenance.json", made)
    with pytest.raises(UsageError, match="records is .*'quality': 95.*expected .*'quality': 80"):
        dis(data)


def test_wrong_arguments_are_refused_before_anything_is_written(data, tmp_path):
    for message, arguments in (
        ("method must be one of tvl1, dis", {"method": "hs"}),
        ("at least 16, got 340 x 15", {"height": 15}),
        ("workers must be at least 1, got 0", {"workers": 0}),
    ):
        with pytest.raises(UsageError, match=message):
            extract_flow(data, **({"method": "dis"} | arguments))
    shutil.rmtree(data / "records")
    with pytest.raises(DataError, match="provenance.json: no such file.*keras-attn prepare"):
        dis(data)
    assert not (data / "flow").exists()


def test_two_processes_do_not_make_the_same_flow(data):
    dis(data)
    with files.locked(data / "flow" / "dis"), pytest.raises(UserError, match="another process"):
        dis(data)


def test_damaged_records_are_told_and_the_others_are_done(data, capsys):
    rows = tables.read_manifest(data)
    paths = [Path(one.path) for one in record_index.read_index(data)]
    content = bytearray(paths[1].read_bytes())
    content[len(content) // 2] ^= 1
    paths[1].write_bytes(content)
    paths[2].unlink()
    options = ["--method", "dis", "--width", "56", "--height", "40", "--workers", "1"]
    assert main(["flow", str(data), *options, "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert (found["videos"], found["written"], found["kept"], found["failed"]) == (4, 2, 0, 2)
    first, second = found["problems"]
    remedy = f"keras-attn prepare .*--data {data}"
    assert re.match(rf"{rows[1].id}: its record {paths[1].name} is damaged\. .*{remedy}", first)
    assert re.match(rf"{rows[2].id}: its record is missing, .*{remedy}", second)
    assert main(["flow", str(data), *options]) == 3
    assert f"flow of 0 written, 2 kept, 2 failed\n{12} planes" in capsys.readouterr().out
    keras_attn.prepare(data, workers=1)
    assert main(["flow", str(data), *options, "--quiet"]) == 0


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
    assert summary.stale == 1 and "1 files in" in summary.notes[0]
    with pytest.raises(DataError, match="1 of these have one frame .*as a/one.mkv: take them out"):
        read_flow_index(data, "dis")


def test_a_full_disk_ends_the_run_and_leaves_whole_records_only(data, monkeypatch):
    real, written = Path.write_bytes, []

    def full_after_two(path, content):
        if len(written) == 2 and path.suffix == ".record":
            real(path, content[:100])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, content)
        written.extend([path] if path.suffix == ".record" else [])

    monkeypatch.setattr(Path, "write_bytes", full_after_two)
    with pytest.raises(UserError, match=r"\.record: .*No space left.*bytes .*are free"):
        dis(data, workers=1)
    monkeypatch.undo()
    folder = data / "flow" / "dis"
    assert len(contents(folder)) == 2 and not list(folder.glob(".*"))
    assert (dis(data).kept, len(read_flow_index(data, "dis"))) == (2, 4)


def test_the_reader_names_what_is_missing_or_damaged(data):
    with pytest.raises(DataError, match="json: no such file.*flow .* --method dis --warped"):
        read_flow_provenance(data, "dis_warped")
    with pytest.raises(DataError, match="index.csv: no such file.*Make it with: keras-attn flow"):
        read_flow_index(data, "dis")
    dis(data)
    found = read_flow_index(data, "dis")
    content = bytearray(Path(found[1].path).read_bytes())
    content[-9] ^= 1
    Path(found[1].path).write_bytes(content)
    message = rf"the flow of {found[1].id} is damaged.*--width 56 --height 40 \(what is complete"
    with pytest.raises(DataError, match=message):
        check_flow_contents(data, "dis", found)
    Path(found[1].path).unlink()
    with pytest.raises(DataError, match=f"1 of 4 usable videos is missing.*{found[1].id}"):
        read_flow_index(data, "dis")
    (data / "flow" / "dis" / "index.csv").write_text("id\n")
    for refuses in (lambda: read_flow_index(data, "dis"), lambda: dis(data)):
        with pytest.raises(DataError, match="columns .* are missing. Remove it. Make it with"):
            refuses()
