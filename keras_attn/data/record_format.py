"""The file of a record: the JPEGs of a video, any of which is read without the others.

    8 bytes         "KARECORD"
    JPEGs           one after the other: of frame 0, frame 1, ...; of flow: x and y of plane 0, x
                    and y of plane 1, ...
    table           where each JPEG begins and the last one ends: unsigned 64-bit little-endian
    metadata        JSON: which video it is, and how the record was made
    32 bytes        JPEGs per position (1 or 2), JPEGs, bytes of metadata, then "KARECORD"

A reader takes the last 32 bytes, the two or three numbers of the table that it needs, and the JPEGs
between them, whatever the length of the video. A writer goes from start to end and holds one JPEG
and the table: 8 bytes per JPEG.
"""

import array
import json
import os
import struct
import sys

import numpy as np

from keras_attn.errors import DataError

SUFFIX = ".record"
FRAMES, PLANES = 1, 2  # JPEGs per position
_KINDS = {FRAMES: "frames", PLANES: "planes of flow"}
_MAGIC = b"KARECORD"
_END = struct.Struct("<QQQ8s")
_NUMBER = 8  # bytes


def record_bytes(jpegs, per_position: int, metadata: dict):
    """Yield the bytes of a record in pieces; `jpegs` is iterated over once and never held."""
    yield _MAGIC
    places = array.array("Q", [len(_MAGIC)])
    for jpeg in jpegs:
        yield jpeg
        places.append(places[-1] + len(jpeg))
    if sys.byteorder == "big":
        places.byteswap()
    facts = json.dumps(metadata).encode()
    yield places.tobytes()
    yield facts
    yield _END.pack(per_position, len(places) - 1, len(facts), _MAGIC)


class RecordFile:
    """An open record, a context manager. Whatever is wrong is a `DataError` that names the file."""

    def __init__(self, path, per_position: int = FRAMES):
        self.path = os.fsdecode(path)
        try:
            self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror})") from None
        try:
            self._find_table(per_position)
        except BaseException:
            self.close()
            raise

    def _find_table(self, per_position):
        size = os.fstat(self._file).st_size
        end = self._read(max(0, size - _END.size), min(size, _END.size))
        found, jpegs, facts, magic = _END.unpack(end.rjust(_END.size, b"\0"))
        self._facts = (size - _END.size - facts, facts)
        self._table = self._facts[0] - _NUMBER * (jpegs + 1)
        if magic != _MAGIC or not jpegs or self._table < len(_MAGIC):
            raise self._damaged("it does not end as a record does (or an older version wrote it)")
        if found != per_position or jpegs % per_position:
            raise self._damaged(f"expected {_KINDS[per_position]}, not {_KINDS.get(found, found)}")
        self._each, self._length = per_position, jpegs // per_position

    def __len__(self):
        """Positions: frames, or planes of both components."""
        return self._length

    @property
    def metadata(self) -> dict:
        """Which video it is of, and how it was made."""
        return json.loads(self._read(*self._facts))

    def read(self, position: int) -> list[bytes]:
        """The JPEGs of a position: one, or that of x and that of y."""
        if not 0 <= position < self._length:
            raise DataError(f"{self.path}: has {self._length} positions, none is {position}")
        numbers = struct.Struct(f"<{self._each + 1}Q")
        places = numbers.unpack(
            self._read(self._table + _NUMBER * self._each * position, numbers.size)
        )
        if not len(_MAGIC) <= places[0] <= places[-1] <= self._table or [*places] != sorted(places):
            raise self._damaged(f"its table is wrong at position {position}")
        found = self._read(places[0], places[-1] - places[0])
        cuts = [place - places[0] for place in places]
        return [found[start:end] for start, end in zip(cuts, cuts[1:], strict=False)]

    def _read(self, start, size):
        found = os.pread(self._file, size, start)
        if len(found) != size:
            raise self._damaged("it became shorter while it was read")
        return found

    def _damaged(self, why):
        return DataError(f"{self.path}: damaged: {why}; run again the command that makes it")

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


def encoded_frames(path, positions=None):
    """The JPEG strings `(n,)` of the frames of the record at `path`, by default of all.

    `path` is a text and `positions (n,)` integers, both may be tensors. Takes time by `n`, not by
    the length of the video. A damaged record is a `DataError` that names it, in a graph an
    `OpError` of TensorFlow.
    """
    return _encoded(path, positions, FRAMES)[0]


def encoded_planes(path, positions=None):
    """As `encoded_frames`, of a record of flow: the JPEG strings of x and of y, `(n,)` each."""
    return _encoded(path, positions, PLANES)


def _encoded(path, positions, per_position):
    import tensorflow as tf  # not for those who write records

    def read(path, *positions):
        with RecordFile(np.asarray(path).item(), per_position) as record:
            wanted = np.asarray(positions[0]).tolist() if positions else range(len(record))
            found = [record.read(position) for position in wanted]
        # As objects: an array of bytes would lose zeros at their ends.
        return np.array(found, object).reshape(len(found), per_position).T

    inputs = [path] if positions is None else [path, positions]
    # Python for a moment: TensorFlow has no op that reads a piece of a file.
    found = tf.numpy_function(read, inputs, tf.string, stateful=False)
    return tf.unstack(tf.ensure_shape(found, (per_position, None)))
