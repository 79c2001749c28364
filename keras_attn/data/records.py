"""Records: one file per video that holds all its frames as JPEGs; made by `prepare`.

DATA/records/<stem>.record     see `record_format`
             index.csv         see `store`; also the size of the frames and the labels
             provenance.json   short side, quality and decoder of all records here
"""

import contextlib
import dataclasses
from pathlib import Path

from keras_attn.data.record_format import FRAMES, SUFFIX, record_bytes
from keras_attn.data.store import DerivedStore
from keras_attn.datasets import tables
from keras_attn.datasets.tables import Row
from keras_attn.decoding.pool import Pool, Unusable
from keras_attn.errors import DataError, UsageError


@dataclasses.dataclass(frozen=True)
class Record:
    """A complete record and its one label; `entry` is its row of the index."""

    id: str
    path: str
    frames: int
    label: int
    height: int
    width: int
    entry: dict = dataclasses.field(repr=False)


class RecordStore(DerivedStore):
    """The records of a data folder."""

    what, suffix = "records", SUFFIX
    columns = ("frames", "height", "width", "label")  # `label`: numbers joined by "|"

    def __init__(self, data):
        super().__init__(data, Path(data) / "records")

    def expected(self, row):
        return {"frames": row.frames}

    def remedy(self):
        made = self.recorded_settings()
        options = {"--short-side": made.get("short_side"), "--quality": made.get("quality")}
        arguments = [part for option in options.items() if option[1] for part in option]
        return "Make them with: " + tables.command("prepare", self.data, *arguments)


def read_provenance(data) -> dict:
    """The settings that the records of DATA were made with; `DataError` if there are none."""
    return RecordStore(data).provenance()


def read_index(data, rows: list[Row] | None = None) -> list[Record]:
    """The records of the usable videos of DATA, in the order of the manifest.

    `rows` are those videos, if they were read already. Raises `DataError` that names the records
    that are missing or outdated, and videos with several labels, which no model here trains on.
    """
    data = Path(data)
    rows = [row for row in tables.read_manifest(data) if row.usable] if rows is None else rows
    numbers = {name: number for number, name in enumerate(tables.read_classes(data))}
    entries = RecordStore(data).complete(rows)
    many = [row.id for row in rows if len(row.names) != 1]
    if many:
        raise DataError(f"{data}: {len(many)} videos have several labels, the first is {many[0]}")
    return [
        Record(
            id=row.id,
            path=str(data / "records" / entry["file"]),
            frames=row.frames,
            label=numbers[row.labels],
            height=int(entry["height"]),
            width=int(entry["width"]),
            entry=entry,
        )
        for row, entry in zip(rows, entries, strict=True)
    ]


def check_contents(data, records: list[Record], full: bool = False, progress=None) -> None:
    """`DataError` that names records whose content is not the one written; see `store`."""
    RecordStore(data).check_contents([record.entry for record in records], full, progress)


@dataclasses.dataclass(frozen=True)
class PrepareSummary:
    """The outcome of `prepare`; `written + kept + failed == usable` always holds."""

    data: str
    usable: int
    written: int
    kept: int
    failed: int
    orphans: int  # files in DATA/records of no usable video
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
    data: Path | str,
    *,
    short_side: int = 256,
    quality: int = 95,
    workers: int | None = None,
    memory_gib: float = 2.0,
    timeout: float = 120.0,
    progress=None,
) -> PrepareSummary:
    """Decode each usable video once, and store its frames as JPEGs that are read one by one.

    Complete records are kept. A video that cannot be read any more is one of the summary's
    `problems`, and the others are prepared all the same. A video may have any length.

    Args:
        data: Data folder that was scanned.
        short_side: Height or width of the stored frames in pixels, whichever is less. Smaller
            videos keep their size.
        quality: Quality of the JPEGs from 1 to 95, as libjpeg counts.
        workers: Processes that decode, by default one per processor.
        memory_gib: Memory in GiB that the decoding of one video may take.
        timeout: Time in seconds that the decoding of one video may take.
        progress: Called with the number of videos done, that of all, and the id of one.

    Returns:
        The counts of what was written and kept, and the problems.

    Raises:
        UsageError: an argument is out of its range.
        DataError: the records there were created with different settings, or the data folder was
            not scanned.
        UserError: the disk is full, or another process prepares the same folder.
    """
    if short_side < 1 or not 1 <= quality <= 95:
        raise UsageError(
            f"`short_side` must be at least 1 and `quality` 1 to 95, got {short_side} and {quality}"
        )
    rows = [row for row in tables.read_manifest(data) if row.usable]
    numbers = {name: number for number, name in enumerate(tables.read_classes(data))}
    labels = {row.id: "|".join(str(numbers[name]) for name in row.names) for row in rows}
    store = RecordStore(data)
    with Pool(workers, int(memory_gib * 2**30), timeout) as pool:
        settings = {"short_side": short_side, "quality": quality, "decoder": pool.decoder}
        with store.writing(settings, rows, progress):
            kept = len(store.index)
            failed = _fill(store, settings, rows, labels, pool, progress)
    return _summary(store, settings, rows, kept, failed)


def _fill(store, settings, rows, labels, pool, progress):
    """Write the records that are missing; gives a line for each video that cannot be prepared."""
    for key, entry in store.index.items():
        entry["label"] = labels[key]  # a new class changes the numbers of others
    todo = {row.id: row for row in rows if row.id not in store.index}
    sizes = {name: settings[name] for name in ("short_side", "quality")}
    requests = [
        {"operation": "jpeg", "id": row.id, "path": row.path, **sizes} for row in todo.values()
    ]

    def write(request, frames):
        row = todo[request["id"]]
        video = {name: getattr(row, name) for name in ("id", "sha256", "fps", "height", "width")}
        facts = {"video": video, **settings}
        return store.write(row.id, record_bytes(_as_scanned(row, frames), FRAMES, facts))

    failed, kept = [], len(rows) - len(todo)
    with contextlib.closing(pool.map(requests, write)) as answers:
        for done, (row, answer) in enumerate(zip(todo.values(), answers, strict=True), kept + 1):
            if answer.reason:
                failed.append(f"{row.id}: {answer.reason}")
            else:
                size = {side: answer.info[f"stored_{side}"] for side in ("height", "width")}
                store.add(row, answer.result, **size, label=labels[row.id])
            if progress:
                progress(done, len(rows), row.id)
    return failed


def _as_scanned(row, frames):
    """Pass on the frames of a video; at the end it must have been the one that was scanned."""
    yield from frames
    if (frames.info["sha256"], frames.info["frames"]) != (row.sha256, row.frames):
        raise Unusable(
            f"changed: its content is not the one scanned ({frames.info['frames']} frames instead "
            f"of {row.frames}); scan the folder again"
        )


def _summary(store, settings, rows, kept, failed):
    written = len(store.index) - kept
    if written + kept + len(failed) != len(rows):
        raise DataError(
            f"{store.folder}: {written} written + {kept} kept + {len(failed)} failed are not the "
            f"{len(rows)} usable videos"
        )
    return PrepareSummary(
        data=str(store.data),
        usable=len(rows),
        written=written,
        kept=kept,
        failed=len(failed),
        orphans=len(store.orphans(rows)),
        frames=sum(int(entry["frames"]) for entry in store.index.values()),
        bytes=sum(int(entry["bytes"]) for entry in store.index.values()),
        settings=settings,
        problems=tuple(failed),
        notes=store.orphan_notes(rows),
    )
