"""Splits: nothing of one source on both sides, classes everywhere, the same for the same seed."""

import collections
import dataclasses
import itertools

import pytest
from manifest_rows import eleven_classes, row, rows_of

from keras_attn.datasets import tables
from keras_attn.datasets.assignment import groups_per_class
from keras_attn.datasets.splitting import split
from keras_attn.errors import DataError, UsageError


@pytest.fixture
def data(tmp_path):
    """A function that writes a data folder of these rows."""

    def write(rows):
        tables.write_classes(tmp_path, sorted({name for row in rows for name in row.names}))
        tables.write_manifest(tmp_path, rows)
        return tmp_path

    return write


def by_key(rows, subsets, key):
    found = collections.defaultdict(set)
    for one in rows:
        found[key(one)].add(subsets[one.id])
    return found


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", [(2, 3, 1), (3, 8, 4), (5, 25, 2)])
def test_groups_stay_together_and_every_subset_has_every_class(seed, shape, data):
    rows = rows_of(*shape)
    summary = split(data(rows), seed=seed)
    subsets = tables.read_split(data(rows))
    assert set(subsets) == {one.id for one in rows}
    assert all(len(some) == 1 for some in by_key(rows, subsets, lambda r: r.group).values())
    in_subset = by_key(rows, subsets, lambda r: r.labels)
    assert all(some == {"train", "validation", "test"} for some in in_subset.values())
    assert sum(summary.videos.values()) == summary.usable == len(rows)
    assert summary.problems == ()
    if shape[1] > 3:
        assert abs(summary.videos["train"] / len(rows) - 0.7) < 0.1


def test_videos_in_folders_of_subsets_stay_there(data):
    plain = [row(label, group, 1) for label in ("Run", "Jump") for group in range(6)]
    above = itertools.cycle(["train", "val", "test"])
    rows = [dataclasses.replace(one, id=f"{next(above)}/{one.id}") for one in plain]
    summary = split(data(rows))
    names = {"train": "train", "val": "validation", "test": "test"}
    assert tables.read_split(data(rows)) == {one.id: names[one.id.split("/")[0]] for one in rows}
    assert summary.method.startswith("their folders") and summary.problems == ()
    assert set(split(data(rows), folds=2).videos) == {"0", "1"}


def test_a_number_of_groups_of_each_class_is_drawn_for_training(data):
    """Quan et al. 2020 on UCF-11: 15 of 25 groups, another draw for each seed."""
    rows, draws = eleven_classes(), []
    for seed in range(5):
        summary = split(data(rows), train_groups=15, seed=seed)
        subsets = tables.read_split(data(rows))
        inside = by_key(rows, subsets, lambda r: r.group)
        assert all(len(some) == 1 for some in inside.values())
        train = [one for one in rows if subsets[one.id] == "train"]
        assert set(groups_per_class(train).values()) == {15}
        assert summary.groups == {"train": 165, "validation": 0, "test": 110}
        assert summary.problems == () and set(subsets.values()) == {"train", "test"}
        draws.append({one.group for one in train})
    together = [len(one & other) for one, other in itertools.combinations(draws, 2)]
    assert max(together) < 130  # 99 of 165 by chance
    assert "15 groups of each class for training (seed 4)" in summary.lines()[0]


def test_drawn_training_groups_may_be_held_out_and_contents_stay_together(data):
    rows = [*rows_of(3, 10, 2), row("A", 11, 1, "same"), row("A", 12, 1, "same")]
    for seed in range(4):
        split(data(rows), train_groups=6, validation=0.3, seed=seed)
        subsets = tables.read_split(data(rows))
        learned = [one for one in rows if subsets[one.id] != "test"]
        assert groups_per_class(learned) == {"A": 6, "B": 6, "C": 6}
        assert set(subsets.values()) == {"train", "validation", "test"}
        assert subsets[rows[-1].id] == subsets[rows[-2].id]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (rows_of(3, 6, 1), "`train_groups`=6 needs more groups of each class.*A has 6, B has 6"),
        ([*rows_of(), row("A", 0, 1)], "1 of .* videos carry none: name them with `group_by`"),
        (
            [row(x, g, 1, f"{x}{g // 4}") for x in "AB" for g in range(1, 13)],
            "`seed`=0 draws fewer than 6 groups of A",
        ),
    ],
)
def test_groups_that_cannot_be_drawn_are_refused(rows, message, data):
    with pytest.raises(DataError, match=message):
        split(data(rows), train_groups=6)
    assert not (data(rows) / "split.csv").exists()


