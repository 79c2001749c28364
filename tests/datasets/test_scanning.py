"""scan: one row per file, and sums that add up."""

import shutil

import damage
import pytest

from keras_attn.datasets import tables
from keras_attn.datasets.scanning import scan, summarize
from keras_attn.datasets.tables import Row
from keras_attn.errors import DataError, UsageError


def test_a_scan_writes_what_it_found(two_classes, tmp_path):
    (two_classes / "notes.txt").write_text("where the clips come from")
    seen = []
    summary = scan(
        two_classes, tmp_path / "data", workers=2, progress=lambda *step: seen.append(step)
    )
    assert (summary.found, summary.usable, summary.unusable) == (7, 6, {"no class": 1})
    assert summary.classes == {"Jump": 3, "Run": 3}
    assert (summary.groups, summary.ungrouped, summary.duplicates) == (4, 0, ())
    assert summary.frames == 2 * (6 + 7 + 8)
    assert [done for done, _, _ in seen] == [2, 3, 4, 5, 6, 7]
    rows = {row.id: row for row in tables.read_manifest(tmp_path / "data")}
    assert tables.read_classes(tmp_path / "data") == ["Jump", "Run"]
    row = rows["Run/v_Run_g02_c02.mp4"]
    assert (row.frames, row.promised, row.fps, row.width, row.height) == (8, 8, 25.0, 64, 48)
    assert (row.labels, row.group, row.usable) == ("Run", "Run_g02", True)
    assert rows["notes.txt"].reason.startswith("no class: ")
    assert any(line.startswith("7 files found") for line in summary.lines())
    assert summary.as_dict()["usable"] == 6


def test_equal_contents_are_a_problem_or_with_one_label_a_note(two_classes, tmp_path):
    run, jump = two_classes / "Run", two_classes / "Jump"
    for copy in (run / "v_Run_g09_c09.mp4", jump / "copy.mp4"):
        shutil.copy(run / "v_Run_g01_c00.mp4", copy)
    shutil.copy(run / "v_Run_g01_c01.mp4", run / "twin.mp4")
    summary = scan(two_classes, tmp_path / "data")
    conflicting = ("Jump/copy.mp4", "Run/v_Run_g01_c00.mp4", "Run/v_Run_g09_c09.mp4")
    harmless = ("Run/twin.mp4", "Run/v_Run_g01_c01.mp4")
    assert summary.duplicates == (conflicting, harmless)
    (problem,), (note,) = summary.problems, summary.notes
    listed = ", ".join(conflicting)
    assert problem == f"3 files have the same content (with different labels): {listed}"
    assert note.startswith("2 files have the same content (they stay in one subset")
    assert {problem, note} <= {*summary.lines()} and summary.as_dict()["notes"] == summary.notes


def test_one_class_only_is_a_problem(tmp_path):
    rows = [Row("Run/x", "/Run/x", "Run", usable=True)]
    (problem,) = summarize(rows, ["Run"], tmp_path, tmp_path).problems
    assert "one class only, 'Run'" in problem


def test_a_class_file_may_name_a_class_without_videos(two_classes, tmp_path):
    (tmp_path / "names.txt").write_text("1 Run\n2 Walk\n3 Jump\n")
    summary = scan(two_classes, tmp_path / "data", classes=tmp_path / "names.txt")
    assert summary.classes == {"Run": 3, "Walk": 0, "Jump": 3}
    assert "class 'Walk' has no usable video" in summary.problems


def test_hostile_file_names_are_decoded_and_kept(folder, sources, tmp_path):
    names = ["a b;c#d&(e).mp4", "-dash.mp4", "quote\"'s.mp4", "new\nline.mp4", "cr\rx.mp4", "動画"]
    names += ["%d.mp4", "concat:x.mp4", "http:__x.mp4", "$(touch y).mp4", "*.mp4"]
    files = {f"Class {n % 2}/{name}": sources["front.mp4"] for n, name in enumerate(names)}
    summary = scan(folder(files), tmp_path / "data")
    assert summary.unusable == {}
    assert {row.id for row in tables.read_manifest(tmp_path / "data")} == set(files)


def test_nothing_to_scan_is_an_error_and_writes_nothing(folder, tmp_path):
    with pytest.raises(UsageError, match="nowhere: no such file or folder"):
        scan(tmp_path / "nowhere", tmp_path / "data")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no files"):
        scan(tmp_path / "empty", tmp_path / "data")
    with pytest.raises(DataError, match="holds no class"):
        scan(folder({"x.mp4": b"1"}), tmp_path / "data")
    with pytest.raises(UsageError, match="lies inside"):
        scan(tmp_path / "videos", tmp_path / "videos" / "data")
    assert not (tmp_path / "data").exists()


def test_nothing_usable_is_an_error_with_the_reasons_written(folder, tmp_path):
    root = folder({"A/x.mp4": b"", "B/y.mp4": b"nothing"})
    with pytest.raises(DataError, match="none of 2 files can be used.*empty"):
        scan(root, tmp_path / "data")
    assert [row.usable for row in tables.read_manifest(tmp_path / "data")] == [False, False]


def test_a_list_with_missing_files_and_folders_names_them(folder, sources, tmp_path):
    root = folder({"a.avi": sources["part.avi"], "frames/img_00001.jpg": b"x"})
    (root / "list.txt").write_text("a.avi 30 0\nframes 30 1\ngone.avi 30 1\n")
    summary = scan(root / "list.txt", tmp_path / "data")
    assert (summary.found, summary.usable, summary.unusable) == (3, 1, {"unreadable": 2})
    assert any("folders of frames" in line for line in summary.problems)


def test_rows_that_do_not_add_up_are_an_error(tmp_path):
    rows = [Row("A/x", "/A/x", "A", usable=True, reason="damaged: but usable?")]
    with pytest.raises(DataError, match="1 files found, but 1 usable"):
        summarize(rows, ["A"], tmp_path, tmp_path)


@pytest.mark.real
def test_genuine_clips_are_usable(shared_data, tmp_path):
    clips = shared_data / "clips" / "ucf101"
    for name in ("Archery", "Biking"):
        for path in sorted((clips / name).iterdir())[:3]:
            target = tmp_path / "videos" / name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    summary = scan(tmp_path / "videos", tmp_path / "data")
    assert (summary.found, summary.usable, summary.ungrouped) == (6, 6, 0)
    rows = tables.read_manifest(tmp_path / "data")
    assert all((row.width, row.height) == (320, 240) and 25 <= row.fps < 30 for row in rows)
    assert all(row.frames == row.promised > 10 for row in rows)


def test_an_exact_repeat_gives_the_same_manifest(two_classes, tmp_path):
    (two_classes / "Run" / "bad.mp4").write_bytes(damage.sources()["front.mp4"][:9000])
    texts = set()
    for workers in (1, 2):
        scan(two_classes, tmp_path / str(workers), workers=workers)
        texts.add((tmp_path / str(workers) / "manifest.csv").read_text())
    assert len(texts) == 1
