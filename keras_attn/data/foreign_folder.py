"""A folder of features that someone made elsewhere, as it is given to `keras-attn features`.

    FOLDER/provenance.json   encoder, revision, sha256, and of each video its file, the SHA-256 of
                             that file and the times of its features; see docs/features.md
           *.npy             (T, h, w, C) or (T, D) floats of one video; T may differ

Nothing here is trusted: each fault is a `DataError` that names the file, what was expected, what
was found and what to do.
"""

import hashlib
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_attn.errors import DataError, UserError
from keras_attn.utils.files import read_json

FORMAT = "docs/features.md describes the format"
LARGEST = 65504  # of float16
_BYTES_AT_ONCE = 2**24
_SHA256 = re.compile("[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class ArrayFile:
    """The header of a .npy file of features `shape`, whose values begin at byte `begin`."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    begin: int

    def pieces(self, digest=None):
        """The features a few positions at a time, float16; each value is finite.

        `digest.update` is called with all bytes of the file.
        """
        row = math.prod(self.shape[1:]) * self.dtype.itemsize
        done = 0
        with open(self.path, "rb") as file:
            head = file.read(self.begin)
            if digest:
                digest.update(head)
            while raw := file.read(max(_BYTES_AT_ONCE // row, 1) * row):
                if digest:
                    digest.update(raw)
                if len(raw) % row:
                    raise DataError(f"{self.path}: changed while it was read")
                yield self._half(np.frombuffer(raw, self.dtype).reshape(-1, *self.shape[1:]), done)
                done += len(raw) // row
        if done != self.shape[0]:
            raise DataError(f"{self.path}: changed while it was read")

    def _half(self, values, begin):
        with np.errstate(over="ignore"):
            half = values.astype("<f2")
        bad = ~np.isfinite(half).reshape(len(half), -1)
        if bad.any():
            row, place = np.argwhere(bad)[0]
            value = values.reshape(len(half), -1)[row, place]
            raise DataError(
                f"{self.path}: features must be finite and at most {LARGEST} (float16), got "
                f"{value} at position {begin + row} of {self.shape[0]}; make this file again"
            )
        return half


def open_array(path) -> ArrayFile:
    """Read the header of a .npy file of features; `DataError` unless it can hold some."""
    path = Path(path)
    try:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, fortran, dtype = read(file)
            begin, size = file.tell(), os.fstat(file.fileno()).st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, EOFError) as error:
        raise DataError(
            f"{path}: is no array that numpy.save writes ({error}). Write it with "
            "numpy.save(path, features)"
        ) from None
    if dtype.kind != "f" or dtype.itemsize > 8:
        stored = "Python objects, which are never loaded" if dtype.hasobject else str(dtype)
        raise DataError(
            f"{path}: holds {stored}, expected float16, float32 or float64. Write it with "
            'numpy.save(path, features.astype("float16"))'
        )
    if len(shape) not in (2, 4) or 0 in shape:
        raise DataError(
            f"{path}: has the shape {shape}, expected (T, h, w, C) or (T, D) of one video, with at "
            "least one position. Write one array for each video, without an axis for the batch"
        )
    if fortran:
        raise DataError(
            f"{path}: holds its array column by column, expected row by row. Write it with "
            "numpy.save(path, numpy.ascontiguousarray(features))"
        )
    expected = begin + math.prod(shape) * dtype.itemsize
    if size != expected:
        raise DataError(
            f"{path}: has {size} bytes, expected {expected} for {shape} {dtype}: it is truncated "
            "or damaged. Copy or make it again"
        )
    return ArrayFile(path, shape, dtype, begin)


@dataclass(frozen=True)
class ForeignVideo:
    """The file of a video, its SHA-256, and the time of each position in seconds, `(T,)`."""

    path: Path
    sha256: str
    times: np.ndarray

    def open(self, row) -> ArrayFile:
        """The file of the video of a manifest's row, as long as its times say."""
        array = open_array(self.path)
        if array.shape[0] != len(self.times):
            raise DataError(
                f"{self.path}: holds features of {array.shape[0]} positions, but provenance.json "
                f"gives {row.id} {len(self.times)} frame_times; it needs one for each position"
            )
        duration = row.frames / row.fps if row.fps else math.inf
        if self.times[-1] > duration + 1:
            raise DataError(
                f"{self.path}: the frame_times of {row.id} end at {self.times[-1]:g} s, but the "
                f"video lasts {duration:.1f} s ({row.frames} frames). Times are in seconds from "
                "its begin; if these are, the features are of another video"
            )
        return array

    def pieces(self, array: ArrayFile):
        """`array.pieces()`; at the end a `DataError` unless the file has the SHA-256 promised."""
        digest = hashlib.sha256()
        yield from array.pieces(digest)
        if digest.hexdigest() != self.sha256:
            raise DataError(
                f"{self.path}: has the SHA-256 {digest.hexdigest()}, but provenance.json says "
                f"{self.sha256}: the file was changed or damaged. Copy or make it again"
            )


class ForeignFolder:
    """The provenance of a folder of foreign features: `encoder`, `revision`, `sha256`, `videos`."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.path = self.folder / "provenance.json"
        if not self.folder.is_dir():
            raise DataError(f"{folder}: no such folder")
        try:
            found = read_json(self.path)
        except UserError as error:
            raise DataError(f"{error}; {FORMAT}") from None
        self.encoder, self.revision = (self._text(found, key) for key in ("encoder", "revision"))
        self.sha256 = self._sha256(found, "sha256", "the encoder's weights")
        videos = found.get("videos")
        if not isinstance(videos, dict) or not videos:
            raise self._wrong('"videos", an object with an entry for each video', videos)
        self._videos = videos

    def __contains__(self, video_id):
        return video_id in self._videos

    @property
    def ids(self):
        return self._videos.keys()

    def video(self, video_id: str) -> ForeignVideo:
        """The entry of a video, checked."""
        entry, of = self._videos[video_id], f" of {video_id}"
        file = Path(self._text(entry, "file", of))
        if file.is_absolute() or ".." in file.parts or file.suffix != ".npy":
            raise self._wrong(f'"file"{of}, the path of a .npy file below this folder', str(file))
        sha256 = self._sha256(entry, "sha256", f"the file{of}")
        return ForeignVideo(self.folder / file, sha256, self._times(entry, of))

    def _times(self, entry, of):
        what = f'"frame_times"{of}, rising numbers from 0, in seconds'
        given = entry.get("frame_times")
        if not isinstance(given, list) or any(type(time) not in (int, float) for time in given):
            raise self._wrong(what, given)
        times = np.array(given, "float64")
        rises = len(times) and times[0] >= 0 and (np.diff(times) > 0).all()
        if not rises or not np.isfinite(times).all():
            raise self._wrong(what, given)
        return times

    def _text(self, found, key, of=""):
        value = found.get(key) if isinstance(found, dict) else None
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(f'"{key}"{of}, a text', value)
        return value

    def _sha256(self, found, key, of):
        value = found.get(key)
        if not isinstance(value, str) or not _SHA256.fullmatch(value):
            raise self._wrong(f'"{key}", the SHA-256 of {of} as 64 hexadecimal digits', value)
        return value.lower()

    def _wrong(self, expected, found):
        text = "nothing" if found is None else repr(found)
        text = text if len(text) <= 80 else f"{text[:77]}..."
        return DataError(f"{self.path}: expected {expected}, got {text}; {FORMAT}")
