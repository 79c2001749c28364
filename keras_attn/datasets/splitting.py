"""split: assign videos to train, validation and test, so that no source video is in two subsets.

Clips cut from one source video share people, place and light, and a model that has seen one knows
the others. Clips of one group, and files of the same content, therefore stay together.
"""

import collections
import dataclasses
import typing
from pathlib import Path

from keras_attn.datasets import tables
from keras_attn.datasets.assignment import assign, draw_groups, groups_per_class, hold_out
from keras_attn.datasets.catalog import official_key, read_official, subsets_of_folders
from keras_attn.datasets.tables import SUBSETS
from keras_attn.errors import DataError, UsageError

LEAKAGE = (
    "the clips carry groups (clips cut from one source video), and a split by clip would test on "
    "sources that were trained on: with a random split of UCF-11 a user reported 95.7 % where the "
    "paper has 84.96 % (kracwarlock/action-recognition-visual-attention, issue 6). Split by group, "
    "or pass `force=True` if that is what you want to show."
)


@dataclasses.dataclass(frozen=True)
class SplitSummary:
    """The counts of a split; the videos of all subsets and `unassigned` add up to `usable`."""

    data: str
    method: str
    usable: int
    videos: dict[str, int]  # subset -> videos
    groups: dict[str, int]  # subset -> groups
    classes: dict[str, int]  # subset -> classes that it has videos of
    unassigned: tuple[str, ...]  # usable videos that the official lists do not name
    not_found: int  # videos of the official lists that are not here
    problems: tuple[str, ...]  # they make training or testing wrong, or impossible for a class
    notes: tuple[str, ...]

    def as_dict(self) -> dict:
        """Return the summary in plain values, for JSON."""
        return dataclasses.asdict(self)

    def lines(self) -> list[str]:
        """Return the summary as text."""
        subsets = [
            f"  {name}: {count} videos, {self.groups[name]} groups, {self.classes[name]} classes"
            for name, count in self.videos.items()
        ]
        return [
            f"{self.usable} usable videos, split by {self.method}",
            *subsets,
            *tables.shortened(self.problems),
            *tables.shortened(self.notes),
            f"written: {Path(self.data, 'split.csv')}",
        ]


_FRACTIONS = (0.7, 0.15, 0.15)


def split(
    data: Path | str,
    *,
    fractions: tuple[float, float, float] = _FRACTIONS,
    folds: int | None = None,
    official: Path | str | None = None,
    official_split: int = 1,
    train_groups: int | None = None,
    validation: float = 0.0,
    seed: int = 0,
    level: typing.Literal["group", "clip"] = "group",
    force: bool = False,
) -> SplitSummary:
    """Assign each usable video to a subset, and write the split of a data folder.

    Videos of ROOT/{train,val,test}/CLASS keep their subset, unless another split is asked for.
    Otherwise clips of one group and files of the same content stay together, and classes are spread
    evenly over the subsets as far as the groups allow. Which groups go where is drawn at random:
    DATA/split.csv is a function of the manifest, the arguments and `seed`.

    Args:
        data: Data folder that was scanned.
        fractions: Shares of the videos for train, validation and test.
        folds: Number of equal folds for cross-validation, in place of fractions. The subsets are
            then called 0, 1, 2, ...
        official: Folder of UCF-101's lists, `trainlist0N.txt` and `testlist0N.txt`.
        official_split: Number N of the official lists to use.
        train_groups: Number of groups of each class to draw for training, in place of fractions;
            the other groups are the test subset. Quan et al. 2020 draw 15 of the 25 groups of
            UCF-11 and report the mean of five draws.
        validation: Share of the training videos of `official` lists or of `train_groups` to hold
            out for validation, by group.
        seed: Seed of the random assignment.
        level: Unit that is assigned: "group" keeps clips of one source together, "clip" ignores
            the groups. The second is refused for clips that carry groups, unless `force`.
        force: Allow `level="clip"` for clips that carry groups.

    Returns:
        A `SplitSummary`.

    Raises:
        UsageError: Arguments cannot work, or would do nothing.
        DataError: There are fewer than two classes, the official lists name none of the videos, or
            `train_groups` leaves a class without test groups.
    """
    folder = tables.read_data_folder(data)
    data, rows, classes = folder.path, list(folder.rows.values()), folder.classes
    _refuse_idle(fractions, folds, official, official_split, train_groups, validation, level)
    _check(rows, level, force)
    if not 0 <= validation < 1:
        raise UsageError(f"`validation` must be a share from 0 to below 1, got {validation}")
    asked = tuple(fractions) != _FRACTIONS or folds is not None or level == "clip"
    by_folder = {} if asked else subsets_of_folders(rows)
    shares = _shares(fractions, folds)
    not_found, by = 0, {"group": "group", "clip": "clip, groups ignored"}[level]
    if official:
        subsets, not_found = _official(rows, Path(official), official_split)
        by = f"the official lists {official_split}"
    elif train_groups is not None:
        subsets = _drawn(rows, train_groups, seed)
        by = f"{train_groups} groups of each class for training"
    elif by_folder:
        subsets, by = by_folder, "their folders"
    else:
        subsets = assign(rows, shares, seed, use_groups=level == "group")
    if official or train_groups is not None or by_folder:
        subsets |= hold_out(rows, subsets, validation, seed)
        shares = dict.fromkeys(SUBSETS, 0.0) | {name: 1.0 for name in set(subsets.values())}
    method = f"{by} (seed {seed})"
    tables.write_split(data, {row.id: subsets[row.id] for row in rows if row.id in subsets})
    return _summary(data, rows, subsets, shares, classes, method, not_found, force)


