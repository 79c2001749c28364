"""Backbone features on disk: one float16 array `(n, h, w, C)` a video, with where they come from.

    DATA/features/<backbone>-<size>/provenance.json   backbone, endpoint, size, weights, preprocessing
                                    backbone.weights.h5
                                    index.csv         id, file, frames
                                    <stem>.npy        memory-mapped by the reader
"""

import csv
import io
from pathlib import Path

import numpy as np

from keras_attn.data import catalog
from keras_attn.data.pipeline import Video
from keras_attn.errors import DataError
from keras_attn.files import read_json, staging, write_atomic, write_json

COLUMNS = ("id", "file", "frames")


class FeatureStore:
    """The features of one backbone for the videos of a data folder."""

    def __init__(self, data, backbone: str, size: int):
        self.folder = Path(data) / "features" / f"{backbone}-{size}"
        self.index_path = self.folder / "index.csv"
        self.provenance_path = self.folder / "provenance.json"
        self.weights_path = self.folder / "backbone.weights.h5"

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
            raise DataError(
                f"{self.folder}: no features here. Make them with: keras-attn features "
                f"--backbone {self.folder.name.rpartition('-')[0]}"
            )
        found = read_json(self.provenance_path)
        different = [
            f"{key} is {found.get(key)!r}, expected {value!r}"
            for key, value in expected.items()
            if found.get(key) != value
        ]
        if different:
            raise DataError(
                f"{self.folder}: the features were made in another way: {'; '.join(different)}. "
                "Remove that folder and make them again, or use the backbone they were made with."
            )
        return found

    def path(self, video_id: str) -> Path:
        return self.folder / f"{catalog.file_stem(video_id)}.npy"

    def whole(self, video_id: str, frames: int) -> bool:
        """Whether the array of a video is there with all its frames."""
        path = self.path(video_id)
        return path.exists() and _length(path) == frames

    def write(self, video_id: str, pieces, frames: int, shape: tuple[int, ...]) -> None:
        """Write the arrays of `pieces` one after the other into one file, whole or not at all."""
        with staging(self.path(video_id)) as beside:
            array = np.lib.format.open_memmap(beside, "w+", "float16", (frames, *shape))
            start = 0
            for piece in pieces:
                array[start : start + len(piece)] = piece
                start += len(piece)
            if start != frames:
                raise DataError(f"{video_id}: expected features of {frames} frames, got {start}")
            array.flush()

    def write_index(self, frames_by_id: dict[str, int]) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([key, self.path(key).name, count] for key, count in frames_by_id.items())
        write_atomic(self.index_path, text.getvalue())

    def videos(self, labels: dict[str, int]) -> list[Video]:
        """The videos of `labels` (id -> label), each checked against its file on disk."""
        if not self.index_path.exists():
            raise DataError(f"{self.index_path}: missing; finish: keras-attn features")
        with open(self.index_path, newline="", encoding="utf-8") as file:
            frames = {row["id"]: int(row["frames"]) for row in csv.DictReader(file)}
        bad = [key for key in labels if key not in frames or not self.whole(key, frames[key])]
        if bad:
            raise DataError(
                f"{self.folder}: features of {len(bad)} of {len(labels)} videos are missing or "
                f"damaged, the first is {bad[0]}. Make them again with: keras-attn features"
            )
        return [Video(key, str(self.path(key)), frames[key], labels[key]) for key in labels]


def _length(path) -> int:
    """Frames of a complete array file; -1 when the file is damaged or cut."""
    try:
        return len(np.load(path, mmap_mode="r", allow_pickle=False))
    except (ValueError, EOFError, OSError):
        return -1
