"""scan: decode every file once, and record for each that it is usable or what is wrong with it."""

import collections
import dataclasses
from pathlib import Path

from keras_attn.datasets import catalog, lists, tables
from keras_attn.datasets.tables import Row
from keras_attn.decoding.pool import Pool
from keras_attn.errors import DataError, UsageError


@dataclasses.dataclass(frozen=True)
class ScanSummary:
    """The counts of a scan; `found == usable + sum(unusable.values())` always holds."""

    root: str
    data: str
    found: int
    usable: int
    unusable: dict[str, int]  # kind of problem -> files
    classes: dict[str, int]  # class -> usable files
    frames: int
    groups: int
    ungrouped: int
    duplicates: tuple[tuple[str, ...], ...]  # ids of usable files with the same content
    problems: tuple[str, ...]  # to be fixed, or known before any training
    notes: tuple[str, ...]

    def as_dict(self) -> dict:
        """Return the summary in plain values, for JSON."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """Return the summary as text."""
        kinds = [f"  {count} {kind}" for kind, count in self.unusable.items()]
        return [
            f"{self.found} files found in {self.root}",
            f"{self.usable} usable videos, {self.frames} frames, {len(self.classes)} classes, "
            f"{self.groups} groups, {self.ungrouped} videos without a group",
            f"{self.found - self.usable} unusable files",
            *kinds,
            *tables.shortened(self.problems),
            *tables.shortened(self.notes),
            f"written: {Path(self.data, 'manifest.csv')}",
        ]


def scan(
    root: Path | str,
    data: Path | str,
    *,
    classes: Path | str | None = None,
    group_by: str = "auto",
    merge_names: bool = False,
    workers: int | None = None,
    memory_gib: float = 2.0,
    timeout: float = 60.0,
    progress=None,
) -> ScanSummary:
    """Find and decode the videos, and write the manifest and the class names of a data folder.

    The files written are DATA/manifest.csv and DATA/classes.txt; they do not depend on `workers`.

    Args:
        root: Folder with one folder per class, a list file (`path label`, or `path frames label` as
            TSN has it) or a CSV file (path,label[,group]).
        data: Data folder to write.
        classes: File of class names, one per line, which fixes their order, or of `number name`,
            whose numbers are then those of a list. Without it the names found are sorted.
        group_by: Which clips share a source: "auto" (UCF names), "parent" (the folder of the
            file) or a regular expression with one group. A split keeps clips of one source in one
            subset.
        merge_names: Make one class of names that differ only in blanks and case.
        workers: Number of processes that decode, by default one per processor.
        memory_gib: Memory that one file may take, in GiB.
        timeout: Seconds that one file may take.
        progress: Called as `progress(done, total, text)` after each file.

    Returns:
        A `ScanSummary`.

    Raises:
        UsageError: `root` does not exist, or an argument cannot work.
        DataError: Nothing is found, or nothing of it can be used.
    """
    data = Path(data).absolute()
    if Path(root).is_dir() and data.resolve().is_relative_to(Path(root).resolve()):
        raise UsageError(f"{data} lies inside {root}: its files would be scanned as videos")
    names = lists.read_class_file(classes) if classes else None
    found, names, notes = catalog.find_files(root, names, group_by, merge_names)
    if not found:
        raise DataError(f"{root}: holds no files. Expected ROOT/CLASS/VIDEO")
    rows = _checked(found, Pool(workers, int(memory_gib * 2**30), timeout), progress)
    if not names:
        raise DataError(f"{root}: holds no class. Expected ROOT/CLASS/VIDEO: {rows[0].reason}")
    tables.write_classes(data, names)
    tables.write_manifest(data, rows)
    summary = summarize(rows, names, root, data, notes)
    if not summary.usable:
        raise DataError(
            f"{root}: none of {summary.found} files can be used ({summary.unusable}). The column "
            f"`reason` of {data / 'manifest.csv'} says for each what to do; the first is "
            f"{rows[0].id}: {rows[0].reason}"
        )
    return summary


def _checked(found, pool, progress):
    rows = {file.id: _row(file, {}, file.reason) for file in found}
    if len(rows) != len(found):
        twice = [key for key, n in collections.Counter(file.id for file in found).items() if n > 1]
        raise DataError(f"two files have the same name once it is written down: {twice}")
    openable = [file for file in found if not file.reason]
    requests = [{"operation": "check", "path": file.path} for file in openable]
    done = len(found) - len(openable)
    with pool:
        for file, answer in zip(openable, pool.map(requests), strict=True):
            rows[file.id] = _row(file, answer.info, answer.reason)
            done += 1
            if progress:
                progress(done, len(found), file.id)
    return list(rows.values())


def _row(file, info, reason):
    names = ("frames", "promised", "fps", "width", "height", "bytes", "sha256")
    known = {name: info[name] for name in names if name in info}
    return Row(
        file.id,
        file.path,
        "|".join(file.labels),
        file.group,
        **known,
        usable=not reason,
        reason=reason,
    )


def summarize(rows: list[Row], names: list[str], root, data, notes=()) -> ScanSummary:
    """Count the rows; `DataError` if they do not add up."""
    usable = [row for row in rows if row.usable]
    kinds = collections.Counter(row.reason.partition(":")[0] for row in rows if row.reason)
    if len(usable) + sum(kinds.values()) != len(rows):
        raise DataError(f"{root}: {len(rows)} files found, but {len(usable)} usable + {kinds}")
    counts = collections.Counter(label for row in usable for label in row.names)
    classes = {name: counts[name] for name in names}
    same = collections.defaultdict(list)
    for row in usable:
        same[row.sha256].append(row)
    duplicates = [some for some in same.values() if len(some) > 1]
    conflicting, harmless = [], []
    for some in duplicates:
        (conflicting if len({row.labels for row in some}) > 1 else harmless).append(some)
    return ScanSummary(
        root=str(root),
        data=str(data),
        found=len(rows),
        usable=len(usable),
        unusable=dict(kinds.most_common()),
        classes=classes,
        frames=sum(row.frames for row in usable),
        groups=len({row.group for row in usable if row.group}),
        ungrouped=sum(not row.group for row in usable),
        duplicates=tuple(tuple(row.id for row in some) for some in duplicates),
        problems=(*_problems(rows, classes), *_equal(conflicting, "with different labels")),
        notes=(*notes, *_equal(harmless, "they stay in one subset of a split")),
    )


def _problems(rows, classes):
    yield from (f"{row.id}: {row.reason}" for row in rows if not row.usable)
    if len(classes) == 1:
        yield f"there is one class only, {next(iter(classes))!r}: a model cannot learn from it"
    yield from (f"class {name!r} has no usable video" for name, n in classes.items() if not n)


def _equal(duplicates, what):
    for some in duplicates:
        ids = ", ".join(row.id for row in some)
        yield f"{len(some)} files have the same content ({what}): {ids}"
