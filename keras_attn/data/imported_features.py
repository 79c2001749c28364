"""Features that were made elsewhere, in the data folder: what a recipe reads with `features=NAME`.

    DATA/features/NAME/      NAME is that of the folder they came from
        provenance.json      encoder, revision, sha256 (of its weights), shape
        index.csv
        <stem>.npy           float16 (T, h, w, C) or (T, D) of a video, and behind it the times of
                             the T positions in seconds, float32

T need not be the number of frames: the positions of a video are those that its features have.
"""

import re
import shutil

import numpy as np

from keras_attn.data.features import FeatureReader, file_layout, npy_header
from keras_attn.data.foreign_folder import ForeignFolder
from keras_attn.data.store import DerivedStore
from keras_attn.datasets import tables
from keras_attn.errors import DataError, UsageError, UserError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class ImportedFeatures(DerivedStore):
    """The features NAME of a data folder; with `foreign`, as they are imported from there.

    `origin` in the index is the SHA-256 of the file that a file here was made of.
    """

    what = "features"
    suffix = ".npy"
    columns = ("length", "origin")

    def __init__(self, data, name: str, foreign: ForeignFolder | None = None):
        super().__init__(data, f"{data}/features/{name}")
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"features: {name!r} cannot be a name of features; they have the name of the "
                "folder they are imported from, of letters, digits, '.', '_' and '-'"
            )
        self.name, self.foreign = name, foreign
        if "backbone" in self.recorded_settings():
            raise UsageError(
                f"{self.folder}: holds features of a backbone of this library, which recipes read "
                "by `backbone` and `clips.size`; give the folder of the others another name"
            )

    def expected(self, row) -> dict:
        return {"origin": self.foreign.video(row.id).sha256} if self.foreign else {}

    def remedy(self) -> str:
        folder = self.foreign.folder if self.foreign else f"FOLDER/{self.name}"
        command = tables.command("features", self.data, "--from", folder)
        return f"Make them with: {command}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the features of one position."""
        return tuple(self.provenance()["shape"])

    def reader(self) -> FeatureReader:
        return FeatureReader(((self.name, self.shape, None),))

    def times(self, path) -> np.ndarray:
        """The times of the positions of a video in seconds, from its file here: `(T,)`."""
        size = int(np.prod(self.shape))
        with open(path, "rb") as file:
            begin, stored = file_layout(file, size)
            file.seek(begin + stored * size * 2)
            return np.fromfile(file, "<f4", stored)

    def of_source(self, sha256: str, video) -> tuple[np.ndarray, np.ndarray]:
        """All features of the video whose file has this SHA-256, and their times."""
        found = [entry for entry in self.entries().values() if entry["source"] == sha256]
        if not found:
            made = self.provenance()
            raise DataError(
                f"{video}: no features of this file are in {self.folder}, and the encoder "
                f"{made['encoder']} (revision {made['revision']}) that could make some is not "
                f"here. Scan the video, add its features to their folder, and import again. "
                f"{self.remedy()}"
            )
        self.check_contents(found[:1])
        path, length = self.folder / found[0]["file"], int(found[0]["length"])
        return self.reader().read(path, np.arange(length), length), self.times(path)

    # Importing

    def import_all(self, rows, progress=None) -> int:
        """Import the features of these videos, as far as they are not here; how many were.

        All that can be seen without reading values is checked before the first file is written.
        """
        self._refuse_missing(rows)
        files = {row.id: self.foreign.video(row.id).open(row) for row in rows}
        shape = self._common_shape(files)
        settings = {
            "encoder": self.foreign.encoder,
            "revision": self.foreign.revision,
            "sha256": self.foreign.sha256,
            "shape": list(shape),
        }
        with self.writing(settings, rows, progress):
            missing = [row for row in rows if row.id not in self.index]
            self._check_room(sum(files[row.id].shape[0] for row in missing) * int(np.prod(shape)))
            for number, row in enumerate(missing, 1):
                self._import(row, files[row.id])
                if progress:
                    progress(number, len(missing), row.id)
        return len(missing)

    def _import(self, row, array):
        video = self.foreign.video(row.id)
        with self.appending(row.id) as (append, written):
            append(npy_header(array.shape))
            for half in video.pieces(array):
                append(half.tobytes())
            append(video.times.astype("<f4").tobytes())
        self.add(row, written, length=array.shape[0])

    def _refuse_missing(self, rows):
        missing = [row.id for row in rows if row.id not in self.foreign]
        if missing:
            raise DataError(
                f"{self.foreign.path}: has no entry for {len(missing)} of the {len(rows)} usable "
                f"videos of {self.data}, the first are {', '.join(missing[:3])}; it has "
                f"{len(self.foreign.ids)}, the first are {', '.join([*self.foreign.ids][:3])}. "
                "Make their features, or scan a folder without these videos; a video is named by "
                "its id in manifest.csv"
            )

    def _common_shape(self, files):
        (first, array), *others = files.items()
        shape = array.shape[1:]
        for key, other in others:
            if other.shape[1:] != shape:
                raise DataError(
                    f"{other.path}: the features of {key} have the shape {other.shape[1:]} at each "
                    f"position, expected {shape} as of {first}: all videos of a folder need the "
                    "same cells and channels. Make them all with one encoder and one input size"
                )
        return shape

    def _check_room(self, values):
        free = shutil.disk_usage(self.folder).free
        if 2 * values > free:
            raise UserError(
                f"{self.folder}: needs {2 * values / 2**30:.2f} GiB, but only {free / 2**30:.2f} "
                "GiB are free on that disk. Free some"
            )


def nearest_positions(times, seconds) -> np.ndarray:
    """For each of `seconds` the position whose time is nearest, the earlier of two."""
    return np.searchsorted((times[1:] + times[:-1]) / 2, seconds)


def frames_at(times, row) -> np.ndarray:
    """The number of the frame of a manifest's row that is shown at each of `times`."""
    return np.clip(np.rint(times * (row.fps or 25.0)), 0, row.frames - 1).astype("int32")
