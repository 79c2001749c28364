"""The tables of a data folder: manifest.csv, classes.txt, split.csv; written whole, read with care.

A reader raises `DataError` that names the file and the line of whatever is wrong.
"""

import csv
import dataclasses
import io
import math
import shlex
from pathlib import Path

from keras_attn.errors import DataError
from keras_attn.utils.files import write_atomic

FORBIDDEN_IN_CLASS = "|\n\r"  # "|" joins the labels of a file, and classes.txt has one name a line
MOST_LINES = 20
SUBSETS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Row:
    """One file found: a row of manifest.csv, in the order of its columns.

    `labels` holds the class names joined by "|"; `names` are they one by one.
    """

    id: str
    path: str
    labels: str = ""
    group: str = ""
    frames: int = 0
    promised: int = 0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    bytes: int = 0
    sha256: str = ""
    usable: bool = False
    reason: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(filter(None, self.labels.split("|")))


COLUMNS = tuple(field.name for field in dataclasses.fields(Row))


def shortened(lines) -> list[str]:
    """The first lines, and how many more there are: a summary is read on a screen."""
    rest = len(lines) - MOST_LINES
    return [*lines[:MOST_LINES], *([f"... and {rest} more"] if rest > 0 else [])]


def command(verb: str, data, *arguments) -> str:
    """A command line to copy: what a message tells the reader to run."""
    return "keras-attn " + shlex.join([verb, *map(str, arguments), "--data", str(data)])


def differences(found: dict, expected: dict) -> str:
    """Each entry of `expected` that `found` has otherwise, with both values, or ""."""
    return "; ".join(
        f"{key} is {found.get(key)!r}, expected {value!r}"
        for key, value in expected.items()
        if found.get(key) != value
    )


def write_table(path, columns, rows) -> None:
    """Write a CSV file whole or not at all; `UserError` when the disk is full."""
    rows = [[str(value) for value in row] for row in rows]
    # Python before 3.13 leaves a carriage return unquoted and then cannot read it back.
    quote_all = any("\r" in value for row in rows for value in row)
    text = io.StringIO()
    quoting = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
    writer = csv.writer(text, quoting=quoting, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_atomic(path, text.getvalue())


def read_table(path, columns, remedy) -> list[tuple[int, dict]]:
    """The rows of a CSV file with their line numbers, each with all of `columns`."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{path}: the columns {', '.join(missing)} are missing. {remedy}")
            rows = [(reader.line_num, row) for row in reader]
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. {remedy}") from None
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}). {remedy}") from None
    for line, row in rows:
        if None in row or None in row.values():
            raise DataError(f"{path}, line {line}: has not {len(columns)} columns. {remedy}")
    return rows


def unique(path, rows, key="id"):
    """`DataError` when two rows have the same `key`."""
    seen = {}
    for line, row in rows:
        first = seen.setdefault(row[key], line)
        if first != line:
            raise DataError(f"{path}, line {line}: {key} {row[key]!r} is also on line {first}")


def _rescan(data):
    return "Make it with: " + command("scan", data, "VIDEOS")


def write_manifest(data, rows: list[Row]) -> None:
    """Write DATA/manifest.csv."""
    table = [dataclasses.astuple(dataclasses.replace(row, usable=int(row.usable))) for row in rows]
    write_table(Path(data) / "manifest.csv", COLUMNS, table)


def read_manifest(data) -> list[Row]:
    """The rows of DATA/manifest.csv; `DataError` names the line of a damaged one."""
    path = Path(data) / "manifest.csv"
    rows = read_table(path, COLUMNS, _rescan(data))
    unique(path, rows)
    classes = set(read_classes(data))
    return [_row(path, line, row, classes) for line, row in rows]


def _row(path, line, row, classes):
    def fail(message):
        raise DataError(f"{path}, line {line} ({row['id']}): {message}. {_rescan(path.parent)}")

    values = {name: row[name] for name in ("id", "path", "labels", "group", "sha256", "reason")}
    for name in ("frames", "promised", "width", "height", "bytes"):
        values[name] = _count(row[name], fail, name)
    values["fps"] = _rate(row["fps"], fail)
    values["usable"] = {"0": False, "1": True}.get(row["usable"])
    if values["usable"] is None:
        fail(f"usable must be 0 or 1, got {row['usable']!r}")
    made = Row(**values)
    if made.usable and (not made.names or set(made.names) - classes):
        fail(f"the labels {row['labels']!r} are not all in classes.txt")
    if made.usable and (not made.frames or len(made.sha256) != 64):
        fail("a usable video must have frames and a SHA-256")
    return made


def _count(text, fail, name):
    if not (text.isascii() and text.isdigit()):
        fail(f"{name} must be a whole number from 0, got {text!r}")
    return int(text)


def _rate(text, fail):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    return value if math.isfinite(value) and value >= 0 else fail(f"fps must be finite: {text!r}")


def write_classes(data, names: list[str]) -> None:
    """Write DATA/classes.txt."""
    write_atomic(Path(data) / "classes.txt", "".join(f"{name}\n" for name in names))


def read_classes(data) -> list[str]:
    """The class names of DATA/classes.txt; a label is the line number from 0."""
    path = Path(data) / "classes.txt"
    return check_classes(path, read_lines(path, _rescan(data)))


def read_lines(path, remedy) -> list[str]:
    """The lines of a UTF-8 text file, without line ends and without empty lines at the end."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. {remedy}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}). {remedy}") from None
    # Not splitlines(): it also splits at characters that a name may hold.
    return text.rstrip("\n").split("\n") if text.strip() else []


def check_classes(path, names: list[str]) -> list[str]:
    """`names`, unless they are none, empty, repeated or hold a character they must not."""
    if not names:
        raise DataError(f"{path}: holds no class name")
    for number, name in enumerate(names, 1):
        if not name or any(character in name for character in FORBIDDEN_IN_CLASS):
            raise DataError(f"{path}, line {number}: {name!r} cannot be a class name")
        if names.index(name) != number - 1:
            raise DataError(f"{path}, line {number}: class {name!r} is there twice")
    return names


def write_split(data, subsets: dict[str, str]) -> None:
    """Write DATA/split.csv, a subset for each id."""
    write_table(Path(data) / "split.csv", ("id", "subset"), subsets.items())


def read_split(data) -> dict[str, str]:
    """Part (`train`, `validation`, `test` or the number of a fold) of each id in DATA/split.csv."""
    path = Path(data) / "split.csv"
    remedy = command("split", data)
    rows = read_table(path, ("id", "subset"), f"Make it with: {remedy}")
    unique(path, rows)
    usable = {row.id for row in read_manifest(data) if row.usable}
    for line, row in rows:
        if row["subset"] not in SUBSETS and not row["subset"].isdigit():
            raise DataError(
                f"{path}, line {line}: subset must be train, validation, test or the number of a "
                f"fold, got {row['subset']!r}"
            )
        if row["id"] not in usable:
            raise DataError(
                f"{path}, line {line}: {row['id']!r} is no usable video of manifest.csv. The "
                f"videos were scanned again since: split again with {remedy}"
            )
    return {row["id"]: row["subset"] for _, row in rows}
