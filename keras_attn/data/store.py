"""The store of data derived from videos: one file per video, whole or absent.

    FOLDER/<stem><suffix>     one file per video
           index.csv          the complete files: size, SHA-256, time stamp and source of each
           provenance.json    the settings that all files here were made with

The index is written every few seconds, after the files that it names: what a killed run left
without an entry is made again, and a half-written file never has the name of a whole one.
"""

import concurrent.futures
import contextlib
import hashlib
import json
import time
from pathlib import Path

from keras_attn.datasets import tables
from keras_attn.datasets.catalog import file_stem
from keras_attn.datasets.tables import Row
from keras_attn.errors import DataError, UserError
from keras_attn.utils.files import (
    exclusive,
    leftovers,
    locked,
    make_folder,
    read_json,
    sha256,
    staging,
    write_json,
)
from keras_attn.utils.process import processors

# `source` is the SHA-256 of the video file; `mtime_ns` that of the file here when its content was
# last held against `sha256`, or 0 if it was then another.
COLUMNS = ("id", "file", "bytes", "sha256", "mtime_ns", "source")
_SECONDS_BETWEEN_INDEXES = 5.0


class DerivedStore:
    """Files derived from the videos of a data folder, and the index of those that are complete.

    A subclass names its files, says which index values fit a video, and which command makes them.
    An entry is a row of index.csv: a dict of `COLUMNS` and the subclass' `columns`, all text.
    """

    what = ""  # a plural, in messages: "records"
    suffix = ""  # of its files
    columns: tuple[str, ...] = ()  # of index.csv, besides COLUMNS
    own_files: tuple[str, ...] = ()  # files in the folder that belong to no single video

    def __init__(self, data, folder):
        self.data, self.folder = Path(data), Path(folder)
        self.index_path = self.folder / "index.csv"
        self.provenance_path = self.folder / "provenance.json"
        self.index: dict[str, dict] = {}  # complete entries by video id, while writing

    def expected(self, row: Row) -> dict:
        """Index values that the entry of a video must have, besides its `source`."""
        return {}

    def remedy(self) -> str:
        """A sentence with the command that makes these files, with the settings of those here."""
        raise AssertionError("a subclass says which command makes its files")

    def hint(self, missing: list[Row]) -> str:
        """An addition to the error about videos whose files are missing."""
        return ""

    def path(self, video_id: str) -> Path:
        return self.folder / f"{file_stem(video_id)}{self.suffix}"

    # Settings

    def provenance(self) -> dict:
        """The settings that these files were made with; `DataError` if there are none."""
        if not self.provenance_path.exists():
            raise DataError(f"{self.provenance_path}: no such file. {self.remedy()}")
        found = self.recorded_settings()
        if not found:
            raise DataError(f"{self.provenance_path}: is damaged. Remove it. {self.remedy()}")
        return found

    def recorded_settings(self) -> dict:
        """As `provenance`, or {} if there is none or it is damaged: for a `remedy`."""
        try:
            found = read_json(self.provenance_path)
        except UserError:
            return {}
        return found if isinstance(found, dict) else {}

    def check(self, settings: dict) -> dict:
        """Return the provenance; `DataError` names each of `settings` that it has otherwise."""
        found = self.provenance()
        different = tables.differences(found, json.loads(json.dumps(settings)))
        if different:
            raise DataError(
                f"{self.folder}: created with different settings: {different}. Use the settings "
                "of what is there, or remove that folder to make all again."
            )
        return found

    # Reading

    def entries(self) -> dict[str, dict]:
        """The entries of the index by video id; `DataError` when it is missing or damaged."""
        again = f"Remove it. {self.remedy()}" if self.index_path.exists() else self.remedy()
        table = tables.read_table(self.index_path, COLUMNS + self.columns, again)
        tables.unique(self.index_path, table)
        return {entry["id"]: entry for _, entry in table}

    def complete(self, rows: list[Row]) -> list[dict]:
        """The entry of each video; `DataError` names those that have none that is whole."""
        entries = self.entries()
        bad = [row for row in rows if not self.is_whole(row, entries.get(row.id))]
        if bad:
            raise DataError(
                f"{self.folder}: {self.what} of {len(bad)} of {len(rows)} usable videos are "
                f"missing, damaged or outdated, the first are "
                f"{', '.join(row.id for row in bad[:3])}. {self.remedy()} (what is complete is "
                f"kept){self.hint(bad)}"
            )
        return [entries[row.id] for row in rows]

    def is_whole(self, row: Row, entry: dict | None) -> bool:
        """Whether an entry is of the video as it was scanned, and its file as long as it says."""
        wanted = {"file": self.path(row.id).name, "source": row.sha256, **self.expected(row)}
        if entry is None or any(entry[key] != str(value) for key, value in wanted.items()):
            return False
        found = self._stat(entry)
        return found is not None and str(found.st_size) == entry["bytes"]

    def check_contents(self, entries: list[dict], full: bool = False, progress=None) -> None:
        """`DataError` names the files whose content is not the one that was written.

        A file whose size and time stamp are those of the last check is not read, unless `full`.
        What was read is remembered in the index. `progress` is called with the number of files
        read, how many there are to read, and the id of a video.
        """
        doubtful = entries if full else [one for one in entries if not self._unchanged(one)]
        bad = self._verify(doubtful, progress)
        self._remember(doubtful)
        if bad:
            raise DataError(
                f"{self.folder / bad[0]['file']}: the file of {bad[0]['id']} is damaged: its "
                f"content is not the one that was written, as with {len(bad) - 1} more of "
                f"{len(entries)} {self.what}. {self.remedy()} (what is complete is kept)"
            )

    def _stat(self, entry):
        try:
            return (self.folder / entry["file"]).stat()
        except (OSError, ValueError):
            return None

    def _unchanged(self, entry):
        found = self._stat(entry)
        return found is not None and (str(found.st_size), str(found.st_mtime_ns)) == (
            entry["bytes"],
            entry["mtime_ns"],
        )

    def _verify(self, entries, progress=None):
        """Read the files of these entries and set their time stamps; gives the damaged ones."""
        bad = []
        with concurrent.futures.ThreadPoolExecutor(processors()) as pool:
            for number, (entry, good) in enumerate(
                zip(entries, pool.map(self._verified, entries), strict=True), 1
            ):
                bad += [] if good else [entry]
                if progress:
                    progress(number, len(entries), f"checking {entry['id']}")
        return bad

    def _verified(self, entry):
        found = self._stat(entry)  # before it is read: a change while it is read shows next time
        try:
            good = found is not None and sha256(self.folder / entry["file"]) == entry["sha256"]
        except OSError:
            good = False
        entry["mtime_ns"] = str(found.st_mtime_ns) if good else "0"
        return good

    def _remember(self, entries):
        """Write new time stamps to the index, where this process may: not beside a writer."""
        with contextlib.suppress(UserError, OSError), locked(self.folder, "busy") as held:
            stamps = {(one["id"], one["sha256"]): one["mtime_ns"] for one in entries}
            current = self.entries() if held and stamps else {}
            before = [one["mtime_ns"] for one in current.values()]
            for one in current.values():
                one["mtime_ns"] = stamps.get((one["id"], one["sha256"]), one["mtime_ns"])
            if before != [one["mtime_ns"] for one in current.values()]:
                self._write_index(current.values())

    # Writing

    @contextlib.contextmanager
    def writing(self, settings: dict, rows: list[Row], progress=None):
        """Hold the folder alone; `index` then has the complete entries of `rows`, to be added to.

        Raises `DataError` when what is there was created with different settings, `UserError` when
        another process writes there or the disk is full. The index is on disk at the end, whatever
        happened. Yields the store.
        """
        make_folder(self.folder)
        busy = f"{self.folder}: another process writes {self.what} there; wait for it, or stop it"
        with exclusive(self.folder, busy):
            if not self.provenance_path.exists():
                write_json(self.provenance_path, settings)
            self.check(settings)
            self._rows = rows
            self.index = self._kept(rows, progress)
            self._flushed = time.monotonic()
            try:
                yield self
            except BaseException:
                with contextlib.suppress(UserError):  # the first error is told
                    self.flush()
                raise
            self.flush()

    def _kept(self, rows, progress):
        if not self.index_path.exists():
            return {}
        entries = self.entries()
        whole = [entries[row.id] for row in rows if self.is_whole(row, entries.get(row.id))]
        bad = self._verify([one for one in whole if not self._unchanged(one)], progress)
        damaged = {one["id"] for one in bad}
        return {one["id"]: one for one in whole if one["id"] not in damaged}

    def write(self, video_id: str, pieces) -> dict:
        """Write a file from pieces of bytes, whole or not at all; returns the start of its entry.

        Not in the index yet, see `add`. An error of `pieces` leaves what was there before. Any
        thread may call it.
        """
        with self.appending(video_id) as (append, entry):
            for piece in pieces:
                append(piece)
        return entry

    @contextlib.contextmanager
    def appending(self, video_id: str):
        """Yield a function that appends bytes to a file, and a dict: as `write`, piece by piece.

        The dict is filled at the end, when the file is whole.
        """
        path, digest, entry = self.path(video_id), hashlib.sha256(), {}
        with staging(path) as temporary, open(temporary, "wb") as file:

            def append(piece):
                file.write(piece)
                digest.update(piece)

            yield append, entry
        found = path.stat()
        entry["id"], entry["file"], entry["bytes"] = video_id, path.name, str(found.st_size)
        entry["sha256"], entry["mtime_ns"] = digest.hexdigest(), str(found.st_mtime_ns)

    def add(self, row: Row, written: dict, **values) -> None:
        """Put the entry of a file that `write` returned into the index, with values of `columns`.

        The values that a video must have, `expected`, are added. One thread at a time.
        """
        values = {"source": row.sha256, **self.expected(row), **values}
        self.index[row.id] = written | {key: str(value) for key, value in values.items()}
        if time.monotonic() - self._flushed > _SECONDS_BETWEEN_INDEXES:
            self.flush()

    def flush(self) -> None:
        """Write the index, in the order of the videos."""
        self._write_index([self.index[row.id] for row in self._rows if row.id in self.index])
        self._flushed = time.monotonic()

    def _write_index(self, entries):
        columns = COLUMNS + self.columns
        tables.write_table(
            self.index_path, columns, [[one[name] for name in columns] for one in entries]
        )

    def orphans(self, rows: list[Row]) -> list[str]:
        """The names of files in the folder that belong to none of these videos."""
        known = {self.path(row.id).name for row in rows} | {*self.own_files}
        known |= {self.index_path.name, self.provenance_path.name}
        known |= {path.name for path in leftovers(self.folder)}
        return sorted(path.name for path in self.folder.iterdir() if path.name not in known)

    def orphan_notes(self, rows: list[Row]) -> tuple[str, ...]:
        """The note of a summary about `orphans`: one sentence, or none."""
        orphans = self.orphans(rows)
        return (
            f"{len(orphans)} files in {self.folder} belong to no usable video and are not used; "
            f"remove them if nobody needs them: {', '.join(orphans[:3])}",
        ) * bool(orphans)