def _refuse_idle(fractions, folds, official, official_split, train_groups, validation, level):
    """Refuse arguments that would be ignored: who passes them expects an effect."""
    folded, drawn = folds is not None, train_groups is not None
    other_fractions = tuple(fractions) != _FRACTIONS
    for idle, message in (
        (folded and official, "`folds` and `official` exclude each other: give one of them"),
        (
            drawn and (folded or official),
            "`train_groups`, `folds` and `official` exclude each other: give one of them",
        ),
        (folded and validation, "with `folds` there is no validation subset; drop `validation`"),
        (
            validation and not (official or drawn),
            "`validation` is for `official` lists and `train_groups`; use `fractions`",
        ),
        (
            official_split != 1 and not official,
            "`official_split` is the number of official lists; name their folder with `official`",
        ),
        (official and level == "clip", '`level="clip"` does nothing to `official` lists; drop it'),
        (drawn and level == "clip", '`train_groups` draws groups; drop `level="clip"`'),
        (
            other_fractions and (folded or official or drawn),
            "drop `fractions`: not for folds, lists or `train_groups`",
        ),
    ):
        if idle:
            raise UsageError(message)


def _check(rows, level, force):
    if level not in ("group", "clip"):
        raise UsageError(f"`level` must be group or clip, got {level!r}")
    if level == "clip" and not force and any(row.group for row in rows):
        raise UsageError(LEAKAGE)
    found = {name for row in rows for name in row.names}
    if len(found) < 2:
        raise DataError(
            f"videos of at least 2 classes are needed, found {sorted(found)}: scan ROOT/CLASS/VIDEO"
        )


def _shares(fractions, folds):
    if folds is not None:
        if folds < 2:
            raise UsageError(f"`folds` must be at least 2, got {folds}")
        return {str(fold): 1 / folds for fold in range(folds)}
    fits = len(fractions) == 3 and all(0 <= share < 1 for share in fractions)
    if not fits or abs(sum(fractions) - 1) > 1e-6 or not fractions[0]:
        raise UsageError(
            "`fractions` must be three shares for train, validation and test that sum to 1, with "
            f"some to train, got {fractions}"
        )
    return dict(zip(SUBSETS, fractions, strict=True))


