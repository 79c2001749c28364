"""flow: optical flow between the frames of the records, beside them, whole or not at all.

    DATA/flow/<name>/<stem>.record     one serialised tf.train.SequenceExample (`flow_making`)
                     index.csv         what is complete: planes, size and SHA-256 of each record
                     provenance.json   the settings that all records here were made with

The index is written every few seconds, after the records that it names: what a killed run left
behind without an index entry is made again. The records of frames are only read.
"""

import concurrent.futures
import contextlib
import dataclasses
import time
from pathlib import Path

import numpy as np

from keras_attn import flow
from keras_attn.data import record_index
from keras_attn.data.flow_estimation import QUALITY, FlowMaker
from keras_attn.data.flow_index import (
    COLUMNS,
    FlowRecord,
    check_flow_contents,
    flow_fits,
    flow_folder,
    read_entries,
    read_flow_index,
    read_flow_provenance,
)
from keras_attn.data.streams import FLOW_METHODS, flow_name
from keras_attn.datasets import tables
from keras_attn.datasets.catalog import file_stem
from keras_attn.errors import DataError, UsageError, UserError, require
from keras_attn.flow import codec
from keras_attn.flow import warped as camera
from keras_attn.utils.files import exclusive, leftovers, read_json, write_json
from keras_attn.utils.process import processors

__all__ = [
    "FlowRecord",
    "FlowSummary",
    "check_flow_contents",
    "extract_flow",
    "flow_name",
    "read_flow_index",
    "read_flow_provenance",
]

SMALLEST = 16  # pixels of a side
_SECONDS_BETWEEN_INDEXES = 5.0


@dataclasses.dataclass(frozen=True)
class FlowSummary:
    """What `extract_flow` did; `written + kept + failed == videos` always holds."""

    data: str
    name: str
    videos: int
    written: int
    kept: int
    failed: int
    stale: int  # files in the folder of no usable video
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
            f"{flow_folder(self.data, self.name)}",
            *tables.shortened(self.problems + self.notes),
        ]


def extract_flow(
    data,
    method: str = "tvl1",
    *,
    warped: bool = False,
    width: int = 340,
    height: int = 256,
    workers: int | None = None,
    progress=None,
) -> FlowSummary:
    """Write the flow of each usable video of DATA from its record, and keep what is complete.

    `method` is one of `streams.FLOW_METHODS`; `warped` takes the camera's motion away
    (`flow.warped`). Flow is in pixels of `width` x `height`. `workers` videos are worked on at a
    time, by default one a processor. Raises `UsageError` when flow made with other settings is
    there, `UserError` when the disk is full, OpenCV is needed and missing, or another process
    writes the same folder.
    A video whose record is missing or damaged, or that has one frame, is a line of `problems`, and
    the others are done all the same.
    """
    settings = _settings(data, method, warped, width, height)
    if workers is not None and workers < 1:
        raise UsageError(f"workers must be at least 1, got {workers}")
    data = Path(data)
    rows = [row for row in tables.read_manifest(data) if row.usable]
    folder = flow_folder(data, flow_name(method, warped))
    maker = FlowMaker(data, folder, settings)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder, f"{folder}: another process makes this flow; wait for it, or stop it"):
        _claim(folder, settings)
        return _fill(_Store(data, folder, rows, settings), maker, workers, progress)


def _settings(data, method, warped, width, height):
    """What this flow is made with; `UsageError` or `UserError` for what cannot be."""
    if method not in FLOW_METHODS:
        raise UsageError(f"method must be one of {', '.join(FLOW_METHODS)}, got {method!r}")
    of_method = flow.settings(method)
    if min(width, height) < SMALLEST:
        raise UsageError(f"width and height must be at least {SMALLEST}, got {width} x {height}")
    if warped:
        require("cv2", "compensating camera motion")
        of_method = of_method | {"camera": camera.SETTINGS}
    if method != "tvl1":  # not in the first of a thousand videos only
        nothing = np.zeros((1, SMALLEST, SMALLEST), "uint8")
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
        "records": record_index.read_provenance(data),
    }


def _claim(folder, settings):
    """Take over the folder, unless flow of other settings is in it."""
    path = folder / "provenance.json"
    if not path.exists():
        write_json(path, settings)
        return
    changed = tables.differences(read_json(path), settings)
    if changed:
        raise UsageError(
            f"{folder}: holds flow made with other settings: {changed}. Use their settings, or "
            "remove that folder to make all again."
        )


def _fill(store, maker, workers, progress):
    with store, concurrent.futures.ThreadPoolExecutor(workers or processors()) as pool:
        waiting = {pool.submit(maker.make, row, store.index.get(row.id)): row for row in store.rows}
        try:
            for done, future in enumerate(concurrent.futures.as_completed(waiting), 1):
                row = waiting[future]
                store.add(row, future.result())
                if progress:
                    progress(done, len(waiting), row.id)
        except BaseException:
            maker.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return store.summary()


class _Store:
    """The flow of one run: what is complete, and the file that says so."""

    def __init__(self, data, folder, rows, settings):
        self.data, self.folder, self.rows, self.settings = data, folder, rows, settings
        there = (folder / "index.csv").exists()
        found = read_entries(data, folder.name) if there else {}
        self.index = {row.id: found[row.id] for row in rows if self._fits(row, found.get(row.id))}
        self.written, self.kept, self.problems = 0, 0, {}
        self.last_flush = time.monotonic()

    def _fits(self, row, entry):
        return flow_fits(self.folder, row, entry) and entry["file"] == f"{file_stem(row.id)}.record"

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        with contextlib.suppress(*([UserError] if error else [])):  # the first error is told
            self.flush()

    def add(self, row, made):
        """Take the outcome of one video."""
        self.index.pop(row.id, None)
        if made.problem:
            self.problems[row.id] = f"{row.id}: {made.problem}"
        else:
            self.index[row.id] = made.entry
            self.written += made.new
            self.kept += not made.new
        if time.monotonic() - self.last_flush > _SECONDS_BETWEEN_INDEXES:
            self.flush()

    def flush(self):
        entries = [self.index[row.id] for row in self.rows if row.id in self.index]
        table = [[entry[name] for name in COLUMNS] for entry in entries]
        tables.write_table(self.folder / "index.csv", COLUMNS, table)
        self.last_flush = time.monotonic()

    def _strangers(self):
        """Files that belong to no usable video."""
        known = {f"{file_stem(row.id)}.record" for row in self.rows}
        known |= {"index.csv", "provenance.json"} | {p.name for p in leftovers(self.folder)}
        return sorted(path.name for path in self.folder.iterdir() if path.name not in known)

    def summary(self):
        strangers = self._strangers()
        note = (
            f"{len(strangers)} files in {self.folder} belong to no usable video and are not "
            f"used; remove them if nobody needs them: {', '.join(strangers[:3])}"
        )
        counts = {"written": self.written, "kept": self.kept, "failed": len(self.problems)}
        if sum(counts.values()) != len(self.rows):
            parts = " + ".join(f"{count} {what}" for what, count in counts.items())
            raise DataError(f"{self.folder}: {parts} are not the {len(self.rows)} usable videos")
        return FlowSummary(
            data=str(self.data),
            name=self.folder.name,
            videos=len(self.rows),
            **counts,
            stale=len(strangers),
            planes=sum(int(entry["planes"]) for entry in self.index.values()),
            bytes=sum(int(entry["bytes"]) for entry in self.index.values()),
            settings=self.settings,
            problems=tuple(self.problems[row.id] for row in self.rows if row.id in self.problems),
            notes=(note,) if strangers else (),
        )
