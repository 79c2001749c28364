"""scan: decode every file once; each is usable, or a row that says what is wrong and what to do."""

import collections
import dataclasses
from pathlib import Path

from keras_attn.datasets import catalog, tables
from keras_attn.datasets.tables import Row
from keras_attn.decoding.pool import Pool
from keras_attn.errors import DataError, UsageError


@dataclasses.dataclass(frozen=True)
class ScanSummary:
    """What `scan` found; `found == usable + sum(unusable.values())` always holds."""

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
    problems: tuple[str, ...]  # what must be mended, or known before any training
    notes: tuple[str, ...]

    def as_dict(self) -> dict:
        """The summary in plain values, for JSON."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """The summary as text."""
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
    root,
    data,
    *,
    classes=None,
    group_by: str = "auto",
    workers: int | None = None,
    memory_gib: float = 2.0,
    timeout: float = 60.0,
    progress=None,
) -> ScanSummary:
    """List every file of `root`, decode each, and write DATA/manifest.csv and DATA/classes.txt.

    `root` is a folder with a folder per class, a TSN list file or a CSV file (see `catalog`);
    `classes` is a file of class names. `progress(done, total, text)` is called after each file.
    The result does not depend on the number of `workers`. Raises `UsageError` for a root that does
    not exist, `DataError` when nothing is found or nothing can be used.
    """
    data = Path(data).absolute()
    if Path(root).is_dir() and data.resolve().is_relative_to(Path(root).resolve()):
        raise UsageError(f"{data} lies inside {root}: its files would be scanned as videos")
    names = catalog.read_class_file(classes) if classes else None
    examples, names = catalog.find_examples(root, names, group_by)
    if not examples:
        raise DataError(f"{root}: holds no files. Expected ROOT/CLASS/VIDEO")
    rows = _checked(examples, Pool(workers, int(memory_gib * 2**30), timeout), progress)
    if not names:
        raise DataError(f"{root}: holds no class. Expected ROOT/CLASS/VIDEO: {rows[0].reason}")
    tables.write_classes(data, names)
    tables.write_manifest(data, rows)
    summary = summarize(rows, names, root, data)
    if not summary.usable:
        raise DataError(
            f"{root}: none of {summary.found} files can be used ({summary.unusable}). The column "
            f"`reason` of {data / 'manifest.csv'} says for each what to do; the first is "
            f"{rows[0].id}: {rows[0].reason}"
        )
    return summary


def _checked(examples, pool, progress):
    rows = {example.id: _row(example, {}, example.reason) for example in examples}
    if len(rows) != len(examples):
        twice = [key for key, n in collections.Counter(e.id for e in examples).items() if n > 1]
        raise DataError(f"two files have the same name once it is written down: {twice}")
    openable = [example for example in examples if not example.reason]
    requests = [{"operation": "check", "path": example.path} for example in openable]
    done = len(examples) - len(openable)
    with pool:
        for example, answer in zip(openable, pool.map(requests), strict=True):
            rows[example.id] = _row(example, answer.info, answer.reason)
            done += 1
            if progress:
                progress(done, len(examples), example.id)
    return list(rows.values())


def _row(example, info, reason):
    names = ("frames", "promised", "fps", "width", "height", "bytes", "sha256")
    known = {name: info[name] for name in names if name in info}
    return Row(
        example.id,
        example.path,
        "|".join(example.labels),
        example.group,
        **known,
        usable=not reason,
        reason=reason,
    )


def summarize(rows: list[Row], names: list[str], root, data) -> ScanSummary:
    """Count the rows; raises `DataError` if they do not add up."""
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
    torn = [some for some in duplicates if len({row.labels for row in some}) > 1]
    alike = [some for some in duplicates if some not in torn]
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
        problems=(*_problems(rows, classes), *_equal(torn, "with different labels")),
        notes=tuple(_equal(alike, "they stay in one subset of a split")),
    )


def _problems(rows, classes):
    yield from (f"{row.id}: {row.reason}" for row in rows if not row.usable)
    if len(classes) == 1:
        yield f"there is one class only, {next(iter(classes))!r}: nothing can be learned from it"
    yield from (f"class {name!r} has no usable video" for name, n in classes.items() if not n)


def _equal(duplicates, what):
    for some in duplicates:
        ids = ", ".join(row.id for row in some)
        yield f"{len(some)} files have the same content ({what}): {ids}"
