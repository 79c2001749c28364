"""List files and class files: which videos there are, and what their labels are called."""

import re
from pathlib import Path
from typing import NamedTuple

from keras_attn.datasets.tables import check_classes, read_lines, read_table, unique
from keras_attn.errors import DataError

REMEDY = (
    "A list has one `path label` or `path frames label` per line, a CSV file the columns "
    "path,label[,group]"
)


class ClassFile(NamedTuple):
    """Class names in the order of their labels, and the number of the first in a list."""

    names: list[str]
    first: int = 0


class Listed(NamedTuple):
    """A line of a list: the path as it is written, the labels, and the group, if it tells."""

    path: str
    labels: tuple[str, ...]
    group: str = ""


def read_class_file(path) -> ClassFile:
    """Class names from a file of one name per line, or of `number name` as in UCF's classInd.txt.

    The numbers must count from 1 (UCF) or from 0, and those of a list are then the same.
    """
    lines = [line.strip() for line in read_lines(path, "Name the file of class names")]
    lines = [line for line in lines if line]
    numbered = [re.fullmatch(r"(\d+)\s+(\S.*)", line) for line in lines]
    if not all(numbered):
        return ClassFile(check_classes(path, lines))
    numbers = [int(match[1]) for match in numbered]
    if numbers not in (list(range(len(lines))), list(range(1, len(lines) + 1))):
        raise DataError(f"{path}: the numbers must count 1, 2, 3, ... (or 0, 1, 2, ...)")
    return ClassFile(check_classes(path, [match[2] for match in numbered]), min(numbers, default=0))


def in_order(names) -> list[str]:
    """The names sorted: as numbers, where all of them are numbers."""
    return sorted(names, key=int if all(name.isdecimal() for name in names) else None)


def read_list(path, classes: ClassFile | None) -> tuple[list[Listed], list[str]]:
    """The lines of a list file or, with the ending .csv, of a table, and the class names.

    Raises `DataError` with the line for what is no path with a label, or no known label.
    """
    is_table = Path(path).suffix.lower() == ".csv"
    rows = list((_table if is_table else _lines)(path, classes))
    if not rows:
        raise DataError(f"{path}: lists no video. {REMEDY}")
    unique(path, [(number, {"path": row.path}) for number, row in rows], "path")
    found = {label for _, row in rows for label in row.labels}
    if classes is None:
        return [row for _, row in rows], check_classes(path, in_order(found))
    unknown = found - set(classes.names)
    if unknown:
        number, row = next((n, row) for n, row in rows if unknown & {*row.labels})
        raise DataError(
            f"{path}, line {number}: label {'|'.join(row.labels)!r} is not in the class file"
        )
    return [row for _, row in rows], classes.names


def _table(path, classes):
    for number, row in read_table(path, ("path", "label"), REMEDY):
        labels = tuple(label.strip() for label in row["label"].split("|"))
        if not all(labels):
            raise DataError(f"{path}, line {number}: the label is empty. {REMEDY}")
        yield number, Listed(row["path"], labels, row.get("group", ""))


def _lines(path, classes):
    for number, line in enumerate(read_lines(path, REMEDY), 1):
        if not line.strip():
            continue
        # From the right, because a path may hold spaces.
        *rest, label = line.strip().rsplit(None, 1)
        if not rest:
            raise DataError(f"{path}, line {number}: expected `path label`. {REMEDY}")
        file, *frames = rest[0].rsplit(None, 1)
        if not (frames and frames[0].isdecimal()):
            file = rest[0]
        yield number, Listed(file, (_named(path, number, label, classes),))


def _named(path, number, label, classes):
    if classes is None or not label.isdecimal():
        return label
    place = int(label) - classes.first
    if not 0 <= place < len(classes.names):
        last = classes.first + len(classes.names) - 1
        raise DataError(
            f"{path}, line {number}: label {label} is out of range: the {len(classes.names)} "
            f"classes have the numbers {classes.first} to {last}"
        )
    return classes.names[place]


def spellings(names) -> dict[str, str]:
    """The first of the names that differ only in blanks and case, for each name."""
    first = {}
    for name in names:
        first.setdefault(" ".join(name.split()).casefold(), name)
    return {name: first[" ".join(name.split()).casefold()] for name in names}
