"""Records of flow: one file per video that holds its planes as gray JPEGs; made by `extract_flow`.

    DATA/flow/<name>/<stem>.record     see `record_format`; x and y of plane k at position k
                     index.csv         see `store`; also the number of planes
                     provenance.json   method, size, ... of all flow here, and of its records

Plane k is the motion from frame k to frame k + 1, counted from 0, so that there is one plane fewer
than frames.
"""

import dataclasses
from pathlib import Path
from typing import Literal

import numpy as np

from keras_attn import flow
from keras_attn.data.filling import fill
from keras_attn.data.flow_estimation import QUALITY, FlowMaker
from keras_attn.data.record_format import SUFFIX
from keras_attn.data.records import read_provenance
from keras_attn.data.store import DerivedStore
from keras_attn.data.streams import FLOW_METHODS, flow_name
from keras_attn.datasets import tables
from keras_attn.datasets.tables import Row
from keras_attn.errors import DataError, UsageError, require
from keras_attn.flow import codec
from keras_attn.flow import warped as camera
from keras_attn.utils.process import processors

MINIMUM_SIDE = 16  # pixels


@dataclasses.dataclass(frozen=True)
class FlowRecord:
    """A complete record of flow and its row of the index; `planes` of each component."""

    id: str
    path: str
    planes: int
    entry: dict = dataclasses.field(repr=False)


class FlowStore(DerivedStore):
    """The flow of a data folder that is called `name`, see `streams.flow_name`."""

    what, suffix, columns = "planes of flow", SUFFIX, ("planes",)

    def __init__(self, data, name: str):
        super().__init__(data, Path(data) / "flow" / name)

    def expected(self, row):
        return {"planes": row.frames - 1}

    def remedy(self):
        made, name = self.recorded_settings(), self.folder.name
        command = ["--method", name.removesuffix("_warped")]
        command += ["--warped"] if name.endswith("_warped") else []
        for key in ("width", "height"):
            command += [f"--{key}", made[key]] if key in made else []
        return "Make them with: " + tables.command("extract-flow", self.data, *command)

    def hint(self, missing):
        single = [row.id for row in missing if row.frames < 2]
        if not single:
            return ""
        return (
            f". {len(single)} of these have one frame and can have no flow, as {single[0]}: take "
            "them out of the videos and scan again"
        )


def read_flow_provenance(data, name: str) -> dict:
    """The settings that this flow was made with; `DataError` if there is none.

    `method`, `warped`, `settings` of the method, `width` and `height` of the frames that it was
    estimated on, `bound`, `quality`, `index_base` and the `records` that it was made of.
    """
    return FlowStore(data, name).provenance()


def read_flow_index(data, name: str, rows: list[Row] | None = None) -> list[FlowRecord]:
    """The flow of the usable videos of DATA, in the order of the manifest.

    `rows` are those videos, if they were read already. Raises `DataError` that names the videos
    whose flow is missing or outdated, and those of one frame, which have none.
    """
    store = FlowStore(data, name)
    rows = [row for row in tables.read_manifest(data) if row.usable] if rows is None else rows
    return [
        FlowRecord(row.id, str(store.folder / entry["file"]), row.frames - 1, entry)
        for row, entry in zip(rows, store.complete(rows), strict=True)
    ]


def check_flow_contents(
    data, name: str, records: list[FlowRecord], full: bool = False, progress=None
) -> None:
    """`DataError` that names flow whose content is not the one written; see `store`."""
    FlowStore(data, name).check_contents([record.entry for record in records], full, progress)