def test_equal_contents_stay_together_across_groups_and_classes(data):
    rows = rows_of()
    rows += [row("A", 11, 1, "same"), row("A", 12, 1, "same"), row("B", 13, 1, "same")]
    rows += [row("A", 12, 2), row("C", 0, 1, "twin"), row("C", 0, 2, "twin")]
    for seed in range(6):
        split(data(rows), seed=seed)
        subsets = tables.read_split(data(rows))
        assert all(len(some) == 1 for some in by_key(rows, subsets, lambda r: r.sha256).values())
        assert subsets[rows[-3].id] == subsets[rows[-6].id]  # by way of group 12 of class A


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_folds_are_even_and_keep_groups(folds, data):
    rows = rows_of(4, 10, 3)
    summary = split(data(rows), folds=folds)
    subsets = tables.read_split(data(rows))
    assert set(subsets.values()) == {str(fold) for fold in range(folds)}
    assert all(len(some) == 1 for some in by_key(rows, subsets, lambda r: r.group).values())
    assert max(summary.videos.values()) - min(summary.videos.values()) <= len(rows) // 10
    assert set(summary.classes.values()) == {4}


def test_a_split_by_clip_of_grouped_clips_is_refused(data):
    rows = rows_of()
    with pytest.raises(UsageError, match=r"95\.7 %.*84\.96 %.*issue 6.*`force=True`"):
        split(data(rows), level="clip")
    assert not (data(rows) / "split.csv").exists()
    summary = split(data(rows), level="clip", force=True)
    assert any("groups are in more than one subset" in line for line in summary.notes)
    assert summary.problems == ()  # it was asked for


def test_clips_without_groups_are_split_by_clip_and_reported(data):
    rows = [row(label, 0, clip) for label in "AB" for clip in range(20)]
    summary = split(data(rows))
    assert summary.videos == {"train": 28, "validation": 6, "test": 6}
    assert any("40 videos carry no group" in line for line in summary.notes)
    assert any("40 videos carry no group" in line for line in summary.lines())
    assert summary.problems == () and summary.as_dict()["notes"] == summary.notes


def test_a_class_with_too_few_groups_is_named(data):
    rows = [*rows_of(), row("D", 1, 1), row("D", 1, 2)]
    summary = split(data(rows))
    for subset, lines in (("validation", summary.notes), ("test", summary.problems)):
        expected = f"{subset} has no video of class 'D': it has too few groups, or none at all"
        assert list(lines) == [expected]


def test_a_subset_of_share_zero_stays_empty(data):
    summary = split(data(rows_of()), fractions=(0.8, 0.0, 0.2))
    assert summary.videos["validation"] == 0
    assert summary.problems == ()


@pytest.mark.parametrize(
    "arguments",
    [
        {"fractions": (0.5, 0.5)},
        {"fractions": (0.5, 0.2, 0.2)},
        {"fractions": (1.2, -0.1, -0.1)},
        {"fractions": (float("nan"), 0.5, 0.5)},
        {"fractions": (0.0, 0.5, 0.5)},
        {"folds": 1},
        {"folds": 3, "official": "somewhere"},
        {"level": "video"},
        {"train_groups": 0},
        {"train_groups": 3, "validation": 1.0},
    ],
)
def test_arguments_that_cannot_work_are_refused(arguments, data):
    with pytest.raises(UsageError):
        split(data(rows_of()), **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"validation": 0.2}, "`validation` is for `official` lists and `train_groups`"),
        ({"train_groups": 3, "folds": 3}, "`train_groups`, `folds` and `official` exclude each"),
        ({"train_groups": 3, "level": "clip", "force": True}, "`train_groups` draws groups"),
        ({"validation": 0.2, "folds": 3}, "with `folds` there is no validation subset"),
        ({"official_split": 2}, "`official_split` is the number of official lists"),
        ({"official_split": 3, "folds": 3}, "`official_split` is the number of official lists"),
        ({"level": "clip", "force": True, "official": "lists"}, '`level="clip"` does nothing'),
        ({"fractions": (0.5, 0.2, 0.3), "folds": 3}, "drop `fractions`"),
        ({"fractions": (0.5, 0.2, 0.3), "official": "lists"}, "drop `fractions`"),
    ],
)
def test_arguments_that_would_do_nothing_are_refused(arguments, message, data):
    place = data(rows_of())
    with pytest.raises(UsageError, match=message):
        split(place, **arguments)
    assert not (place / "split.csv").exists()


