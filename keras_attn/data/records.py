"""prepare: one record a video (all its frames as JPEG), written whole or not at all.

    DATA/records/<stem>.record     one serialised tf.train.SequenceExample
                 index.csv         what is complete: size and SHA-256 of each record and its source
                 provenance.json   the settings that all records here were made with

The index is written every few seconds, after the records that it names: what a killed run left
behind without an index entry is made again, and nothing half-written is ever named.
"""

import contextlib
import dataclasses
import hashlib
import time
from pathlib import Path

from keras_attn.data.record_index import COLUMNS, index_remedy, read_index, read_provenance
from keras_attn.datasets import tables
from keras_attn.datasets.catalog import file_stem
from keras_attn.datasets.tables import Row
from keras_attn.decoding.pool import Pool
from keras_attn.errors import DataError, UsageError, UserError
from keras_attn.utils.files import exclusive, leftovers, read_json, sha256, write_atomic, write_json

__all__ = ["PrepareSummary", "prepare", "read_index", "read_provenance"]

LARGEST = 2**30  # bytes of JPEG in one record; a protocol buffer ends at 2 GiB
_SECONDS_BETWEEN_INDEXES = 5.0


@dataclasses.dataclass(frozen=True)
class PrepareSummary:
    """What `prepare` did; `written + kept + failed == usable` always holds."""

    data: str
    usable: int
    written: int
    kept: int
    failed: int
    stale: int  # files in DATA/records of no usable video
    frames: int
    bytes: int
    settings: dict
    problems: tuple[str, ...]  # usable videos that got no record
    notes: tuple[str, ...]

    def as_dict(self) -> dict:
        """The summary in plain values, for JSON."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """The summary as text."""
        return [
            f"{self.usable} usable videos: {self.written} records written, {self.kept} kept, "
            f"{self.failed} failed",
            f"{self.frames} frames, {self.bytes / 2**20:.1f} MiB in {Path(self.data, 'records')}",
            *tables.shortened(self.problems + self.notes),
        ]


def prepare(
    data,
    *,
    short_side: int = 256,
    quality: int = 95,
    workers: int | None = None,
    memory_gib: float = 2.0,
    timeout: float = 120.0,
    progress=None,
) -> PrepareSummary:
    """Write a record for each usable video of DATA/manifest.csv, and keep those already complete.

    Frames are resized so that their short side is `short_side` pixels, never enlarged, and stored
    as JPEG of `quality` 1 to 95 (as libjpeg counts). Raises `UsageError` when records made with
    other settings are there, `UserError` when the disk is full or another process prepares the same
    folder. A video that cannot be read any more is a line of `problems`, and the others are
    prepared all the same.
    """
    if short_side < 1 or not 1 <= quality <= 95:
        raise UsageError(
            f"short_side must be at least 1 and quality 1 to 95, got {short_side} and {quality}"
        )
    data = Path(data)
    rows = [row for row in tables.read_manifest(data) if row.usable]
    labels = _labels(data, rows)
    with Pool(workers, int(memory_gib * 2**30), timeout) as pool:
        settings = {"short_side": short_side, "quality": quality, "decoder": pool.decoder}
        _claim(data, settings)
        folder = data / "records"
        with exclusive(folder, f"{folder}: another process prepares it; wait for it, or stop it"):
            return _fill(_Store(data, rows, settings, labels), pool, progress)


def _fill(store, pool, progress):
    rows, failed = store.rows, []
    todo = [row for row in rows if row.id not in store.index]
    kept = len(rows) - len(todo)
    requests = [_request(row, store.settings) for row in todo]
    with store:
        for done, (row, answer) in enumerate(zip(todo, pool.map(requests), strict=True), 1):
            reason = answer.reason or _changed(row, answer.info)
            if reason:
                failed.append(f"{row.id}: {reason}")
            else:
                store.write(row, answer)
            if progress:
                progress(kept + done, len(rows), row.id)
    return store.summary(kept, failed)


def _request(row, settings):
    sizes = {name: settings[name] for name in ("short_side", "quality")}
    return {"operation": "jpeg", "path": row.path, "max_bytes": LARGEST, **sizes}


def _changed(row, info):
    if info["sha256"] == row.sha256 and info["frames"] == row.frames:
        return ""
    return (
        f"changed: its content is not the one scanned ({info['frames']} frames instead of "
        f"{row.frames}); scan the folder again"
    )


def _labels(data, rows):
    """The label numbers of each video: one, or several if it shows several classes."""
    numbers = {name: number for number, name in enumerate(tables.read_classes(data))}
    return {row.id: [numbers[name] for name in row.names] for row in rows}


def _claim(data, settings):
    """Take over DATA/records, unless records of other settings are in it."""
    path = data / "records" / "provenance.json"
    if not path.exists():
        write_json(path, settings)
        return
    changed = tables.differences(read_json(path), settings)
    if changed:
        raise UsageError(
            f"{path.parent}: holds records made with other settings: {changed}. Use their "
            "settings, choose another data folder, or remove that folder to make all again."
        )


class _Store:
    """The records of one run: what is complete, and the file that says so."""

    def __init__(self, data, rows: list[Row], settings, labels):
        self.data, self.rows, self.settings, self.labels = data, rows, settings, labels
        self.folder = data / "records"
        self.index = self._complete()
        self.last_flush = time.monotonic()

    def _complete(self):
        """Entries of the index whose source, label, size and content are still the same."""
        path = self.folder / "index.csv"
        if not path.exists():
            return {}
        table = tables.read_table(path, COLUMNS, index_remedy(self.data))
        entries = {entry["id"]: entry for _, entry in table}
        return {
            row.id: entries[row.id]
            for row in self.rows
            if row.id in entries and self._is_whole(row, entries[row.id])
        }

    def _is_whole(self, row, entry):
        path = self.folder / entry["file"]
        same = entry["source"] == row.sha256 and entry["label"] == self._label(row)
        if not same or entry["file"] != f"{file_stem(row.id)}.record" or not path.is_file():
            return False
        return path.stat().st_size == int(entry["bytes"]) and sha256(path) == entry["sha256"]

    def _label(self, row):
        return "|".join(map(str, self.labels[row.id]))

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        with contextlib.suppress(*([UserError] if error else [])):  # the first error is told
            self.flush()

    def _strangers(self):
        """Files that belong to no usable video."""
        known = {f"{file_stem(row.id)}.record" for row in self.rows}
        known |= {"index.csv", "provenance.json"} | {p.name for p in leftovers(self.folder)}
        return sorted(path.name for path in self.folder.iterdir() if path.name not in known)

    def write(self, row, answer):
        file = f"{file_stem(row.id)}.record"
        content = _serialize(row, answer, self.labels[row.id], self.settings)
        write_atomic(self.folder / file, content)
        info = answer.info
        self.index[row.id] = {
            "id": row.id,
            "file": file,
            "frames": info["frames"],
            "height": info["stored_height"],
            "width": info["stored_width"],
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "source": row.sha256,
            "label": self._label(row),
        }
        if time.monotonic() - self.last_flush > _SECONDS_BETWEEN_INDEXES:
            self.flush()

    def flush(self):
        entries = [self.index[row.id] for row in self.rows if row.id in self.index]
        table = [[entry[name] for name in COLUMNS] for entry in entries]
        tables.write_table(self.folder / "index.csv", COLUMNS, table)
        self.last_flush = time.monotonic()

    def summary(self, kept, failed):
        strangers = self._strangers()
        note = (
            f"{len(strangers)} files in {self.folder} belong to no usable video and are not "
            f"used; remove them if nobody needs them: {', '.join(strangers[:3])}"
        )
        written = len(self.index) - kept
        if written + kept + len(failed) != len(self.rows):
            raise DataError(
                f"{self.folder}: {written} written + {kept} kept + {len(failed)} failed are not "
                f"the {len(self.rows)} usable videos"
            )
        return PrepareSummary(
            data=str(self.data),
            usable=len(self.rows),
            written=written,
            kept=kept,
            failed=len(failed),
            stale=len(strangers),
            frames=sum(int(entry["frames"]) for entry in self.index.values()),
            bytes=sum(int(entry["bytes"]) for entry in self.index.values()),
            settings=self.settings,
            problems=tuple(failed),
            notes=(note,) if strangers else (),
        )


def _serialize(row, answer, labels, settings):
    """The video as a `tf.train.SequenceExample`, under the keys of TensorFlow's Model Garden."""
    context = {
        "clip/label/index": labels,
        "video/id": row.id,
        "video/sha256": row.sha256,
        "video/fps": row.fps,
        "video/height": [row.height],
        "video/width": [row.width],
        "decoder": settings["decoder"],
        "short_side": [settings["short_side"]],
        "quality": [settings["quality"]],
    }
    return sequence_example(context, {"image/encoded": answer.parts})


def sequence_example(context: dict, lists: dict) -> bytes:
    """A serialised `tf.train.SequenceExample`; its `lists` hold strings of bytes."""
    import tensorflow as tf

    def feature(value):
        if isinstance(value, float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
        if isinstance(value, str):
            value = value.encode()
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=value))

    made = {
        key: tf.train.FeatureList(feature=[feature(part) for part in parts])
        for key, parts in lists.items()
    }
    example = tf.train.SequenceExample(
        context=tf.train.Features(feature={key: feature(value) for key, value in context.items()}),
        feature_lists=tf.train.FeatureLists(feature_list=made),
    )
    return example.SerializeToString(deterministic=True)