@dataclasses.dataclass(frozen=True)
class FlowSummary:
    """The outcome of `extract_flow`; `written + kept + failed == videos` always holds."""

    data: str
    name: str
    videos: int
    written: int
    kept: int
    failed: int
    orphans: int  # files in the folder of no usable video
    planes: int
    bytes: int
    settings: dict
    problems: tuple[str, ...]  # usable videos that got no flow
    notes: tuple[str, ...]

    def as_dict(self) -> dict:
        """The summary in plain values, for JSON."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """The summary as text."""
        return [
            f"{self.videos} usable videos: flow of {self.written} written, {self.kept} kept, "
            f"{self.failed} failed",
            f"{self.planes} planes of x and of y, {self.bytes / 2**20:.1f} MiB in "
            f"{Path(self.data, 'flow', self.name)}",
            *tables.shortened(self.problems + self.notes),
        ]


def extract_flow(
    data: Path | str,
    method: Literal["tvl1", "dis", "farneback"] = "tvl1",
    *,
    warped: bool = False,
    width: int = 340,
    height: int = 256,
    workers: int | None = None,
    progress=None,
) -> FlowSummary:
    """Estimate the optical flow between the frames of each record, and store it beside the records.

    Complete flow is kept. A video whose record is missing or damaged, or that has one frame, is one
    of the summary's `problems`, and the others are done all the same.

    Args:
        data: Data folder that was prepared.
        method: How flow is estimated. TV-L1 needs no further package, the others need OpenCV.
        warped: Take the motion of the camera away; needs OpenCV.
        width: Width in pixels that frames are stretched to; flow is in pixels of that size.
        height: Height in pixels that frames are stretched to.
        workers: Videos at a time, by default one per processor.
        progress: Called with the number of videos done, that of all, and the id of one.

    Returns:
        The counts of what was written and kept, and the problems.

    Raises:
        UsageError: an argument is out of its range.
        DataError: the flow there was created with different settings, or there are no records.
        UserError: the disk is full, OpenCV is needed and missing, or another process makes the
            same flow.
    """
    settings = _settings(data, method, warped, width, height)
    if workers is not None and workers < 1:
        raise UsageError(f"`workers` must be at least 1, got {workers}")
    rows = [row for row in tables.read_manifest(data) if row.usable]
    store = FlowStore(data, flow_name(method, warped))
    maker = FlowMaker(store, settings)
    with store.writing(settings, rows, progress):
        todo = [row for row in rows if row.id not in store.index]
        workers = workers or processors()
        found = fill(store, todo, maker.make, workers, len(rows), progress, maker.stop)
    problems = tuple(f"{row.id}: {found[row.id]}" for row in rows if row.id in found)
    return _summary(store, settings, rows, len(rows) - len(todo), problems)


def _settings(data, method, warped, width, height):
    """The settings of this flow; `UsageError` or `UserError` for those that cannot be."""
    if method not in FLOW_METHODS:
        raise UsageError(f"`method` must be one of {', '.join(FLOW_METHODS)}, got {method!r}")
    of_method = flow.settings(method)
    if min(width, height) < MINIMUM_SIDE:
        raise UsageError(
            f"`width` and `height` must be at least {MINIMUM_SIDE}, got {width} x {height}"
        )
    if warped:
        require("cv2", "compensating camera motion")
        of_method = of_method | {"camera": camera.SETTINGS}
    if method != "tvl1":  # not in the first of a thousand videos only
        nothing = np.zeros((1, MINIMUM_SIDE, MINIMUM_SIDE), "uint8")
        flow.estimate(nothing, nothing, method)
    return {
        "method": method,
        "warped": warped,
        "settings": of_method,
        "width": width,
        "height": height,
        "bound": codec.BOUND,
        "quality": QUALITY,
        "index_base": 0,
        "planes": "plane k is the motion from frame k to frame k + 1",
        "records": read_provenance(data),
    }


def _summary(store, settings, rows, kept, problems):
    counts = {"written": len(store.index) - kept, "kept": kept, "failed": len(problems)}
    if sum(counts.values()) != len(rows):
        parts = " + ".join(f"{count} {what}" for what, count in counts.items())
        raise DataError(f"{store.folder}: {parts} are not the {len(rows)} usable videos")
    return FlowSummary(
        data=str(store.data),
        name=store.folder.name,
        videos=len(rows),
        **counts,
        orphans=len(store.orphans(rows)),
        planes=sum(int(entry["planes"]) for entry in store.index.values()),
        bytes=sum(int(entry["bytes"]) for entry in store.index.values()),
        settings=settings,
        problems=problems,
        notes=store.orphan_notes(rows),
    )
