"""What flow there is: the index of DATA/flow/<name>, read with care."""

import dataclasses
import shlex
from pathlib import Path

from keras_attn.data.record_index import damaged
from keras_attn.datasets import tables
from keras_attn.errors import DataError
from keras_attn.utils.files import read_json

# `source` is the SHA-256 of the video file.
COLUMNS = ("id", "file", "planes", "bytes", "sha256", "source")


@dataclasses.dataclass(frozen=True)
class FlowRecord:
    """A complete record of flow; `planes` of each component, one fewer than the video's frames."""

    id: str
    path: str
    planes: int
    sha256: str


def flow_folder(data, name: str) -> Path:
    """Where flow called `name`, as `streams.flow_name` says, lies."""
    return Path(data) / "flow" / name


def flow_remedy(data, name: str) -> str:
    """How to make the flow called `name`, with the settings of what is already there."""
    path = flow_folder(data, name) / "provenance.json"
    made = read_json(path) if path.exists() else {}
    command = ["flow", data, "--method", name.removesuffix("_warped")]
    command += ["--warped"] if name.endswith("_warped") else []
    for key in ("width", "height"):
        command += [f"--{key}", made[key]] if key in made else []
    return f"Make it with: keras-attn {shlex.join(map(str, command))}"


def flow_index_remedy(data, name: str) -> str:
    """As `flow_remedy`, for an index that is missing or damaged."""
    there = (flow_folder(data, name) / "index.csv").exists()
    return f"{'Remove it. ' if there else ''}{flow_remedy(data, name)}"


def read_flow_provenance(data, name: str) -> dict:
    """The settings that this flow was made with; `DataError` if there is none.

    `method`, `warped`, `settings` of the method, `width` and `height` of the frames that it was
    estimated on, `bound`, `quality`, `index_base` and the `records` that it was made of.
    """
    path = flow_folder(data, name) / "provenance.json"
    if not path.exists():
        raise DataError(f"{path}: no such file. {flow_remedy(data, name)}")
    return read_json(path)


def read_flow_index(data, name: str) -> list[FlowRecord]:
    """The flow of all usable videos of DATA, in the order of the manifest.

    Raises `DataError` that names the videos whose flow is missing, has not the size that it should,
    or was made of another file; and those of one frame, which have none.
    """
    data, folder = Path(data), flow_folder(data, name)
    rows = [row for row in tables.read_manifest(data) if row.usable]
    entries = read_entries(data, name)
    bad = [row for row in rows if not flow_fits(folder, row, entries.get(row.id))]
    if bad:
        raise DataError(
            f"{folder}: the flow of {len(bad)} of {len(rows)} usable videos is missing, damaged or "
            f"out of date, the first are {', '.join(row.id for row in bad[:3])}. "
            f"{flow_remedy(data, name)} (what is complete is kept){_note(bad)}"
        )
    return [_record(folder, entries[row.id]) for row in rows]


def check_flow_contents(data, name: str, records: list[FlowRecord]) -> None:
    """`DataError` that names the flow whose content is not the one written; reads all of it."""
    bad = damaged(records)
    if bad:
        raise DataError(
            f"{bad[0].path}: the flow of {bad[0].id} is damaged, as is that of {len(bad) - 1} more "
            f"of {len(records)}. {flow_remedy(data, name)} (what is complete is kept)"
        )


def read_entries(data, name: str) -> dict[str, dict]:
    """The rows of the index by the id of their video; `DataError` for a damaged one."""
    path = flow_folder(data, name) / "index.csv"
    table = tables.read_table(path, COLUMNS, flow_index_remedy(data, name))
    tables.unique(path, table)
    return {entry["id"]: entry for _, entry in table}


def flow_fits(folder: Path, row: tables.Row, entry: dict | None) -> bool:
    """Whether a row of the index is of the video as it was scanned, and its file as long."""
    if entry is None or entry["source"] != row.sha256 or entry["planes"] != str(row.frames - 1):
        return False
    path = folder / entry["file"]
    return path.is_file() and str(path.stat().st_size) == entry["bytes"]


def _note(rows):
    single = [row.id for row in rows if row.frames < 2]
    if not single:
        return ""
    return (
        f". {len(single)} of these have one frame and can have no flow, as {single[0]}: take them "
        "out of the videos and scan again"
    )


def _record(folder, entry):
    path = str(folder / entry["file"])
    return FlowRecord(entry["id"], path, int(entry["planes"]), entry["sha256"])
