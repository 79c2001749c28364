"""Frames of one file; workers that hang, die or run out of memory."""

import os
import signal
import struct
import subprocess
import sys
import threading
import time

import damage
import numpy as np
import pytest

from keras_attn.decoding.frames import read_frames
from keras_attn.decoding.pool import Pool, Worker
from keras_attn.errors import DataError, UsageError, UserError

GIB = 2**30


def check(path):
    return {"operation": "check", "path": str(path)}


def test_frames_come_back_as_they_were(tmp_path):
    pictures = damage.pictures(7, 34, 52)
    (tmp_path / "x.mkv").write_bytes(damage.encode(".mkv", "ffv1", pictures, 30, "bgr0"))
    frames, info = read_frames(tmp_path / "x.mkv")
    assert frames.dtype == np.uint8
    np.testing.assert_array_equal(frames, pictures)
    known = {key: info[key] for key in ("frames", "promised", "fps", "width", "height")}
    assert known == {"frames": 7, "promised": 7, "fps": 30.0, "width": 52, "height": 34}
    assert info["bytes"] == os.path.getsize(tmp_path / "x.mkv")


@pytest.mark.parametrize("side, shape", [(20, (20, 26)), (40, (40, 52)), (90, (40, 52))])
def test_the_short_side_shrinks_and_never_grows(side, shape, tmp_path):
    (tmp_path / "x.mp4").write_bytes(damage.encode(".mp4", "mpeg4", damage.pictures(2, 40, 52)))
    frames, info = read_frames(tmp_path / "x.mp4", side)
    assert frames.shape == (2, *shape, 3)
    assert (info["height"], info["width"]) == (40, 52)


@pytest.mark.parametrize(
    "matrix, turns", [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)]
)
def test_a_phone_video_is_turned_upright(matrix, turns, tmp_path):
    data = damage.encode(".mp4", "mpeg4", damage.pictures(3, 32, 48), options={"b": "900000"})
    (tmp_path / "x.mp4").write_bytes(data)
    flat, _ = read_frames(tmp_path / "x.mp4")
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    turned = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    (tmp_path / "x.mp4").write_bytes(data[:at] + turned + data[at + 36 :])
    frames, info = read_frames(tmp_path / "x.mp4")
    np.testing.assert_array_equal(frames, np.rot90(flat, turns, axes=(1, 2)))
    assert (info["height"], info["width"]) == frames.shape[1:3]
    assert read_frames(tmp_path / "x.mp4", 16)[0].shape[1:3] == (
        (24, 16) if turns % 2 else (16, 24)
    )


