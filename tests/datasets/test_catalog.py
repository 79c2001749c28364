"""Files, labels, groups and file names, from folders and from lists."""

import os
import re

import pytest

from keras_attn.datasets import catalog, tables
from keras_attn.errors import DataError, UsageError

HOSTILE = [
    "a b;c#d&(e).mp4",
    "-leading dash.mp4",
    "quote\"s and 's.mp4",
    "new\nline.mp4",
    "carriage\rreturn.mp4",
    "comma, and $HOME `x`.mp4",
    "Ünïcödé 動画.mp4",
]


@pytest.mark.parametrize("name", [*HOSTILE, "x" * 240 + ".mp4", "...", "動画.mp4"])
def test_a_file_stem_is_plain_short_and_its_own(name):
    stem = catalog.file_stem("Class/" + name)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,59}-[0-9a-f]{12}", stem)
    assert stem != catalog.file_stem("class/" + name)
    assert stem == catalog.file_stem("Class/" + name)


@pytest.mark.parametrize(
    "name, group_by, expected",
    [
        ("Basketball/v_Basketball_g07_c02.avi", "auto", "Basketball_g07"),
        ("Basketball/v_shooting_07/v_shooting_07_02.mpg", "auto", "Basketball_g07"),
        ("Basketball/april_09_brush.avi", "auto", ""),
        ("Basketball/session 3/one.avi", "parent", "Basketball/session 3"),
        ("Basketball/subj4_mirror.mp4", r"(subj\d)_", "subj4"),
        ("Basketball/other.mp4", r"(subj\d)_", ""),
    ],
)
def test_the_group_of_a_name(name, group_by, expected):
    assert catalog.group_of(name, "Basketball", group_by) == expected


@pytest.mark.parametrize("pattern", ["(", "nothing", "(a)(b)"])
def test_a_wrong_group_pattern_is_refused_before_anything_is_read(pattern, folder):
    with pytest.raises(UsageError, match="group"):
        catalog.find_files(folder({"A/x.mp4": b""}), None, pattern)


def test_every_file_of_a_folder_is_listed(folder):
    root = folder(
        {"B/deep/down/x.mp4": b"1", "A/y.MOV": b"2", "A/.hidden": b"3", "root.txt": b"4"}
        | {"__MACOSX/A/._y.MOV": b"5", ".ipynb_checkpoints/z.mp4": b"6"}
    )
    os.symlink("nowhere", root / "A" / "dangling.mp4")
    os.symlink(root, root / "B" / "loop")
    os.symlink("itself.mp4", root / "B" / "itself.mp4")
    os.mkfifo(root / "A" / "pipe.mp4")
    files, names, notes = catalog.find_files(root)
    assert names == ["A", "B"]
    assert notes == (
        "3 hidden files or folders were left out: .hidden, .ipynb_checkpoints, __MACOSX",
    )
    found = {file.id: file for file in files}
    assert sorted(found) == [
        "A/dangling.mp4",
        "A/pipe.mp4",
        "A/y.MOV",
        "B/deep/down/x.mp4",
        "B/itself.mp4",
        "B/loop",
        "root.txt",
    ]
    assert found["B/deep/down/x.mp4"].labels == ("B",)
    assert found["B/deep/down/x.mp4"].path == str(root / "B/deep/down/x.mp4")
    reasons = {key: file.reason.partition(":")[0] for key, file in found.items()}
    assert [key for key, reason in reasons.items() if not reason] == [
        "A/y.MOV",
        "B/deep/down/x.mp4",
    ]
    assert reasons["root.txt"] == "no class"
    for name in ("A/dangling.mp4", "A/pipe.mp4", "B/itself.mp4", "B/loop"):
        assert reasons[name] == "unreadable"
        assert ";" in found[name].reason  # the remedy


def test_folders_of_subsets_are_not_classes(folder):
    files = {f"{above}/{name}/x.mp4": b"1" for above in ("train", "val") for name in ("A", "B")}
    found = catalog.find_files(folder(files | {"Test/A/deep/y.mp4": b"2", "Test/.keep": b""}))
    assert found.names == ["A", "B"]
    assert {file.id: file.labels for file in found.files}["Test/A/deep/y.mp4"] == ("A",)
    assert found.notes[0] == "Test, train, val are subsets, which split takes as they are"
    # A class may be called so, where it is not above all others.
    other = catalog.find_files(folder({"train/x.mp4": b"1", "test/y.mp4": b"2"}, "other"))
    assert other.names == ["test", "train"] and not other.notes