def test_official_lists_that_split_a_group_are_a_problem(data, tmp_path):
    rows = rows_of(2, 3, 2)
    train = [one.id for one in rows if not one.id.endswith("_c01.mp4")]
    test = [one.id for one in rows if one.id not in train]
    summary = split(data(rows), official=official(tmp_path, train, test, 1))
    assert summary.problems == ("6 groups are in more than one subset, the first is A_g01",)


def test_one_class_is_not_enough(data):
    with pytest.raises(DataError, match=r"at least 2 classes.*\['A'\]"):
        split(data(rows_of(classes=1)))


def official(tmp_path, train, test, number=2):
    folder = tmp_path / "lists"
    folder.mkdir(exist_ok=True)
    (folder / f"trainlist{number:02d}.txt").write_text("".join(f"{x} 1\n" for x in train))
    (folder / f"testlist{number:02d}.txt").write_text("".join(f"{x}\n" for x in test))
    return folder


def test_official_lists_match_whatever_extension_and_spelling(data, tmp_path):
    rows = [
        row("HandstandPushups", 1, 1),
        row("HandstandPushups", 2, 1),
        row("Archery", 1, 1, form="mkv"),
        row("Archery", 9, 1),
    ]
    folder = official(
        tmp_path,
        ["HandstandPushups/v_HandStandPushups_g01_c01.avi", "Archery/v_Archery_g07_c01.avi"],
        ["HandstandPushups/v_HandStandPushups_g02_c01.avi", "Archery/v_Archery_g01_c01.avi"],
    )
    summary = split(data(rows), official=folder, official_split=2)
    assert tables.read_split(tmp_path) == {
        rows[0].id: "train",
        rows[1].id: "test",
        rows[2].id: "test",
    }
    assert summary.unassigned == (rows[3].id,) and summary.not_found == 1
    assert sum(summary.videos.values()) + len(summary.unassigned) == summary.usable
    assert any("1 videos are in none of the lists" in line for line in summary.notes)
    assert any("1 videos of the official lists are not here" in line for line in summary.notes)


def test_official_training_videos_may_be_held_out_by_group(data, tmp_path):
    rows = rows_of(3, 10, 2)
    test = [one.id for one in rows if "_g01_" in one.id]
    folder = official(tmp_path, [one.id for one in rows if one.id not in test], test, 1)
    summary = split(data(rows), official=folder, validation=0.2)
    subsets = tables.read_split(tmp_path)
    assert {key for key, subset in subsets.items() if subset == "test"} == set(test)
    assert all(len(some) == 1 for some in by_key(rows, subsets, lambda r: r.group).values())
    assert summary.groups["validation"] >= 3


def test_official_lists_that_do_not_fit_are_refused(data, tmp_path):
    rows = rows_of()
    folder = official(tmp_path, ["X/v_X_g01_c01.avi"], ["Y/v_Y_g01_c01.avi"], 1)
    with pytest.raises(DataError, match="name none of the"):
        split(data(rows), official=folder)
    with pytest.raises(DataError, match="trainlist03.txt: no such file"):
        split(data(rows), official=folder, official_split=3)
    with pytest.raises(DataError, match="in the training list too"):
        split(data(rows), official=official(tmp_path, [rows[0].id], [rows[0].id], 1))


@pytest.mark.real
def test_the_published_lists_of_ucf101_have_the_published_sizes(shared_data, data):
    folder = shared_data / "annotations" / "ucf101" / "ucfTrainTestlist"
    rows = [row("Archery", 8, 1), row("Archery", 1, 1), row("HandstandPushups", 8, 1)]
    for number, size in ((1, 13320), (2, 13320), (3, 13320)):
        summary = split(data(rows), official=folder, official_split=number)
        assert summary.not_found == size - 3 and summary.unassigned == ()