def test_errors_name_path_problem_and_remedy(tmp_path):
    (tmp_path / "x.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match=r"x\.mp4: not a video: .*; copy or download it again"):
        read_frames(tmp_path / "x.mp4")
    with pytest.raises(DataError, match=r"gone\.mp4: unreadable: no such file; .*"):
        read_frames(tmp_path / "gone.mp4")
    with pytest.raises(DataError, match="unreadable: it is a folder; name the video files"):
        read_frames(tmp_path)


def test_more_frames_than_allowed_are_refused(tmp_path):
    (tmp_path / "x.mp4").write_bytes(damage.encode(".mp4", "mpeg4", damage.pictures(9)))
    size = 9 * damage.HEIGHT * damage.WIDTH * 3
    assert read_frames(tmp_path / "x.mp4", max_bytes=size)[0].nbytes == size
    with pytest.raises(DataError, match=r"too long: its first 8 frames \(0\.0 minutes\).*; cut"):
        read_frames(tmp_path / "x.mp4", max_bytes=size - 1)


def test_a_worker_that_waits_for_ever_is_killed_and_the_rest_succeeds(tmp_path, sources):
    (tmp_path / "good.avi").write_bytes(sources["part.avi"])
    os.mkfifo(tmp_path / "pipe.mp4")  # opening it waits for a writer that never comes
    paths = ["good.avi", "pipe.mp4", "good.avi", "pipe.mp4", "good.avi", "good.avi"]
    with Pool(2, 2 * GIB, timeout=1.5) as pool:
        answers = list(pool.map([check(tmp_path / path) for path in paths]))
    assert [answer.reason.partition(":")[0] for answer in answers] == [
        "too slow" if path == "pipe.mp4" else "" for path in paths
    ]
    assert [answer.info.get("frames") for answer in answers if not answer.reason] == [30] * 4
    assert "1.5 seconds; allow more time (timeout)" in answers[1].reason


@pytest.mark.parametrize(
    "sent, kind",
    [
        (signal.SIGSTOP, "too slow"),
        (signal.SIGSEGV, "decoder crashed"),
        (signal.SIGKILL, "out of memory"),
    ],
)
def test_whatever_befalls_a_worker_has_a_name(sent, kind, tmp_path, sources):
    (tmp_path / "good.avi").write_bytes(sources["part.avi"])
    os.mkfifo(tmp_path / "pipe.mp4")
    with Pool(1, 2 * GIB, timeout=2.0) as pool:
        process = pool.workers[0].process
        timer = threading.Timer(0.3, process.send_signal, [sent])
        timer.start()
        answers = list(pool.map([check(tmp_path / "pipe.mp4"), check(tmp_path / "good.avi")]))
        timer.join()
        assert pool.workers[0].process.pid != process.pid
    assert answers[0].reason.startswith(kind + ":")
    assert ("SIGSEGV" in answers[0].reason) == (sent == signal.SIGSEGV)
    assert answers[1].info["frames"] == 30 and not answers[1].reason


def test_leaving_a_pool_early_ends_its_workers(tmp_path, sources):
    (tmp_path / "good.avi").write_bytes(sources["part.avi"])
    os.mkfifo(tmp_path / "pipe.mp4")
    start = time.monotonic()
    with Pool(2, 2 * GIB, timeout=60.0) as pool:
        answers = pool.map([check(tmp_path / name) for name in ["good.avi"] + ["pipe.mp4"] * 9])
        assert next(answers).info["frames"] == 30
        processes = [worker.process for worker in pool.workers]
    assert all(process.poll() is not None for process in processes if process)
    assert time.monotonic() - start < 30


def test_a_worker_that_is_started_while_its_pool_is_left_ends_too(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    worker = Worker(2 * GIB, timeout=20.0)
    worker.kill()  # the thread that asks comes a moment late
    with pytest.raises(UserError, match="could not start"):
        worker.ask(check(tmp_path / "pipe.mp4"))
    assert worker.process is None


def jpeg(path):
    return {"operation": "jpeg", "path": str(path), "short_side": 20, "quality": 90}


def test_parts_are_read_as_they_come_and_none_is_kept(tmp_path, sources):
    """The worker has not ended its answer while the first parts are read: the pipe is full."""
    (tmp_path / "long.mkv").write_bytes(damage.encode(".mkv", "mpeg4", damage.pictures(400)))
    sizes = []

    def consume(request, parts):
        for part in parts:
            sizes.append(len(part))
            assert not parts.info and not parts.ended
        assert parts.info["frames"] == 400
        return "done"

    with Pool(1, 2 * GIB) as pool:
        (answer,) = pool.map([jpeg(tmp_path / "long.mkv")], consume)
    assert (answer.result, answer.reason, len(sizes)) == ("done", "", 400)
    assert sum(sizes) > 2 * 65_536  # more than a pipe holds


def test_an_error_of_who_reads_the_parts_is_raised_and_the_rest_is_dropped(tmp_path, sources):
    (tmp_path / "good.avi").write_bytes(sources["part.avi"])
    worker = Worker(2 * GIB, timeout=20.0)

    def refuse(request, parts):
        next(iter(parts))
        raise UserError("the disk is full")

    with pytest.raises(UserError, match="disk is full"):
        worker.ask(jpeg(tmp_path / "good.avi"), refuse)
    assert worker.ask(check(tmp_path / "good.avi")).info["frames"] == 30
    worker.close()


@pytest.mark.parametrize("sent", [b"\xff" * 8, b"\x05" + bytes(7) + b"ab", bytes(8) + b"no json\n"])
def test_what_no_worker_sends_is_a_crash(tmp_path, sent):
    """A process that a hostile file has taken over can claim any size."""
    worker = Worker(2 * GIB, timeout=20.0)
    code = f"import sys; sys.stdin.readline(); sys.stdout.buffer.write({sent!r})"
    worker.process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    answer = worker.ask(check(tmp_path / "x.mp4"))
    assert answer.reason and worker.process is None


def test_huge_frames_stay_within_the_memory_limit_or_are_named(tmp_path):
    stripes = np.zeros((1, 10000, 10000, 3), "uint8")
    stripes[:, ::100] = 200
    data = damage.encode(".mkv", "ffv1", stripes)
    (tmp_path / "huge.mkv").write_bytes(data)
    frames, info = read_frames(tmp_path / "huge.mkv", 64)
    assert frames.shape == (1, 64, 64, 3) and info["width"] == 10000
    with pytest.raises(DataError, match=r"out of memory: .*; allow more memory \(memory_gib\)"):
        read_frames(tmp_path / "huge.mkv", 64, memory_gib=0.5)


def test_a_hostile_folder_cannot_replace_the_modules_of_a_worker(tmp_path, sources, monkeypatch):
    (tmp_path / "good.avi").write_bytes(sources["part.avi"])
    for name in ("av", "numpy", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    assert len(read_frames("good.avi")[0]) == 30


@pytest.mark.parametrize(
    "arguments",
    [(0, GIB, 1.0), (-1, GIB, 1.0), (1, 100, 1.0), (1, GIB, 0.0), (1, GIB, float("nan"))],
)
def test_impossible_limits_are_refused(arguments):
    with pytest.raises(UsageError, match="must be"):
        Pool(*arguments)