def test_a_folder_that_cannot_be_listed_is_named(folder, monkeypatch):
    root = folder({"A/x.mp4": b"1", "B/y.mp4": b"2"})
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("/B"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    files, *_ = catalog.find_files(root)
    assert [(e.id, e.reason.partition(":")[0]) for e in files] == [
        ("A/x.mp4", ""),
        ("B/", "unreadable"),
    ]


def test_names_that_are_not_utf8_and_bad_class_names_are_named(folder):
    root = folder({"A/x.mp4": b"1", "b|c/y.mp4": b"2"})
    with open(os.fsencode(root / "A") + b"/\xff.mp4", "wb") as file:
        file.write(b"3")
    files, names, _ = catalog.find_files(root)
    assert names == ["A"]
    assert [(e.id, e.reason.partition(":")[0]) for e in files] == [
        ("A/x.mp4", ""),
        ("A/\\udcff.mp4", "bad name"),
        ("b|c/y.mp4", "bad name"),
    ]


def manifest(tmp_path):
    rows = [
        tables.Row(f"A/{name}", f"/v/A/{name}", "A", "g", 3, 3, 29.97, 4, 5, 6, "0" * 64, True)
        for name in HOSTILE
    ]
    rows.append(tables.Row("B/bad.mp4", "/v/B/bad.mp4", "B", reason="damaged: so; do this"))
    tables.write_classes(tmp_path, ["A", "B"])
    tables.write_manifest(tmp_path, rows)
    return rows


def test_hostile_names_survive_the_manifest(tmp_path):
    rows = manifest(tmp_path)
    assert tables.read_manifest(tmp_path) == rows


@pytest.mark.parametrize(
    "old, new",
    [
        ("id,path", "id,place"),
        (",29.97,", ",nan,"),
        (",29.97,", ",fast,"),
        (",3,3,", ",nan,3,"),
        (",3,3,", ",-3,3,"),
        (",3,3,", ",0,3,"),
        (",3,3,", ",3,"),
        ("0" * 64, "0" * 63),
        (",A,g,", ",C,g,"),
        (",A,g,", ",,g,"),
        ("A/-leading dash.mp4", "A/a b;c#d&(e).mp4"),
        (",0,damaged", ",maybe,damaged"),
        ("A/Ünï", 'A/"Ünï'),
    ],
)
def test_a_damaged_manifest_is_refused_by_name_and_line(old, new, tmp_path):
    manifest(tmp_path)
    path = tmp_path / "manifest.csv"
    text = path.read_text(encoding="utf-8").replace('"', "").replace("new\nline", "newline")
    text = text.replace("carriage\rreturn", "carriage").replace("comma, and", "comma and")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(DataError, match=r"manifest\.csv") as error:
        tables.read_manifest(tmp_path)
    assert "scan" in str(error.value) or "line" in str(error.value)


def test_a_missing_or_binary_manifest_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such file.*scan"):
        tables.read_manifest(tmp_path)
    (tmp_path / "manifest.csv").write_bytes(bytes(range(256)))
    with pytest.raises(DataError, match="cannot be read"):
        tables.read_manifest(tmp_path)


def test_a_split_is_read_with_care(tmp_path):
    rows = manifest(tmp_path)
    subsets = dict(zip([row.id for row in rows], ("train", "test", "validation"), strict=False))
    tables.write_split(tmp_path, subsets)
    assert tables.read_split(tmp_path) == subsets
    for key, subset, message in (
        (rows[0].id, "training", "subset must be"),
        ("gone.mp4", "train", "no usable video"),
        (rows[-1].id, "train", "no usable video"),
    ):
        tables.write_split(tmp_path, {**subsets, key: subset})
        with pytest.raises(DataError, match=f"split.csv, line .*{message}"):
            tables.read_split(tmp_path)


def test_a_data_folder_is_read_once(tmp_path, monkeypatch):
    rows = manifest(tmp_path)
    subsets = {row.id: "train" for row in rows if row.usable}
    read, opened = tables.read_table, []
    monkeypatch.setattr(
        tables, "read_table", lambda path, *more: opened.append(path.name) or read(path, *more)
    )
    folder = tables.read_data_folder(tmp_path)
    assert folder.rows == {row.id: row for row in rows if row.usable}
    assert folder.classes == ["A", "B"]
    with pytest.raises(DataError, match="split.csv: no such file. Make it with: .* split --data"):
        folder.split  # noqa: B018
    tables.write_split(tmp_path, subsets)
    assert folder.split == folder.split == subsets
    assert opened == ["manifest.csv", "split.csv"]


def test_a_split_of_an_earlier_version_must_be_made_again(tmp_path):
    manifest(tmp_path)
    (tmp_path / "split.csv").write_text("id,part\nA/-leading dash.mp4,train\n")
    with pytest.raises(DataError, match="has no column subset.*Split again with: keras-attn split"):
        tables.read_split(tmp_path)
