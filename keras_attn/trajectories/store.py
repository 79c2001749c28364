"""The trajectories of a data folder on disk: one float16 array a video, (N, 426), made once.

    DATA/trajectories/short-<side>/   provenance.json   how they were made, and from which records
                                      index.csv         id, file, found, stored, record
                                      <stem>.npy        descriptors, see `trajectories.LENGTHS`

Whole or absent: the index is written after the files that it names, and `record` is the SHA-256 of
the record that a file was made from. What a killed run left without an entry is made again.
"""

import concurrent.futures
import time
import zlib
from pathlib import Path

import numpy as np

from keras_attn.data import batches, record_index
from keras_attn.data.record_index import Record
from keras_attn.datasets import catalog, tables
from keras_attn.errors import DataError, UsageError, require
from keras_attn.trajectories import LENGTHS, SETTINGS, extract
from keras_attn.trajectories.pyramid import SMALLEST
from keras_attn.utils.files import exclusive, read_json, staging, write_json
from keras_attn.utils.process import processors

COLUMNS = ("id", "file", "found", "stored", "record")
WIDTH = sum(LENGTHS.values())
_SEED = 0  # of a sample
_SECONDS_BETWEEN_INDEXES = 5.0


class TrajectoryStore:
    """The trajectories of the videos of DATA at one frame size.

    Frames are made smaller to a short side of `short_side` pixels, never larger. Of a video at
    most `limit` trajectories are stored: a random choice, the same whenever it is made.
    """

    def __init__(self, data, short_side: int = 160, limit: int = 10_000):
        if short_side < SMALLEST or limit < 1:
            raise UsageError(
                f"short_side must be at least {SMALLEST} pixels and limit at least 1, got "
                f"{short_side} and {limit}"
            )
        self.data, self.short_side, self.limit = Path(data), short_side, limit
        self.folder = self.data / "trajectories" / f"short-{short_side}"
        self.index_path = self.folder / "index.csv"
        self.rows: dict[str, dict] = {}

    def fill(self, records: list[Record], workers: int | None = None, progress=None):
        """Extract what is missing of `records`, several at a time; the ids that were written.

        Raises `DataError` when the folder holds trajectories that were made in another way or a
        record is damaged, `UserError` when another process writes there, or the disk is full. What
        was written before an error is kept.
        """
        self._claim()
        busy = f"{self.folder}: another process extracts these trajectories; wait for it, or stop"
        with exclusive(self.folder, f"{busy} it"):
            self.rows = self._whole()
            todo = [record for record in records if not self._fits(record)]
            record_index.check_contents(self.data, todo)
            self._make_all(todo, workers or processors(), len(records), progress)
        return [record.id for record in todo]

    def _make_all(self, todo, workers, total, progress):
        last, done = time.monotonic(), total - len(todo)
        pool = concurrent.futures.ThreadPoolExecutor(workers)
        making = {pool.submit(self._make, record): record.id for record in todo}
        try:
            for future in concurrent.futures.as_completed(making):
                future.result()
                done += 1
                if time.monotonic() - last > _SECONDS_BETWEEN_INDEXES:
                    self._write_index()
                    last = time.monotonic()
                if progress:
                    progress(done, total, making[future])
        finally:
            pool.shutdown(cancel_futures=True)
            self._write_index()

    def counts(self, ids) -> tuple[int, int]:
        """How many trajectories these videos have, and how many of them are stored."""
        rows = [self.rows[key] for key in ids]
        return sum(int(row["found"]) for row in rows), sum(int(row["stored"]) for row in rows)

    def read(self, video_id: str) -> np.ndarray:
        """The descriptors of a video, `(N, 426)` float16."""
        return np.load(self.path(video_id), allow_pickle=False)

    def sample(self, ids, count: int) -> np.ndarray:
        """At most `count` trajectories of these videos, chosen at random: `(n, 426)` float32."""
        stored = [int(self.rows[key]["stored"]) for key in ids]
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

    def path(self, video_id: str) -> Path:
        return self.folder / f"{catalog.file_stem(video_id)}.npy"

    def _claim(self):
        """Start a store, or go on with one that was made in the same way."""
        path = self.folder / "provenance.json"
        expected = {
            "short_side": self.short_side,
            "limit": self.limit,
            "settings": SETTINGS,
            "records": record_index.read_provenance(self.data),
        }
        if not path.exists():
            write_json(path, expected)
        different = tables.differences(read_json(path), expected)
        if different:
            raise DataError(
                f"{self.folder}: the trajectories were made in another way: {different}. Remove "
                "that folder to make them again, or use the settings they were made with."
            )

    def _whole(self):
        """The index rows by id whose files are as they were written."""
        if not self.index_path.exists():
            return {}
        table = tables.read_table(self.index_path, COLUMNS, "Remove it, and run the command again")
        return {row["id"]: row for _, row in table if self._is_whole(row)}

    def _is_whole(self, row):
        try:
            array = np.load(self.path(row["id"]), mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError, OSError):
            return False
        return array.dtype == np.float16 and [*map(str, array.shape)] == [row["stored"], str(WIDTH)]

    def _fits(self, record):
        return record.id in self.rows and self.rows[record.id]["record"] == record.sha256

    def _write_index(self):
        rows = list(self.rows.values())  # while workers add to them
        table = [[row[name] for name in COLUMNS] for row in rows]
        tables.write_table(self.index_path, COLUMNS, table)

    def _make(self, record):
        """Extract, choose and write the trajectories of one record; then it has a row."""
        found = descriptors_of(record, self.short_side)
        stored = found
        if len(found) > self.limit:
            random = np.random.default_rng(zlib.crc32(record.id.encode("utf-8", "replace")))
            stored = found[np.sort(random.choice(len(found), self.limit, replace=False))]
        path = self.path(record.id)
        with staging(path) as beside, open(beside, "wb") as file:
            np.save(file, stored.astype("<f2"), allow_pickle=False)
        counts = {"found": str(len(found)), "stored": str(len(stored))}
        row = {"id": record.id, "file": path.name, **counts, "record": record.sha256}
        self.rows[record.id] = row


def descriptors_of(record: Record, short_side: int) -> np.ndarray:
    """The descriptors `(N, 426)` of a record, whose frames may be too small to have any."""
    factor = min(1.0, short_side / min(record.height, record.width))
    size = (round(record.width * factor), round(record.height * factor))
    if min(size) < SMALLEST:
        return np.zeros((0, WIDTH), "float32")
    cv2 = require("cv2", "extracting trajectories")
    encoded = batches.encoded_frames(Path(record.path).read_bytes(), record.path).numpy()

    def frame(jpeg):
        picture = cv2.imdecode(np.frombuffer(jpeg, "uint8"), cv2.IMREAD_COLOR)[..., ::-1]
        return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)

    return extract(map(frame, encoded)).joined()
