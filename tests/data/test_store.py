"""Every store of derived files: whole or absent, checked, held alone, never of other settings."""

import dataclasses
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys

import derived
import pytest

import keras_attn
from keras_attn.data import store as store_module
from keras_attn.data.store import COLUMNS
from keras_attn.datasets import tables
from keras_attn.datasets.synthetic import write_dataset
from keras_attn.errors import DataError, UserError
from keras_attn.utils import files

KINDS = derived.KINDS


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A data folder of four videos of 7 frames of 32 pixels with the files of every kind."""
    root = tmp_path_factory.mktemp("derived")
    write_dataset(root / "videos", scenes=1, seed=3, side=32, frames=7)
    keras_attn.scan(root / "videos", root / "data", workers=1)
    for kind in KINDS.values():
        assert kind.make(root / "data") == 4
    return root / "data"


@pytest.fixture
def data(original, tmp_path):
    """A copy to write to, with the time stamps of the original."""
    return shutil.copytree(original, tmp_path / "data")


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def usable(data):
    return tables.read_manifest(data)


def contents(store):
    return {path.name: path.read_bytes() for path in store.folder.glob(f"[!.]*{store.suffix}")}


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_the_index_says_what_was_written(data, kind):
    store, rows = kind.store(data), usable(data)
    for row, entry in zip(rows, store.complete(rows), strict=True):
        path = store.folder / entry["file"]
        assert path == store.path(row.id) and entry.keys() == {*COLUMNS, *store.columns}
        assert {key: entry[key] for key in COLUMNS} == {
            "id": row.id,
            "file": path.name,
            "bytes": str(path.stat().st_size),
            "sha256": files.sha256(path),
            "mtime_ns": str(path.stat().st_mtime_ns),
            "source": row.sha256,
        }
    assert store.provenance() and not list(store.folder.glob(".*"))


def test_nothing_is_read_where_nothing_is_to_be_done(data, kind, monkeypatch):
    monkeypatch.setattr(store_module, "sha256", None)
    events = []
    assert kind.make(data, progress=lambda *event: events.append(event)) == 0
    assert events == []
    store = kind.store(data)
    store.check_contents(store.complete(usable(data)))


def test_what_is_missing_or_damaged_is_named_and_made_again(data, kind):
    store, rows = kind.store(data), usable(data)
    before, index = contents(store), store.index_path.read_bytes()
    cut, flipped, gone, whole = [store.path(row.id) for row in rows]
    cut.write_bytes(before[cut.name][:-1])
    gone.unlink()
    flip(flipped)
    message = rf"of 2 of 4 usable videos .*{rows[0].id}, {rows[2].id}\. Make them with: keras-attn "
    with pytest.raises(DataError, match=message):
        store.complete(rows)
    entries = store.complete([rows[1], rows[3]])
    with pytest.raises(DataError, match=rf"{flipped.name}: .*{rows[1].id} is damaged.*keras-attn "):
        store.check_contents(entries)
    stamp = whole.stat().st_mtime_ns
    assert kind.make(data) == 3
    assert contents(store) == before and whole.stat().st_mtime_ns == stamp
    assert kind.make(data) == 0
    for old, new in zip(
        index.splitlines(), store.index_path.read_bytes().splitlines(), strict=True
    ):
        assert old.split(b",")[:4] == new.split(b",")[:4]


def test_a_bit_that_the_disk_flipped_is_found_by_a_full_check(data, kind):
    """Size and time stamp are as before: the quick check trusts them, and so does what makes."""
    store, row = kind.store(data), usable(data)[1]
    path, before = store.path(row.id), contents(store)
    stamp = path.stat().st_mtime_ns
    flip(path)
    os.utime(path, ns=(stamp, stamp))
    store.check_contents(store.complete([row]))
    events = []
    with pytest.raises(DataError, match=f"{row.id} is damaged"):
        store.check_contents(
            store.complete(usable(data)), full=True, progress=lambda *event: events.append(event)
        )
    assert [event[:2] for event in events] == [(n, 4) for n in (1, 2, 3, 4)]
    assert kind.make(data) == 1 and contents(store) == before


def test_a_copied_folder_is_read_once(data, kind, monkeypatch):
    store, rows = kind.store(data), usable(data)
    for row in rows:
        os.utime(store.path(row.id))
    events = []
    store.check_contents(store.complete(rows), progress=lambda *event: events.append(event))
    assert events == [(n, 4, f"checking {row.id}") for n, row in enumerate(rows, 1)]
    monkeypatch.setattr(store_module, "sha256", None)
    store.check_contents(store.complete(rows))
    with pytest.raises(TypeError):
        store.check_contents(store.complete(rows), full=True)


def test_a_reader_beside_a_writer_checks_and_leaves_all_to_it(data, kind):
    store, rows = kind.store(data), usable(data)
    os.utime(store.path(rows[0].id))
    with files.staging(store.folder / f"other{store.suffix}") as temporary:
        temporary.write_bytes(b"half")
        with files.locked(store.folder):
            index = store.index_path.read_bytes()
            store.check_contents(store.complete(rows))
            assert store.index_path.read_bytes() == index
        store.check_contents(store.complete(rows))
        assert store.index_path.read_bytes() != index and temporary.exists()


@pytest.mark.parametrize("change", [{"sha256": "f" * 64}, {"frames": 8}])
def test_files_of_a_changed_video_are_outdated(data, kind, change):
    rows = usable(data)
    rows[2] = dataclasses.replace(rows[2], **change)
    store = kind.store(data)
    if store.expected(rows[2]) or "sha256" in change:
        with pytest.raises(DataError, match=f"of 1 of 4 usable videos .*{rows[2].id}"):
            store.complete(rows)
    assert len(store.complete(rows[:2])) == 2


def test_other_settings_are_refused_with_the_difference(data, kind):
    before = contents(kind.store(data))
    with pytest.raises(
        DataError, match=f"created with different settings: {kind.different}.*remov"
    ):
        kind.other(data)
    assert kind.make(data) == 0 and contents(kind.store(data)) == before


@pytest.mark.parametrize("kind", [KINDS[name] for name in KINDS if name != "imported"])
def test_settings_of_the_records_belong_to_what_is_made_of_them(data, kind):
    made = files.read_json(data / "records" / "provenance.json") | {"quality": 80}
    files.write_json(data / "records" / "provenance.json", made)
    with pytest.raises(
        DataError, match="different settings: .*'?quality'?.* 95.*expected .*80|is 80"
    ):
        kind.make(data)


def test_two_processes_do_not_write_the_same_folder(data, kind):
    store = kind.store(data)
    half = store.folder / f".0123abcd-half{store.suffix}"
    half.write_bytes(b"half")
    with (
        files.locked(store.folder),
        pytest.raises(UserError, match="another process writes .*wait"),
    ):
        kind.make(data)
    assert half.exists()  # what the other may be writing
    assert kind.make(data) == 0 and not half.exists()


def test_files_of_no_video_are_reported(data, kind):
    store, rows = kind.store(data), usable(data)
    assert store.orphans(rows) == [] and store.orphan_notes(rows) == ()
    (store.folder / "notes.txt").write_text("mine")
    assert store.orphans(rows[1:]) == sorted(["notes.txt", store.path(rows[0].id).name])
    (note,) = store.orphan_notes(rows[1:])
    assert note.startswith(f"2 files in {store.folder} belong to no usable video")
    assert "notes.txt" in note


def test_a_missing_or_damaged_index_is_named_with_the_command(data, kind):
    store, rows = kind.store(data), usable(data)
    store.index_path.write_text("id,file\n")
    for refuses in (lambda: store.complete(rows), lambda: kind.make(data)):
        with pytest.raises(
            DataError, match=r"index\.csv: has no column .* Remove it\. Make them with"
        ):
            refuses()
    store.index_path.unlink()
    with pytest.raises(DataError, match=r"index\.csv: no such file\. Make them with: keras-attn"):
        store.complete(rows)
    before = contents(store)
    assert kind.make(data) == 4 and contents(store) == before
    store.provenance_path.unlink()
    with pytest.raises(DataError, match=r"provenance\.json: no such file\. Make them with: "):
        store.provenance()


def test_an_index_cannot_point_out_of_the_folder(data, kind):
    store, rows = kind.store(data), usable(data)
    outside = data / "outside"
    outside.write_bytes(store.path(rows[0].id).read_bytes())
    index = store.index_path.read_text()
    store.index_path.write_text(index.replace(store.path(rows[0].id).name, "../outside"))
    with pytest.raises(DataError, match=f"of 1 of 4 usable videos .*{rows[0].id}"):
        store.complete(rows)


@pytest.fixture(scope="module")
def faults(original, tmp_path_factory):
    """A folder with the data folder of each fault and kind, and what was said."""
    root = tmp_path_factory.mktemp("faults")
    for fault, name in itertools.product(derived.FAULTS, KINDS):
        copy = shutil.copytree(original, root / f"{fault}-{name}")
        shutil.rmtree(KINDS[name].store(copy).folder)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, derived.__file__, root, *KINDS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    return root, done.stdout


@pytest.mark.parametrize("name", KINDS)
def test_a_killed_process_leaves_whole_files_and_the_next_one_finishes(faults, original, name):
    root, said = faults
    assert f"kill {name} {int(signal.SIGKILL)}\n" in said
    data, kind = root / f"kill-{name}", KINDS[name]
    store, expected = kind.store(data), contents(kind.store(original))
    left = contents(store)
    assert len(left) == 2 and left.items() <= expected.items()
    assert list(store.folder.glob(".*")) and not store.index_path.exists()
    assert kind.make(data) == 4 and contents(store) == expected
    assert store.orphans(usable(data)) == [] and not list(store.folder.glob(".*"))


@pytest.mark.parametrize("name", KINDS)
def test_a_full_disk_is_told_and_leaves_whole_files_only(faults, original, name):
    root, said = faults
    data, kind = root / f"full-{name}", KINDS[name]
    store, expected = kind.store(data), contents(kind.store(original))
    assert f"full {name} 0\n" in said
    assert re.search(rf"{store.folder}/.*{store.suffix}: .*File too large.* bytes .*are free", said)
    left = contents(store)
    assert len(left) == 2 and left.items() <= expected.items() and not list(store.folder.glob(".*"))
    assert kind.make(data) == 4 and contents(store) == expected


def test_what_is_complete_stays_when_the_work_is_stopped(data, kind):
    store, expected = kind.store(data), contents(kind.store(data))
    shutil.rmtree(store.folder)

    def stop(done, total, text):
        if done == 2 and not text.startswith("checking"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kind.make(data, progress=stop)
    left = len(store.entries())
    assert 2 <= left and not list(store.folder.glob(".*"))
    assert kind.make(data) == 4 - left and contents(store) == expected


def test_a_read_only_folder_is_checked_without_remembering(data, kind, monkeypatch):
    store, rows = kind.store(data), usable(data)
    os.utime(store.path(rows[0].id))

    def refuse(*_):
        raise UserError("read-only")

    monkeypatch.setattr(tables, "write_table", refuse)
    store.check_contents(store.complete(rows))
