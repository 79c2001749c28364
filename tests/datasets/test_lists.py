"""Lists, tables and class files as people write them, and what is wrong with others."""

import pytest

from keras_attn.datasets import catalog, lists
from keras_attn.errors import DataError

CLASSES = lists.ClassFile(["Run", "Jump"])
FROM_ONE = CLASSES._replace(first=1)


def test_a_class_file_fixes_names_and_order(folder, tmp_path):
    root = folder({"B/x.mp4": b"1", "A/y.mp4": b"2", "C/z.mp4": b"3"})
    (tmp_path / "classInd.txt").write_text("1 B\n2 A\n")
    classes = lists.read_class_file(tmp_path / "classInd.txt")
    files, found, _ = catalog.find_files(root, classes)
    assert found == classes.names == ["B", "A"] and classes.first == 1
    assert {e.id: e.reason.partition(":")[0] for e in files}["C/z.mp4"] == "no class"
    (tmp_path / "classInd.txt").write_text("B\nA b\n")
    assert lists.read_class_file(tmp_path / "classInd.txt") == (["B", "A b"], 0)


@pytest.mark.parametrize("text", ["1 A\n3 B\n", "A\nA\n", "", "A|B\n"])
def test_a_damaged_class_file_is_refused(text, tmp_path):
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(DataError, match="names.txt"):
        lists.read_class_file(tmp_path / "names.txt")


def test_a_tsn_list_allows_spaces_in_paths(folder, tmp_path):
    root = folder({"list.txt": b"my clips/a b.mp4 30 1\nother.mp4 5 0\n", "my clips/a b.mp4": b"1"})
    files, names, _ = catalog.find_files(root / "list.txt", CLASSES)
    assert names == ["Run", "Jump"]
    assert [(e.id, e.labels) for e in files] == [
        ("my clips/a b.mp4", ("Jump",)),
        ("other.mp4", ("Run",)),
    ]
    assert files[0].path == str(root / "my clips/a b.mp4") and not files[0].reason
    assert files[1].reason.startswith("unreadable: No such file")
    assert catalog.find_files(root / "list.txt").names == ["0", "1"]


@pytest.mark.parametrize(
    "text, classes, expected",
    [
        ("a.mp4 20 0\n\nb c.mp4 20 1\n", CLASSES, {"a.mp4": "Run", "b c.mp4": "Jump"}),
        ("\ufeffa.mp4 1\r\nb (31).mp4 2\r\n", FROM_ONE, {"a.mp4": "Run", "b (31).mp4": "Jump"}),
        ("a.mp4 Jump\nb.mp4 20 Run\n", CLASSES, {"a.mp4": "Jump", "b.mp4": "Run"}),
        ("a.mp4 10\nb.mp4 9\n", None, {"a.mp4": "10", "b.mp4": "9"}),
        ("a.mp4 run\nb.mp4 jump\n", None, {"a.mp4": "run", "b.mp4": "jump"}),
    ],
)
def test_lists_as_people_write_them(tmp_path, text, classes, expected):
    (tmp_path / "list.txt").write_text(text, newline="")
    files, names, _ = catalog.find_files(tmp_path / "list.txt", classes)
    assert {file.id: file.labels[0] for file in files} == expected
    if classes is None:
        assert names == (["9", "10"] if "10" in names else ["jump", "run"])


@pytest.mark.parametrize(
    "text", ["a.mp4 30 2\n", "a.mp4 30\n", "a.mp4\n", "a.mp4 3 0\na.mp4 3 1\n", "", "\n\n"]
)
def test_a_damaged_list_is_refused_by_name_and_line(text, tmp_path):
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(DataError, match="list.txt"):
        catalog.find_files(tmp_path / "list.txt", CLASSES)


def test_a_label_that_counts_from_the_other_number_is_named(tmp_path):
    (tmp_path / "list.txt").write_text("a.mp4 20 1\n\nb.mp4 20 0\n")
    message = "list.txt, line 3: label 0 is out of range: the 2 classes have the numbers 1 to 2"
    with pytest.raises(DataError, match=message):
        catalog.find_files(tmp_path / "list.txt", FROM_ONE)


@pytest.mark.parametrize("text", ["\ufeffpath,label\r\na,Run\r\n", "path;label\na; Run\n"])
def test_tables_as_spreadsheets_save_them(tmp_path, text):
    (tmp_path / "list.csv").write_text(text, newline="")
    ((file,), names, _) = catalog.find_files(tmp_path / "list.csv")
    assert (file.id, file.labels, names) == ("a", ("Run",), ["Run"])


def test_an_empty_label_is_named_by_its_line(tmp_path):
    (tmp_path / "list.csv").write_text("path,label\na,Run\nb,\nc,Run\n")
    with pytest.raises(DataError, match="list.csv, line 3: the label is empty"):
        catalog.find_files(tmp_path / "list.csv")


def test_names_that_differ_in_blanks_or_case_are_told_or_merged(tmp_path, folder):
    (tmp_path / "list.csv").write_text("path,label\na,left\nb, left\nc,Right\nd,right \n")
    found = catalog.find_files(tmp_path / "list.csv")
    assert found.names == ["Right", "left", "right"]
    assert found.notes == (
        "classes differ only in blanks or case: 'right' and 'Right'; merge them with `merge_names`",
    )
    merged = catalog.find_files(tmp_path / "list.csv", merge_names=True)
    assert merged.names == ["Right", "left"] and merged.notes[0].startswith("merged classes: ")
    assert [file.labels for file in merged.files] == [("left",)] * 2 + [("Right",)] * 2
    root = folder({"high jump/x.mp4": b"1", "High  Jump/y.mp4": b"2"})
    assert len(catalog.find_files(root).names) == 2
    merged = catalog.find_files(root, merge_names=True)
    assert [file.labels for file in merged.files] == [("High  Jump",)] * 2


def test_folders_with_numbers_are_in_their_order(folder):
    root = folder({f"{number}/x.mp4": b"1" for number in (10, 9, 1)})
    assert catalog.find_files(root).names == ["1", "9", "10"]


def test_a_csv_may_have_groups_and_several_labels(tmp_path):
    (tmp_path / "list.csv").write_text('path,label,group\n"a,b.mp4",Run|Jump,g1\nc.mp4,Run,\n')
    files, names, _ = catalog.find_files(tmp_path / "list.csv")
    assert names == ["Jump", "Run"]
    assert [(e.id, e.labels, e.group) for e in files] == [
        ("a,b.mp4", ("Run", "Jump"), "g1"),
        ("c.mp4", ("Run",), ""),
    ]
    with pytest.raises(DataError, match="line 2.*Run|Jump"):
        catalog.find_files(tmp_path / "list.csv", lists.ClassFile(["Jump"]))
    (tmp_path / "list.csv").write_text("file,label\nx,Run\n")
    with pytest.raises(DataError, match="path"):
        catalog.find_files(tmp_path / "list.csv")
