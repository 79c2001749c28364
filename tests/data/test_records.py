"""Records: whole or absent, resumed after a kill, and never a silently smaller set."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import damage
import numpy as np
import pytest
import tensorflow as tf

from keras_attn.data import records
from keras_attn.data.records import prepare, read_index
from keras_attn.datasets import tables
from keras_attn.datasets.scanning import scan
from keras_attn.decoding.frames import read_frames
from keras_attn.errors import DataError, UsageError, UserError
from keras_attn.utils import files


@pytest.fixture
def data(two_classes, tmp_path):
    """A scanned data folder of six videos of 6 to 8 frames, 48x64."""
    scan(two_classes, tmp_path / "data")
    return tmp_path / "data"


def parse(path):
    context, sequences = tf.io.parse_single_sequence_example(
        tf.io.read_file(str(path)),
        {
            "clip/label/index": tf.io.FixedLenFeature([], tf.int64),
            "video/id": tf.io.FixedLenFeature([], tf.string),
            "video/sha256": tf.io.FixedLenFeature([], tf.string),
            "video/fps": tf.io.FixedLenFeature([], tf.float32),
            "video/height": tf.io.FixedLenFeature([], tf.int64),
            "video/width": tf.io.FixedLenFeature([], tf.int64),
            "decoder": tf.io.FixedLenFeature([], tf.string),
            "short_side": tf.io.FixedLenFeature([], tf.int64),
            "quality": tf.io.FixedLenFeature([], tf.int64),
        },
        {"image/encoded": tf.io.FixedLenSequenceFeature([], tf.string)},
    )
    frames = [tf.io.decode_jpeg(one, channels=3).numpy() for one in sequences["image/encoded"]]
    return {key: value.numpy() for key, value in context.items()}, np.stack(frames)


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
        context, frames = parse(one.path)
        row = rows[one.id]
        assert frames.shape == (row.frames, 32, 43, 3) == (one.frames, one.height, one.width, 3)
        assert context["video/id"].decode() == row.id
        assert context["video/sha256"].decode() == row.sha256
        assert context["clip/label/index"] == one.label == ["Jump", "Run"].index(row.labels)
        assert (context["video/height"], context["video/width"]) == (48, 64)
        assert (context["video/fps"], context["short_side"], context["quality"]) == (25.0, 32, 95)
        assert context["decoder"].startswith(b"PyAV ")
        pictures, _ = read_frames(row.path, 32)
        grey = [0.299, 0.587, 0.114]  # JPEG halves the resolution of colour, not that of grey
        assert np.abs(frames @ grey - pictures @ grey).mean() < 2.5
    assert records.read_provenance(data)["short_side"] == 32


def test_colours_are_right_and_quality_counts(folder, tmp_path):
    colours = np.array([[250, 10, 10], [10, 200, 30], [20, 40, 230], [128, 128, 128]], "uint8")
    frames = np.repeat(np.repeat(colours[:, None, None], 32, 1), 48, 2)
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
def test_records_and_predictions_see_the_same_colours(folder, tmp_path, colorspace):
    colours = np.array([[220, 30, 40], [30, 200, 60], [40, 60, 210]], "uint8")
    frame = np.repeat(np.repeat(colours[None], 32, 1), 64, 0)
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
        assert np.abs(found - colours).max() <= 6, found


def test_records_do_not_depend_on_the_number_of_workers(data):
    prepare(data, workers=1)
    one = contents(data)
    for path in (data / "records").iterdir():
        path.unlink()
    prepare(data, workers=3)
    assert contents(data) == one


def test_what_is_complete_is_kept_and_the_rest_is_made_again(data):
    prepare(data)
    before = contents(data)
    assert prepare(data).lines()[0] == "6 usable videos: 0 records written, 6 kept, 0 failed"
    first, second, third = sorted((data / "records").glob("*.record"))[:3]
    first.write_bytes(before[first.name][:-1])  # cut
    flipped = bytearray(before[second.name])
    flipped[100] ^= 1
    second.write_bytes(flipped)  # the same size, another content
    third.unlink()
    summary = prepare(data)
    assert (summary.written, summary.kept) == (3, 3)
    assert contents(data) == before


def test_a_damaged_index_is_to_be_removed_and_then_made_again(data):
    prepare(data, short_side=32, quality=90)
    index = data / "records" / "index.csv"
    index.write_text("id\n")
    remedy = "Remove it. .*keras-attn prepare --short-side 32 --quality 90 --data"
    for refuses in (lambda: read_index(data), lambda: prepare(data, short_side=32, quality=90)):
        with pytest.raises(DataError, match=remedy):
            refuses()
    index.unlink()
    assert prepare(data, short_side=32, quality=90).written == 6


def test_two_processes_do_not_prepare_the_same_folder(data):
    prepare(data)
    with (
        files.locked(data / "records"),
        pytest.raises(UserError, match="another process prepares it"),
    ):
        prepare(data)
    assert prepare(data).kept == 6


def test_other_settings_are_refused_with_the_difference(data):
    prepare(data, short_side=32)
    with pytest.raises(UsageError, match="short_side is 32, expected 40.*remove that folder"):
        prepare(data, short_side=40)
    with pytest.raises(UsageError, match="quality is 95, expected 60"):
        prepare(data, short_side=32, quality=60)
    assert prepare(data, short_side=32).kept == 6
    for wrong in ({"quality": 0}, {"quality": 96}, {"short_side": 0}):
        with pytest.raises(UsageError, match="quality 1 to 95"):
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
    assert (summary.usable, summary.kept, summary.stale) == (5, 5, 2)
    assert "2 files in" in summary.notes[0] and "notes.txt" in summary.notes[0]
    assert summary.problems == () and summary.notes[0] in summary.lines()


def test_a_new_class_changes_labels_and_so_the_records(data, two_classes, sources):
    prepare(data)
    (two_classes / "Climb").mkdir()
    (two_classes / "Climb" / "a.avi").write_bytes(sources["part.avi"])
    scan(two_classes, data)
    assert prepare(data).written == 7
    for one in read_index(data):
        assert parse(one.path)[0]["clip/label/index"] == one.label


def test_a_full_disk_is_told_and_leaves_whole_records_only(data, monkeypatch):
    real = Path.write_bytes
    written = []

    def full_after_three(path, content):
        if len(written) == 3 and path.suffix == ".record":
            real(path, content[:100])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, content)
        written.extend([path] if path.suffix == ".record" else [])

    monkeypatch.setattr(Path, "write_bytes", full_after_three)
    with pytest.raises(UserError, match=r"\.record: .*No space left.*bytes .*are free"):
        prepare(data)
    monkeypatch.undo()
    assert len(contents(data)) == 3
    assert [path for path in (data / "records").iterdir() if path.name.startswith(".")] == []
    summary = prepare(data)
    assert (summary.written, summary.kept) == (3, 3)
    assert len(read_index(data)) == 6


def test_a_real_limit_on_file_size_leaves_nothing_half_written(data):
    code = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "from keras_attn.data.records import prepare\n"
        "from keras_attn.errors import UserError\n"
        "try:\n    prepare(sys.argv[1])\nexcept UserError as error:\n    print(error)\n"
    )
    done = run(code, data)
    assert "File too large" in done.stdout and "are free" in done.stdout
    assert contents(data) == {}
    left = sorted(path.name for path in (data / "records").iterdir())
    assert left == ["index.csv", "provenance.json"]
    assert prepare(data).written == 6


ROOT = Path(records.__file__).parents[2]


def run(code, data):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", code, str(data)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def leave_half_written(path):
    """Exactly what `files.staging` leaves when its process is killed inside it."""
    code = (
        "import os, signal, sys; from keras_attn.utils import files\n"
        "with files.staging(sys.argv[1]) as beside:\n"
        "    beside.write_bytes(b'half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert run(code, path).returncode == -signal.SIGKILL


def test_a_kill_midway_leaves_whole_records_and_the_next_run_finishes(data, tmp_path):
    whole = tmp_path / "whole"
    scan(tmp_path / "videos", whole)
    prepare(whole)
    code = (
        "import sys; from keras_attn.data.records import prepare; prepare(sys.argv[1], workers=1)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    process = subprocess.Popen([sys.executable, "-c", code, str(data)], env=environment)
    end = time.monotonic() + 60
    while not list((data / "records").glob("[!.]*.record")) and time.monotonic() < end:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left, expected = contents(data), contents(whole)
    assert left and all(expected[name] == content for name, content in left.items())
    leave_half_written(data / "records" / "cut.record")
    assert [path for path in (data / "records").iterdir() if path.name.startswith(".")]
    summary = prepare(data)
    assert summary.written + summary.kept == 6 and summary.stale == 0
    assert not [p for p in (data / "records").iterdir() if p.name.startswith(".")]
    assert contents(data) == expected
    assert len(read_index(data)) == 6
