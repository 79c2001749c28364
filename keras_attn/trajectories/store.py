"""The trajectories of a data folder on disk: one float16 array per video, (N, 426), made once.

DATA/trajectories/short-<side>/<stem>.npy        descriptors, see `trajectories.LENGTHS`
                               index.csv         see `data.store`; also how many were found
                               provenance.json   how they were made, and from which records
"""

import concurrent.futures
import io
import threading
import zlib
from pathlib import Path

import numpy as np

from keras_attn.data import records
from keras_attn.data.filling import fill
from keras_attn.data.record_format import RecordFile
from keras_attn.data.records import Record
from keras_attn.data.store import DerivedStore
from keras_attn.datasets import tables
from keras_attn.datasets.tables import Row
from keras_attn.errors import DataError, UsageError, require
from keras_attn.trajectories import LENGTHS, SETTINGS, extract
from keras_attn.trajectories.pyramid import MINIMUM_SIDE
from keras_attn.utils.process import processors

WIDTH = sum(LENGTHS.values())
_SEED = 0  # of a sample


class TrajectoryStore(DerivedStore):
    """The trajectories of the videos of DATA at one frame size.

    Frames are made smaller to a short side of `short_side` pixels, never larger. Of a video at
    most `limit` trajectories are stored: a random choice, the same whenever it is made.
    """

    what, suffix, columns = "trajectories", ".npy", ("found", "stored")

    def __init__(self, data, short_side: int = 160, limit: int = 10_000):
        if short_side < MINIMUM_SIDE or limit < 1:
            raise UsageError(
                f"`short_side` must be at least {MINIMUM_SIDE} pixels and `limit` at least 1, got "
                f"{short_side} and {limit}"
            )
        super().__init__(data, Path(data) / "trajectories" / f"short-{short_side}")
        self.short_side, self.limit = short_side, limit

    def remedy(self):
        options = ["--out", "SCORES", "--short-side", self.short_side, "--limit", self.limit]
        return "Make them with: " + tables.command("score-trajectories", self.data, *options)

    def extract(self, rows: list[Row], wanted, workers: int | None = None, progress=None):
        """Extract what is missing of the `wanted` ids among `rows`, several videos at a time.

        `rows` are all usable videos of DATA. Returns the ids that were written. Raises `DataError`
        when the trajectories there were created with different settings or a record is damaged,
        `UserError` when another process writes there, or the disk is full. What was written before
        an error is kept.
        """
        settings = {
            "short_side": self.short_side,
            "limit": self.limit,
            "settings": SETTINGS,
            "records": records.read_provenance(self.data),
        }
        sources = {record.id: record for record in records.read_index(self.data, rows)}
        with self.writing(settings, rows, progress):
            todo = [row for row in rows if row.id in wanted and row.id not in self.index]
            some = [sources[row.id] for row in todo]
            records.check_contents(self.data, some, full=True, progress=progress)
            workers = workers or processors()
            stopped = threading.Event()
            problems = fill(
                self,
                todo,
                lambda row: self._make(sources[row.id], stopped),
                workers,
                len(wanted),
                progress,
                stopped.set,
            )
        for key, problem in problems.items():
            raise DataError(f"{key}: {problem}")
        return [row.id for row in todo]

    def counts(self, ids) -> tuple[int, int]:
        """How many trajectories these videos have, and how many of them are stored."""
        entries = [self.index[key] for key in ids]
        return sum(int(one["found"]) for one in entries), sum(int(one["stored"]) for one in entries)

    def read(self, video_id: str) -> np.ndarray:
        """The descriptors of a video, `(N, 426)` float16."""
        return np.load(self.path(video_id), allow_pickle=False)

    def sample(self, ids, count: int) -> np.ndarray:
        """At most `count` trajectories of these videos, chosen at random: `(n, 426)` float32."""
        stored = [int(self.index[key]["stored"]) for key in ids]
        total = sum(stored)
        random = np.random.default_rng([_SEED, total])
        chosen = np.sort(random.choice(total, min(count, total), replace=False, shuffle=False))
        ends = np.cumsum(stored)
        pieces = [np.zeros((0, WIDTH), "float32")]
        for video_id, start, end in zip(ids, ends - stored, ends, strict=True):
            rows = chosen[slice(*np.searchsorted(chosen, [start, end]))] - start
            if len(rows):
                pieces.append(self.read(video_id)[rows].astype("float32"))
        return np.concatenate(pieces)

    def _make(self, record, stopped):
        """Extract, choose and write the trajectories of one record; how many there are."""
        found = descriptors_of(record, self.short_side, stopped)
        stored = found
        if len(found) > self.limit:
            random = np.random.default_rng(zlib.crc32(record.id.encode("utf-8", "replace")))
            stored = found[np.sort(random.choice(len(found), self.limit, replace=False))]
        content = io.BytesIO()
        np.save(content, stored.astype("<f2"), allow_pickle=False)
        written = self.write(record.id, [content.getbuffer()])
        return written, {"found": len(found), "stored": len(stored)}


def descriptors_of(record: Record, short_side: int, stopped=None) -> np.ndarray:
    """The descriptors `(N, 426)` of a record, whose frames may be too small to have any.

    Ends by `CancelledError` before the next frame when the event `stopped` is set.
    """
    factor = min(1.0, short_side / min(record.height, record.width))
    size = (round(record.width * factor), round(record.height * factor))
    if min(size) < MINIMUM_SIDE:
        return np.zeros((0, WIDTH), "float32")
    cv2 = require("cv2", "extracting trajectories")

    def frame(jpeg):
        if stopped and stopped.is_set():
            raise concurrent.futures.CancelledError
        picture = cv2.imdecode(np.frombuffer(jpeg, "uint8"), cv2.IMREAD_COLOR)[..., ::-1]
        return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)

    with RecordFile(record.path) as file:
        jpegs = (file.read(position)[0] for position in range(len(file)))
        return extract(map(frame, jpegs)).joined()
