"""Records hold the frames of the videos that were scanned, and never a silently smaller set."""

import dataclasses

import av
import damage
import numpy as np
import pytest
import tensorflow as tf

from keras_attn.data import records
from keras_attn.data.record_format import RecordFile
from keras_attn.data.records import RecordStore, prepare, read_index
from keras_attn.datasets import tables
from keras_attn.datasets.scanning import scan
from keras_attn.decoding.frames import read_frames
from keras_attn.errors import DataError, UsageError


@pytest.fixture
def data(two_classes, tmp_path):
    """A scanned data folder of six videos of 6 to 8 frames, 48x64."""
    scan(two_classes, tmp_path / "data")
    return tmp_path / "data"


def parse(path):
    """The metadata and the frames of a record."""
    with RecordFile(path) as record:
        jpegs = [record.read(position)[0] for position in range(len(record))]
        return record.metadata, np.stack([tf.io.decode_jpeg(one, 3).numpy() for one in jpegs])


def contents(data):
    return {path.name: path.read_bytes() for path in (data / "records").glob("[!.]*.record")}


def test_a_record_holds_the_frames_and_where_they_come_from(data):
    summary = prepare(data, short_side=32, workers=2)
    assert (summary.usable, summary.written, summary.kept, summary.failed) == (6, 6, 0, 0)
    assert summary.problems == () and summary.frames == 42
    rows = {row.id: row for row in tables.read_manifest(data)}
    found = read_index(data)
    assert [one.id for one in found] == list(rows)
    for one in found:
        facts, frames = parse(one.path)
        row = rows[one.id]
        assert frames.shape == (row.frames, 32, 43, 3) == (one.frames, one.height, one.width, 3)
        assert one.label == ["Jump", "Run"].index(row.labels) == int(one.entry["label"])
        video = {"id": row.id, "sha256": row.sha256, "fps": 25.0, "height": 48, "width": 64}
        assert facts == {"video": video, **records.read_provenance(data)}
        assert facts["decoder"].startswith("PyAV ") and facts["quality"] == 95
        pictures, _ = read_frames(row.path, 32)
        gray = [0.299, 0.587, 0.114]  # JPEG halves the resolution of color, not that of gray
        assert np.abs(frames @ gray - pictures @ gray).mean() < 2.5
    assert records.read_provenance(data)["short_side"] == 32


def test_colors_are_right_and_quality_counts(folder, tmp_path):
    colors = np.array([[250, 10, 10], [10, 200, 30], [20, 40, 230], [128, 128, 128]], "uint8")
    frames = np.repeat(np.repeat(colors[:, None, None], 32, 1), 48, 2)
    made = {
        f"{name}/x.mkv": damage.encode(".mkv", "ffv1", frames[::step], pixels="bgr0")
        for name, step in (("A", 1), ("B", -1))
    }
    root = folder(made)
    scan(root, tmp_path / "fine")
    prepare(tmp_path / "fine")
    _, decoded = parse(read_index(tmp_path / "fine")[0].path)
    assert np.abs(decoded.astype(int) - frames).max() <= 4
    scan(root, tmp_path / "coarse")
    assert prepare(tmp_path / "coarse", quality=20).bytes < prepare(tmp_path / "fine").bytes


@pytest.mark.parametrize("colorspace", [1, 5])  # BT.709, as HD video, and BT.601
def test_records_and_predictions_see_the_same_colors(folder, tmp_path, colorspace):
    colors = np.array([[220, 30, 40], [30, 200, 60], [40, 60, 210]], "uint8")
    frame = np.repeat(np.repeat(colors[None], 32, 1), 64, 0)
    path = folder({"A/x.mp4": b"", "B/y.mp4": b""}) / "A" / "x.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "5"})
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        stream.codec_context.colorspace = colorspace
        for _ in range(4):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture = picture.reformat(format="yuv420p", dst_colorspace=colorspace)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    scan(path.parents[1], tmp_path / "data")
    prepare(tmp_path / "data", short_side=32)
    _, decoded = parse(read_index(tmp_path / "data")[0].path)
    frames, _ = read_frames(path, 32)
    for video in (decoded, frames):
        found = video[2, 16, [8, 24, 40]].astype(int)
        assert np.abs(found - colors).max() <= 6, found