def _official(rows, folder, official_split):
    """Subsets from UCF-101's lists, and how many videos of the lists are not here."""
    listed = read_official(folder, official_split)
    keys = {row.id: official_key(f"{row.names[0]}/{row.id.rpartition('/')[2]}") for row in rows}
    subsets = {row.id: listed[keys[row.id]] for row in rows if keys[row.id] in listed}
    if not subsets:
        raise DataError(
            f"{folder}: the lists name none of the {len(rows)} videos. They name CLASS/VIDEO, for "
            f"example {next(iter(listed), 'nothing')}; the first video here is {rows[0].id}"
        )
    return subsets, len(set(listed) - set(keys.values()))


def _drawn(rows, train_groups, seed):
    """Subsets by a random draw of `train_groups` groups of each class."""
    if train_groups < 1:
        raise UsageError(f"`train_groups` must be at least 1, got {train_groups}")
    ungrouped = sum(not row.group for row in rows)
    if ungrouped:
        raise DataError(
            f"`train_groups` draws groups, and {ungrouped} of {len(rows)} videos carry none: name "
            "them with `group_by` when scanning"
        )
    few = [f"{n} has {k}" for n, k in sorted(groups_per_class(rows).items()) if k <= train_groups]
    if few:
        raise DataError(
            f"`train_groups`={train_groups} needs more groups of each class, or none is left to "
            f"test: {', '.join(few[:5])}"
        )
    subsets = draw_groups(rows, train_groups, seed)
    drawn = groups_per_class([row for row in rows if subsets[row.id] == "train"])
    few = sorted(name for name in groups_per_class(rows) if drawn[name] < train_groups)
    if few:
        raise DataError(
            f"`seed`={seed} draws fewer than {train_groups} groups of {few[0]}, where groups that "
            "share videos or classes stay together: choose another"
        )
    return subsets


def _summary(data, rows, subsets, shares, classes, method, not_found, force):
    inside = {name: [row for row in rows if subsets.get(row.id) == name] for name in shares}
    unassigned = tuple(row.id for row in rows if row.id not in subsets)
    total = sum(map(len, inside.values())) + len(unassigned)
    if total != len(rows):
        raise DataError(f"{data}: {total} videos in the split, but {len(rows)} are usable")
    absent = list(_absent(inside, shares, classes))
    straddling = _straddling(inside)
    present = {subset: {n for row in some for n in row.names} for subset, some in inside.items()}
    return SplitSummary(
        data=str(data),
        method=method,
        usable=len(rows),
        videos={subset: len(some) for subset, some in inside.items()},
        groups={subset: len({row.group for row in some} - {""}) for subset, some in inside.items()},
        classes={subset: len(names) for subset, names in present.items()},
        unassigned=unassigned,
        not_found=not_found,
        problems=(
            *(line for subset, line in absent if subset != "validation"),
            *([] if force else straddling),
        ),
        notes=(
            *(line for subset, line in absent if subset == "validation"),
            *_outside(rows, unassigned, not_found),
            *(straddling if force else []),
        ),
    )


def _absent(inside, shares, classes):
    """`(subset, line)` for each subset without videos, or without videos of a class."""
    for subset, some in inside.items():
        if not some and (shares[subset] or subset == "test"):
            yield subset, f"{subset} has no videos"
        present = {name for row in some for name in row.names}
        for name in [name for name in classes if some and name not in present]:
            few = "it has too few groups, or none at all"
            yield subset, f"{subset} has no video of class {name!r}: {few}"


def _outside(rows, unassigned, not_found):
    if unassigned:
        first = ", ".join(unassigned[:3])
        yield f"{len(unassigned)} videos are in none of the lists and in no subset: {first}"
    if not_found:
        yield f"{not_found} videos of the official lists are not here"
    ungrouped = sum(not row.group for row in rows)
    if ungrouped:
        yield (
            f"{ungrouped} videos carry no group: if some are cut from one source, name it with "
            "`group_by` when scanning, or they can land in different subsets"
        )


def _straddling(inside):
    """A line if clips of one source are in several subsets: forced, or by the official lists."""
    sides = collections.defaultdict(set)
    for subset, some in inside.items():
        for row in some:
            sides[row.group].add(subset)
    groups = sorted(group for group, some in sides.items() if group and len(some) > 1)
    if not groups:
        return []
    return [f"{len(groups)} groups are in more than one subset, the first is {groups[0]}"]
