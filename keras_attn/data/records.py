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

from keras_attn.data import tables
from keras_attn.data.catalog import file_stem
from keras_attn.data.pool import Pool
from keras_attn.data.record_index import COLUMNS, REMEDY, Record, read_index, read_provenance
from keras_attn.data.tables import Row
from keras_attn.errors import DataError, UsageError, UserError
from keras_attn.files import read_json, sha256, write_json

__all__ = ["PrepareSummary", "Record", "prepare", "read_index", "read_provenance"]

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
    problems: tuple[str, ...]

    def as_dict(self) -> dict:
        """The summary in plain values, for JSON."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """The summary as text."""
        return [
            f"{self.usable} usable videos: {self.written} records written, {self.kept} kept, "
            f"{self.failed} failed",
            f"{self.frames} frames, {self.bytes / 2**20:.1f} MiB in {Path(self.data, 'records')}",
            *tables.shortened(self.problems),
        ]


def prepare(
    data,
    *,
    short_side: int = 256,
    quality: int = 95,
    workers: int | None = None,
    memory_gib: float = 2.0,
    seconds: float = 120.0,
    progress=None,
) -> PrepareSummary:
    """Write a record for each usable video of DATA/manifest.csv, and keep those already complete.

    Frames are resized so that their short side is `short_side` pixels, never enlarged, and stored
    as JPEG of `quality` 1 to 95 (as libjpeg counts). Raises `UsageError` when records made with
    other settings are there, `UserError` when the disk is full. A video that cannot be read any
    more is a line of `problems`, and the others are prepared all the same.
    """
    if short_side < 1 or not 1 <= quality <= 95:
        raise UsageError(
            f"short_side must be at least 1 and quality 1 to 95, got {short_side} and {quality}"
        )
    data = Path(data)
    rows = [row for row in tables.read_manifest(data) if row.usable]
    labels = _labels(data, rows)
    with Pool(workers, int(memory_gib * 2**30), seconds) as pool:
        settings = {"short_side": short_side, "quality": quality, "decoder": pool.decoder}
        _claim(data, settings)
        store = _Store(data, rows, settings, labels)
        todo = [row for row in rows if row.id not in store.index]
        kept, problems = len(rows) - len(todo), store.stale()
        requests = [_request(row, settings) for row in todo]
        failed = []
        with store:
            for done, (row, answer) in enumerate(zip(todo, pool.map(requests), strict=True), 1):
                reason = answer.reason or _changed(row, answer.info)
                if reason:
                    failed.append(f"{row.id}: {reason}")
                else:
                    store.write(row, answer)
                if progress:
                    progress(kept + done, len(rows), row.id)
    return store.summary(kept, failed, problems)


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
    old = read_json(path)
    changed = [
        f"{name} was {old.get(name)!r} and is now {value!r}"
        for name, value in settings.items()
        if old.get(name) != value
    ]
    if changed:
        raise UsageError(
            f"{path.parent}: holds records made with other settings: {'; '.join(changed)}. Use the "
            "old settings, choose another data folder, or remove that folder to make all again."
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
        entries = {entry["id"]: entry for _, entry in tables.read_table(path, COLUMNS, REMEDY)}
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
        if error is None:
            self.flush()
            return
        with contextlib.suppress(UserError):  # the first error is the one to tell
            self.flush()

    def stale(self):
        """A line for the files that belong to no usable video, if there are any."""
        for half_written in self.folder.glob(".*-????????.record"):  # see `files.staging`
            half_written.unlink()
        known = {f"{file_stem(row.id)}.record" for row in self.rows}
        known |= {"index.csv", "provenance.json"}
        self.strangers = sorted(p.name for p in self.folder.iterdir() if p.name not in known)
        if not self.strangers:
            return []
        return [
            f"{len(self.strangers)} files in {self.folder} belong to no usable video and are not "
            f"used; remove them if nobody needs them: {', '.join(self.strangers[:3])}"
        ]

    def write(self, row, answer):
        file = f"{file_stem(row.id)}.record"
        content = _serialize(row, answer, self.labels[row.id], self.settings)
        tables.write_or_explain(self.folder / file, content)
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

    def summary(self, kept, failed, problems):
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
            stale=len(self.strangers),
            frames=sum(int(entry["frames"]) for entry in self.index.values()),
            bytes=sum(int(entry["bytes"]) for entry in self.index.values()),
            settings=self.settings,
            problems=(*failed, *problems),
        )


def _serialize(row, answer, labels, settings):
    """The video as a `tf.train.SequenceExample`, under the keys of TensorFlow's Model Garden."""
    import tensorflow as tf

    def feature(value):
        if isinstance(value, float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
        if isinstance(value, str):
            value = value.encode()
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=value))

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
    frames = tf.train.FeatureList(feature=[feature(part) for part in answer.parts])
    example = tf.train.SequenceExample(
        context=tf.train.Features(feature={key: feature(value) for key, value in context.items()}),
        feature_lists=tf.train.FeatureLists(feature_list={"image/encoded": frames}),
    )
    return example.SerializeToString(deterministic=True)
