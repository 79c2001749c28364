"""Backbone features on disk: one float16 array a video, (n, h, w, C) or (n, D), and its origin.

    DATA/features/<backbone>-<size>-<endpoint>/     with flow: ...-<method>-<planes side by side>/
                                    provenance.json      backbone, endpoint, weights, ...
                                    backbone.weights.h5
                                    index.csv            id, file, frames, source
                                    <stem>.npy           read in windows

The index is written every few seconds, after the files that it names; `source` is the SHA-256 of
the video. What a killed run left without an index entry, or a changed video, is computed again.
"""

import time
from pathlib import Path

import numpy as np

from keras_attn.data.streams import RGB
from keras_attn.data.video import Video
from keras_attn.datasets import catalog, tables
from keras_attn.errors import DataError
from keras_attn.utils.files import read_json, staging, write_json

COLUMNS = ("id", "file", "frames", "source")
_SECONDS_BETWEEN_INDEXES = 5.0


class FeatureStore:
    """The features of one backbone, at one endpoint and of one stream, for a data folder."""

    def __init__(self, data, backbone: str, size: int, endpoint: str, stream=RGB):
        self.data, self.backbone, self.size, self.endpoint = Path(data), backbone, size, endpoint
        self.stream = stream
        self.folder = self.data / "features" / f"{backbone}-{size}-{endpoint}{stream.suffix}"
        self.index_path = self.folder / "index.csv"
        self.provenance_path = self.folder / "provenance.json"
        self.weights_path = self.folder / "backbone.weights.h5"

    @property
    def remedy(self) -> str:
        """How to make these features, with the weights of those already there."""
        made = read_json(self.provenance_path) if self.provenance_path.exists() else {}
        weights = made.get("weights", "imagenet")
        options = [] if weights == "imagenet" else ["--weights", weights]
        command = ["--backbone", self.backbone, "--size", self.size, "--endpoint", self.endpoint]
        if self.stream.reads_flow:
            options += ["--input", self.stream.input, "--snippet", self.stream.snippet]
            options += ["--flow-method", self.stream.flow_method]
        command += options
        return f"Make them with: {tables.command('features', self.data, *command)}"

    def claim(self, provenance: dict) -> None:
        """Start a store, or go on with one that was made in the same way.

        Raises `DataError` that names each difference when the store was made in another way.
        """
        if self.provenance_path.exists():
            self.check(provenance)
        else:
            write_json(self.provenance_path, provenance)

    def check(self, expected: dict) -> dict:
        """Return the store's provenance; `DataError` if any key of `expected` differs."""
        if not self.provenance_path.exists():
            raise DataError(f"{self.folder}: no features here. {self.remedy}")
        found = read_json(self.provenance_path)
        different = tables.differences(found, expected)
        if different:
            raise DataError(
                f"{self.folder}: the features were made in another way: {different}. Remove that "
                "folder and make them again, or use the backbone and weights they were made with."
            )
        return found

    def path(self, video_id: str) -> Path:
        return self.folder / f"{catalog.file_stem(video_id)}.npy"

    def kept(self, shape: tuple[int, ...]) -> dict[str, dict]:
        """The index rows, by id, of the usable videos whose features are whole and up to date."""
        if not self.index_path.exists():
            return {}
        table = tables.read_table(self.index_path, COLUMNS, f"Remove it. {self.remedy}")
        rows = {row["id"]: row for _, row in table}
        usable = [row for row in tables.read_manifest(self.data) if row.usable]
        return {v.id: rows[v.id] for v in usable if self._fits(v, rows.get(v.id), shape)}

    def _fits(self, video, row, shape):
        frames = self.stream.positions(video.frames)
        if row is None or row["source"] != video.sha256 or row["frames"] != str(frames):
            return False
        return _shape(self.path(video.id)) == (frames, *shape)

    def write(self, video_id: str, pieces, frames: int, shape: tuple[int, ...]) -> None:
        """Write the arrays of `pieces` one after the other into one file, whole or not at all.

        Not through a memory map: on a full disk the system kills a process that writes to one.
        """
        header = {"descr": "<f2", "fortran_order": False, "shape": (frames, *shape)}
        with staging(self.path(video_id)) as beside, open(beside, "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            written = 0
            for piece in pieces:
                half = np.asarray(piece).astype("<f2")
                if not np.isfinite(half).all():
                    raise DataError(f"{video_id}: features must be finite and below 65504")
                file.write(half.tobytes())
                written += len(half)
            if written != frames:
                raise DataError(f"{video_id}: expected features of {frames} frames, got {written}")

    def write_index(self, rows: dict[str, dict]) -> None:
        """Write the index: a row, with the columns of `COLUMNS`, for each id."""
        table = [[row[name] for name in COLUMNS] for row in rows.values()]
        tables.write_table(self.index_path, COLUMNS, table)

    def videos(self, labels: dict[str, int], shape: tuple[int, ...]) -> list[Video]:
        """The videos of `labels` (id -> label), each checked against its file on disk."""
        if not self.index_path.exists():
            raise DataError(f"{self.index_path}: missing. {self.remedy}")
        kept = self.kept(shape)
        bad = [key for key in labels if key not in kept]
        if bad:
            raise DataError(
                f"{self.folder}: features of {len(bad)} of {len(labels)} videos are missing, "
                f"damaged or out of date, the first is {bad[0]}. {self.remedy} (what is "
                "complete is kept)"
            )
        frames = {key: int(kept[key]["frames"]) for key in labels}
        return [Video(key, str(self.path(key)), frames[key], labels[key]) for key in labels]


class IndexWriter:
    """Inside `with`, keeps the index of a store on disk at most a few seconds behind `add`."""

    def __init__(self, store: FeatureStore, rows: dict[str, dict]):
        self.store, self.rows = store, rows
        self.last = time.monotonic()

    def __enter__(self):
        return self

    def add(self, video_id: str, frames: int, source: str) -> None:
        file = self.store.path(video_id).name
        self.rows[video_id] = {"id": video_id, "file": file, "frames": frames, "source": source}
        if time.monotonic() - self.last > _SECONDS_BETWEEN_INDEXES:
            self._flush()

    def _flush(self):
        self.store.write_index(self.rows)
        self.last = time.monotonic()

    def __exit__(self, *error):
        self._flush()


def _shape(path):
    """Shape of a complete float16 array file; None when it is missing, damaged or cut."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError):
        return None
    return array.shape if array.dtype == np.float16 else None
