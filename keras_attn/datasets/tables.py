"""The tables of a data folder: manifest.csv, classes.txt, split.csv; written whole, read with care.

A reader raises `DataError` that names the file and the line of whatever is wrong.
"""

import csv
import dataclasses
import functools
import io
import math
import shlex
from pathlib import Path

from keras_attn.errors import DataError
from keras_attn.utils.files import write_atomic

FORBIDDEN_IN_CLASS = "|\n\r"  # "|" joins labels, and classes.txt has one name per line
MAXIMUM_LINES = 20
SUBSETS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Row:
    """One file found: a row of manifest.csv, in the order of its columns.

    `labels` holds the class names joined by "|", `names` one by one.
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
_TEXTS = ("id", "path", "labels", "group", "sha256", "reason")
_COUNTS = ("frames", "promised", "width", "height", "bytes")


def shortened(lines) -> list[str]:
    """The first lines, and how many more there are: a summary is read on a screen."""
    rest = len(lines) - MAXIMUM_LINES
    return [*lines[:MAXIMUM_LINES], *([f"... and {rest} more"] if rest > 0 else [])]


def command(verb: str, data, *arguments) -> str:
    """A command line for the reader of a message to copy."""
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
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True, delimiter=_delimiter(file))
            header = next(reader, [])
            missing = [name for name in columns if name not in header]
            if missing:
                raise DataError(
                    f"{path}: has no column {', '.join(missing)}, only {', '.join(header)}. "
                    f"{remedy}"
                )
            rows = []
            for values in filter(None, reader):
                if len(values) != len(header):
                    raise DataError(
                        f"{path}, line {reader.line_num}: has {len(values)} values, expected "
                        f"{len(header)}. {remedy}"
                    )
                rows.append((reader.line_num, dict(zip(header, values, strict=True))))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. {remedy}") from None
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}). {remedy}") from None
    return rows


def _delimiter(file):
    """What separates the columns: a comma or, where the first line has none, a spreadsheet's."""
    first = file.readline()
    file.seek(0)
    return next((mark for mark in ",;\t" if mark in first), ",")


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


@dataclasses.dataclass(frozen=True)
class DataFolder:
    """The tables of a data folder, read once: all rows, class names, subsets by id."""

    path: Path
    manifest: list[Row]
    classes: list[str]

    @functools.cached_property
    def rows(self) -> dict[str, Row]:
        """The usable rows by id."""
        return {row.id: row for row in self.manifest if row.usable}

    @functools.cached_property
    def split(self) -> dict[str, str]:
        """The subset of each id; `DataError` where split.csv is missing, damaged or outdated."""
        return _read_split(self.path, self.rows)


def read_data_folder(data) -> DataFolder:
    """Read the tables of a data folder once; split.csv when it is first asked for."""
    rows, classes = _read_manifest(data)
    return DataFolder(Path(data), rows, classes)


def read_manifest(data) -> list[Row]:
    """All rows of DATA/manifest.csv; `DataError` names the line of a damaged one."""
    return _read_manifest(data)[0]


def _read_manifest(data):
    path = Path(data) / "manifest.csv"
    table = read_table(path, COLUMNS, _rescan(data))
    unique(path, table)
    classes = read_classes(data)
    known = set(classes)  # and joined labels, once they were checked
    rows = []
    for line, values in table:
        try:
            rows.append(_row(values, known))
        except ValueError as error:
            where = f"{path}, line {line} ({values['id']})"
            raise DataError(f"{where}: {error}. {_rescan(data)}") from None
    return rows, classes


def _row(values, known):
    """The row of these texts; `ValueError` says what is wrong with them."""
    texts = {name: values[name] for name in _TEXTS}
    counts = {name: _count(name, values[name]) for name in _COUNTS}
    fps, usable = _rate(values["fps"]), values["usable"] == "1"
    if not usable and values["usable"] != "0":
        raise ValueError(f"usable must be 0 or 1, got {values['usable']!r}")
    row = Row(**texts, **counts, fps=fps, usable=usable)
    if usable:
        if row.labels not in known:
            if not row.names or not known.issuperset(row.names):
                raise ValueError(f"the labels {row.labels!r} are not all in classes.txt")
            known.add(row.labels)
        if not row.frames or len(row.sha256) != 64:
            raise ValueError("a usable video must have frames and a SHA-256")
    return row


def _count(name, text):
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{name} must be a whole number from 0, got {text!r}")
    return int(text)


def _rate(text):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"fps must be finite and not negative, got {text!r}")
    return value


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
    """`names`; `DataError` if there is none, or an empty, repeated or forbidden one."""
    if not names:
        raise DataError(f"{path}: holds no class name")
    seen = set()
    for number, name in enumerate(names, 1):
        if not name or any(character in name for character in FORBIDDEN_IN_CLASS):
            raise DataError(f"{path}, line {number}: {name!r} cannot be a class name")
        if name in seen:
            raise DataError(f"{path}, line {number}: class {name!r} is there twice")
        seen.add(name)
    return names


def write_split(data, subsets: dict[str, str]) -> None:
    """Write DATA/split.csv, a subset for each id."""
    write_table(Path(data) / "split.csv", ("id", "subset"), subsets.items())


def read_split(data) -> dict[str, str]:
    """Subset (`train`, `validation`, `test` or the number of a fold) of each id in split.csv."""
    return read_data_folder(data).split


def _read_split(data, usable):
    path, remedy = data / "split.csv", command("split", data)
    if not path.exists():
        raise DataError(f"{path}: no such file. Make it with: {remedy}")
    table = read_table(path, ("id", "subset"), f"Split again with: {remedy}")
    unique(path, table)
    for line, row in table:
        if row["subset"] not in SUBSETS and not row["subset"].isdigit():
            raise DataError(
                f"{path}, line {line}: subset must be train, validation, test or the number of a "
                f"fold, got {row['subset']!r}"
            )
        if row["id"] not in usable:
            raise DataError(
                f"{path}, line {line}: {row['id']!r} is no usable video of manifest.csv, which "
                f"was scanned again after the split. Split again with: {remedy}"
            )
    return {row["id"]: row["subset"] for _, row in table}
