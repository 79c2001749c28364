"""What records there are: the index of DATA/records, read with care."""

import concurrent.futures
import dataclasses
from pathlib import Path

from keras_attn.datasets import tables
from keras_attn.errors import DataError
from keras_attn.utils.files import read_json, sha256

# `source` is the SHA-256 of the video file, `label` its label numbers joined by "|".
COLUMNS = ("id", "file", "frames", "height", "width", "bytes", "sha256", "source", "label")


@dataclasses.dataclass(frozen=True)
class Record:
    """A complete record of index.csv, its file checked to have the size that it should."""

    id: str
    path: str
    frames: int
    label: int
    height: int
    width: int
    sha256: str


def remedy(data) -> str:
    """How to make the records of DATA, with the settings of those already there."""
    path = Path(data) / "records" / "provenance.json"
    made = read_json(path) if path.exists() else {}
    options = {"--short-side": made.get("short_side"), "--quality": made.get("quality")}
    arguments = [part for option in options.items() if option[1] for part in option]
    return "Make them with: " + tables.command("prepare", data, *arguments)


def index_remedy(data) -> str:
    """As `remedy`, for an index that is missing or damaged: `prepare` refuses a damaged one too."""
    there = (Path(data) / "records" / "index.csv").exists()
    return f"{'Remove it. ' if there else ''}{remedy(data)}"


def read_provenance(data) -> dict:
    """The settings that the records of DATA were made with; `DataError` if there are none."""
    path = Path(data) / "records" / "provenance.json"
    if not path.exists():
        raise DataError(f"{path}: no such file. {remedy(data)}")
    return read_json(path)


def check_contents(data, records: list[Record]) -> None:
    """`DataError` that names the records whose content is not the one written; reads all of it."""
    bad = damaged(records)
    if bad:
        raise DataError(
            f"{bad[0].path}: the record of {bad[0].id} is damaged, as are {len(bad) - 1} more of "
            f"{len(records)}. {remedy(data)} (what is complete is kept)"
        )


def damaged(records) -> list:
    """Those whose file, at `path`, has not the content of their `sha256`; reads all of it."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        found = pool.map(sha256, [record.path for record in records])
        pairs = zip(records, found, strict=True)
        return [record for record, digest in pairs if digest != record.sha256]


def read_index(data) -> list[Record]:
    """The records of the usable videos of DATA, each with its one label.

    Raises `DataError` that names the records that are missing or have not the size they should,
    and videos with more than one label, which no model here trains on.
    """
    data = Path(data)
    rows = {row.id: row for row in tables.read_manifest(data) if row.usable}
    classes = tables.read_classes(data)
    entries = read_entries(data)
    bad = [key for key, row in rows.items() if not fits(data, row, entries.get(key))]
    if bad:
        raise DataError(
            f"{data / 'records'}: the records of {len(bad)} of {len(rows)} usable videos are "
            f"missing, damaged or out of date, the first are {', '.join(bad[:3])}. "
            f"{remedy(data)} (what is complete is kept)"
        )
    many = [key for key, row in rows.items() if len(row.names) != 1]
    if many:
        raise DataError(f"{data}: {len(many)} videos have several labels, the first is {many[0]}")
    return [_record(data, rows[key], entries[key], classes) for key in rows]


def read_entries(data) -> dict[str, dict]:
    """The rows of the index by the id of their video; `DataError` for a damaged one."""
    path = Path(data) / "records" / "index.csv"
    table = tables.read_table(path, COLUMNS, index_remedy(data))
    tables.unique(path, table)
    return {entry["id"]: entry for _, entry in table}


def fits(data: Path, row: tables.Row, entry: dict | None) -> bool:
    """Whether a row of the index is of the video as it was scanned, and its file as long."""
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
        sha256=entry["sha256"],
    )
