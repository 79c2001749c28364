"""The store of derived files: whole or absent, checked, held alone, never of other settings."""

import os
import shutil

import pytest

from keras_attn.data.store import COLUMNS, DerivedStore
from keras_attn.datasets import tables
from keras_attn.errors import DataError, UserError
from keras_attn.utils import files

SETTINGS = {"side": 3, "sizes": (1, 2)}
ROWS = [tables.Row(f"a/{n}.mp4", f"{n}.mp4", "a", frames=n, sha256=str(n) * 64) for n in (1, 2, 3)]


class Letters(DerivedStore):
    """As many letters as a video has frames."""

    what, suffix, columns, own_files = "letters", ".txt", ("frames", "kind"), ("weights.h5",)

    def expected(self, row):
        return {"frames": row.frames}

    def remedy(self):
        return "Make them with: letters"


@pytest.fixture
def store(tmp_path):
    store = Letters(tmp_path, tmp_path / "letters")
    fill(store)
    return store


def fill(store, rows=ROWS, settings=SETTINGS):
    """Write what is missing; the ids written."""
    with store.writing(settings, rows):
        missing = [row for row in rows if row.id not in store.index]
        for row in missing:
            store.add(row, store.write(row.id, [b"x"] * row.frames), kind="x")
    return [row.id for row in missing]


def test_an_entry_says_what_was_written(store):
    entries = store.complete(ROWS)
    assert [entry["id"] for entry in entries] == [row.id for row in ROWS]
    assert entries[1].keys() == {*COLUMNS, "frames", "kind"}
    path = store.folder / entries[1]["file"]
    assert path == store.path(ROWS[1].id) and path.read_bytes() == b"xx"
    assert entries[1] | {"id": 0, "file": 0} == {
        "id": 0,
        "file": 0,
        "bytes": "2",
        "sha256": files.sha256(path),
        "mtime_ns": str(path.stat().st_mtime_ns),
        "source": "2" * 64,
        "frames": "2",
        "kind": "x",
    }
    assert fill(store) == [] and store.provenance() == {"side": 3, "sizes": [1, 2]}


def test_a_copied_folder_is_read_once_and_remembered(store, tmp_path, monkeypatch):
    shutil.rmtree(tmp_path / "copy", ignore_errors=True)
    shutil.copytree(store.folder, tmp_path / "copy", copy_function=shutil.copyfile)
    copy, events = Letters(tmp_path, tmp_path / "copy"), []
    copy.check_contents(copy.complete(ROWS), progress=lambda *event: events.append(event))
    assert events == [(n, 3, f"checking {row.id}") for n, row in enumerate(ROWS, 1)]
    monkeypatch.setattr("keras_attn.data.store.sha256", None)
    copy.check_contents(copy.complete(ROWS))
    with pytest.raises(TypeError):
        copy.check_contents(copy.complete(ROWS), full=True)
    assert fill(copy) == []


def test_a_flipped_bit_is_found_and_made_again(store):
    path = store.path(ROWS[1].id)
    damaged = pytest.raises(DataError, match=rf"{path.name}.*a/2.mp4 is damaged.*letters \(what")
    path.write_bytes(b"xy")
    with damaged:
        store.check_contents(store.complete(ROWS))
    assert fill(store) == [ROWS[1].id] and path.read_bytes() == b"xx"
    stamp = path.stat().st_mtime_ns
    path.write_bytes(b"xy")
    os.utime(path, ns=(stamp, stamp))  # as if the disk had done it
    store.check_contents(store.complete(ROWS))
    assert fill(store) == []
    with damaged:
        store.check_contents(store.complete(ROWS), full=True)
    assert fill(store) == [ROWS[1].id] and path.read_bytes() == b"xx"


def test_other_settings_and_another_process_are_refused(store):
    with pytest.raises(DataError, match="created with different settings: side is 3, expected 4"):
        fill(store, settings={**SETTINGS, "side": 4})
    with files.locked(store.folder), pytest.raises(UserError, match="another process writes lett"):
        fill(store)
    assert fill(store) == []


def test_orphans_are_reported(store):
    (store.folder / "weights.h5").write_bytes(b"")
    assert store.orphans(ROWS) == [] and store.orphan_notes(ROWS) == ()
    assert store.orphans(ROWS[:2]) == [store.path(ROWS[2].id).name]
    assert store.orphan_notes(ROWS[:2])[0].startswith(f"1 files in {store.folder} belong to no")
