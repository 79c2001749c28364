"""Any frame of a record is read by itself: how much is read does not depend on its length."""

import os

import numpy as np
import pytest
import tensorflow as tf

from keras_attn.data import record_format
from keras_attn.data.record_format import (
    FRAMES,
    PLANES,
    RecordFile,
    encoded_frames,
    encoded_planes,
    record_bytes,
)
from keras_attn.errors import DataError


def write(path, items, per_position=FRAMES, metadata=None):
    with open(path, "wb") as file:
        for piece in record_bytes(items, per_position, metadata or {}):
            file.write(piece)
    return path


def items(count):
    """Short strings of bytes, all different, with zeros at their ends."""
    return [b"jpeg %d" % number + bytes(number % 3) for number in range(count)]


def test_what_was_written_is_read(tmp_path):
    facts = {"video": {"id": "ä/x.mp4"}, "fps": 25.0}
    path = write(tmp_path / "x.record", items(7), metadata=facts)
    with RecordFile(path) as record:
        assert len(record) == 7 and record.metadata == facts
        assert [record.read(i)[0] for i in range(7)] == items(7)
        for position in (-1, 7):
            with pytest.raises(DataError, match=f"x.record: has 7 positions, none is {position}"):
                record.read(position)
    assert encoded_frames(path).numpy().tolist() == items(7)
    chosen = encoded_frames(str(path), tf.constant([6, 0, 0, 2]))
    assert chosen.numpy().tolist() == [items(7)[i] for i in (6, 0, 0, 2)]


def test_planes_are_pairs(tmp_path):
    path = write(tmp_path / "x.record", items(8), PLANES)
    with RecordFile(path, PLANES) as record:
        assert len(record) == 4 and record.read(3) == items(8)[6:]
    x, y = encoded_planes(path)
    assert [*x.numpy()] == items(8)[::2] and [*y.numpy()] == items(8)[1::2]
    x, y = encoded_planes(path, [2])
    assert [*x.numpy(), *y.numpy()] == items(8)[4:6]


@pytest.mark.parametrize("per_position", [FRAMES, PLANES])
def test_sixteen_frames_cost_the_same_in_a_long_video(tmp_path, monkeypatch, per_position):
    """By what is asked of the system: one file opened, and so many bytes read."""
    pread, opened, costs = os.pread, os.open, []
    for length in (32, 150, 30_000):
        jpegs = (b"x" * 100 for _ in range(length * per_position))
        path = write(tmp_path / "x.record", jpegs, per_position)
        read, files = [], []
        monkeypatch.setattr(os, "pread", lambda *a, r=read: r.append(a[1]) or pread(*a))
        monkeypatch.setattr(os, "open", lambda *a, f=files: f.append(a[0]) or opened(*a))
        positions = np.linspace(0, length - 1, 16).astype("int32")
        read_some = encoded_frames if per_position == FRAMES else encoded_planes
        found = read_some(str(path), positions)
        monkeypatch.undo()
        assert tf.size(found) == 16 * per_position
        costs.append((files.count(str(path)), len(read), sum(read)))
    assert costs[0] == costs[1] == costs[2]
    assert costs[0] == (1, 33, 32 + 16 * (8 * (per_position + 1) + 100 * per_position))


def test_a_writer_holds_one_jpeg(tmp_path):
    held = []

    def jpegs():
        for _ in range(50):
            held.append(bytearray(10))
            yield held.pop()

    for piece in record_bytes(jpegs(), FRAMES, {}):
        assert not held and len(piece) <= 8 * 51
    with pytest.raises(RuntimeError, match="boom"):
        list(record_bytes(iter(lambda: _raise(), None), FRAMES, {}))


def _raise():
    raise RuntimeError("boom")


@pytest.mark.parametrize("keep", [0, 1, 31, 32, 40, -1, -32, -60])
def test_a_cut_record_is_named(tmp_path, keep):
    path = write(tmp_path / "x.record", items(5))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"x\.record: damaged: it does not end as a record"):
        RecordFile(path)


def test_every_flipped_byte_of_the_end_is_harmless_or_named(tmp_path):
    """No table, count or length makes a reader read elsewhere or take memory that is not there."""
    path = write(tmp_path / "x.record", items(5), metadata={"a": 1})
    content = path.read_bytes()
    for place in range(len(content) - 32 - 7 - 48, len(content)):
        for bit in (1, 128):
            flipped = bytearray(content)
            flipped[place] ^= bit
            path.write_bytes(flipped)
            try:
                with RecordFile(path) as record:
                    found = [record.read(position)[0] for position in range(len(record))]
                assert sum(map(len, found)) <= len(content)
            except DataError as error:
                assert str(error).startswith(str(path))


def test_another_kind_and_a_missing_file_are_named(tmp_path):
    path = write(tmp_path / "x.record", items(4))
    with pytest.raises(DataError, match=r"x\.record: damaged: expected planes of flow, not frames"):
        RecordFile(path, PLANES)
    with pytest.raises(DataError, match=r"gone\.record: cannot be read \(No such file"):
        RecordFile(tmp_path / "gone.record")
    with pytest.raises(tf.errors.OpError, match=r"gone\.record: cannot be read"):
        tf.function(encoded_frames)(tf.constant(str(tmp_path / "gone.record")))


def test_threads_read_one_file_at_once(tmp_path):
    path = str(write(tmp_path / "x.record", items(300)))
    options = tf.data.Options()
    options.threading.private_threadpool_size = 16
    numbers = tf.data.Dataset.range(300).repeat(3)
    dataset = numbers.map(
        lambda i: encoded_frames(path, i[None])[0], num_parallel_calls=16, deterministic=True
    )
    assert [*dataset.with_options(options).as_numpy_iterator()] == items(300) * 3


def test_no_files_stay_open(tmp_path):
    path = write(tmp_path / "x.record", items(3))
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        encoded_frames(path)
        with pytest.raises(DataError):
            RecordFile(path, PLANES)
    assert len(os.listdir("/dev/fd")) == before
    assert record_format.SUFFIX == ".record"