def test_records_do_not_depend_on_the_number_of_workers(data):
    prepare(data, workers=1)
    one = contents(data)
    for path in (data / "records").iterdir():
        path.unlink()
    prepare(data, workers=3)
    assert contents(data) == one


def test_the_remedy_is_the_command_with_the_settings_that_are_there(data):
    prepare(data, short_side=32, quality=90)
    with pytest.raises(DataError, match="different settings: short_side is 32, expected 256; qual"):
        prepare(data)
    (data / "records" / "index.csv").unlink()
    with pytest.raises(DataError, match="keras-attn prepare --short-side 32 --quality 90 --data"):
        read_index(data)
    for wrong in ({"quality": 0}, {"quality": 96}, {"short_side": 0}):
        with pytest.raises(UsageError, match="`quality` 1 to 95"):
            prepare(data, **wrong)


def test_a_video_that_changed_or_went_is_named_and_the_others_are_prepared(data, two_classes):
    gone, changed = "Run/v_Run_g01_c00.mp4", "Jump/v_Jump_g02_c02.mp4"
    (two_classes / gone).unlink()
    (two_classes / changed).write_bytes((two_classes / "Jump/v_Jump_g01_c00.mp4").read_bytes())
    summary = prepare(data, workers=2)
    assert (summary.written, summary.kept, summary.failed) == (4, 0, 2)
    assert any(line.startswith(f"{gone}: unreadable: no such file;") for line in summary.problems)
    assert any(line.startswith(f"{changed}: changed: ") for line in summary.problems)
    with pytest.raises(DataError, match="2 of 6 usable videos"):
        read_index(data)


def test_records_of_no_video_are_reported(data, two_classes):
    prepare(data)
    (two_classes / "Run/v_Run_g01_c00.mp4").unlink()
    scan(two_classes, data)
    (data / "records" / "notes.txt").write_text("mine")
    summary = prepare(data)
    assert (summary.usable, summary.kept, summary.orphans) == (5, 5, 2)
    assert "2 files in" in summary.notes[0] and "notes.txt" in summary.notes[0]
    assert summary.problems == () and summary.notes[0] in summary.lines()


def test_a_new_class_changes_the_labels_and_no_record(data, two_classes, sources):
    prepare(data)
    (two_classes / "Climb").mkdir()
    (two_classes / "Climb" / "a.avi").write_bytes(sources["part.avi"])
    scan(two_classes, data)
    summary = prepare(data)
    assert (summary.written, summary.kept) == (1, 6)
    found = read_index(data)
    assert {one.label for one in found} == {0, 1, 2}
    assert [one.entry["label"] for one in found] == [str(one.label) for one in found]


def test_several_labels_are_kept_but_not_read_as_one(data):
    rows = tables.read_manifest(data)
    both = dataclasses.replace(rows[0], labels="Jump|Run")
    tables.write_manifest(data, [both, *rows[1:]])
    assert prepare(data).written == 6
    assert RecordStore(data).entries()[rows[0].id]["label"] == "0|1"
    with pytest.raises(DataError, match="1 videos have several labels, the first is"):
        read_index(data)


def test_records_of_an_older_version_are_made_again(data):
    folder = data / "records"
    folder.mkdir()
    (folder / "index.csv").write_text("id,file,frames,height,width,bytes,sha256,source,label\n")
    with pytest.raises(DataError, match="has no column mtime_ns, .* Remove it. Make them with: "):
        prepare(data)
    (folder / "index.csv").unlink()
    old = RecordStore(data).path(tables.read_manifest(data)[0].id)
    old.write_bytes(tf.train.SequenceExample().SerializeToString() + bytes(99))
    with pytest.raises(DataError, match=f"{old.name}: .*an older version wrote it.*run again"):
        parse(old)
    assert prepare(data).written == 6
