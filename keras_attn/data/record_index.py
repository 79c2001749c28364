"""What records there are: the index of DATA/records, read with care."""

import dataclasses
from pathlib import Path

from keras_attn.data import tables
from keras_attn.errors import DataError
from keras_attn.files import read_json

# `source` is the SHA-256 of the video file, `label` its label numbers joined by "|".
COLUMNS = ("id", "file", "frames", "height", "width", "bytes", "sha256", "source", "label")
REMEDY = "Make the records with: keras-attn prepare"


@dataclasses.dataclass(frozen=True)
class Record:
    """A complete record of index.csv, its file checked to have the size that it should."""

    id: str
    path: str
    frames: int
    label: int
    height: int
    width: int


def read_provenance(data) -> dict:
    """The settings that the records of DATA were made with; `DataError` if there are none."""
    path = Path(data) / "records" / "provenance.json"
    if not path.exists():
        raise DataError(f"{path}: no such file. {REMEDY}")
    return read_json(path)


def read_index(data) -> list[Record]:
    """The records of the usable videos of DATA, each with its one label.

    Raises `DataError` that names the records that are missing or have not the size they should,
    and videos with more than one label, which no model here trains on.
    """
    data = Path(data)
    rows = {row.id: row for row in tables.read_manifest(data) if row.usable}
    classes = tables.read_classes(data)
    path = data / "records" / "index.csv"
    table = tables.read_table(path, COLUMNS, REMEDY)
    tables.unique(path, table)
    entries = {entry["id"]: entry for _, entry in table}
    bad = [key for key, row in rows.items() if not _fits(data, row, entries.get(key))]
    if bad:
        raise DataError(
            f"{data / 'records'}: the records of {len(bad)} of {len(rows)} usable videos are "
            f"missing, damaged or out of date, the first are {', '.join(bad[:3])}. "
            "Make them with: keras-attn prepare (what is complete is kept)"
        )
    many = [key for key, row in rows.items() if len(row.names) != 1]
    if many:
        raise DataError(f"{data}: {len(many)} videos have several labels, the first is {many[0]}")
    return [_record(data, rows[key], entries[key], classes) for key in rows]


def _fits(data, row, entry):
    if entry is None or entry["source"] != row.sha256 or entry["frames"] != str(row.frames):
        return False
    path = data / "records" / entry["file"]
    return path.is_file() and str(path.stat().st_size) == entry["bytes"]


def _record(data, row, entry, classes):
    return Record(
        id=row.id,
        path=str(data / "records" / entry["file"]),
        frames=row.frames,
        label=classes.index(row.labels),
        height=int(entry["height"]),
        width=int(entry["width"]),
    )
