"""Which groups go to which subset: the seed decides, by the shares, and not the size of a group."""

import collections
import dataclasses

import pytest
from manifest_rows import eleven_classes, row, rows_of

from keras_attn.datasets.assignment import assign

SHARES = [
    {"train": 0.6, "test": 0.4},
    {"train": 0.7, "validation": 0.15, "test": 0.15},
    {"0": 1 / 3, "1": 1 / 3, "2": 1 / 3},
]


def mixed_rows():
    """Groups of unequal size, ungrouped clips, equal contents across both, and two labels."""
    rows = rows_of(3, 5, 2)
    rows += [row("A", 6, 1, "same"), row("A", 7, 1, "same"), row("B", 8, 1, "same"), row("A", 7, 2)]
    rows += [row("C", 0, clip, "twin" if clip < 3 else None) for clip in range(1, 12)]
    return [*rows, dataclasses.replace(row("D", 1, 1), labels="D|A"), row("D", 2, 1)]


def test_the_seed_decides_and_nothing_else():
    rows = rows_of()
    first = assign(rows, {"train": 0.7, "test": 0.3}, 3)
    assert assign(rows, {"train": 0.7, "test": 0.3}, 3) == first
    assert assign(rows, {"train": 0.7, "test": 0.3}, 4) != first


@pytest.mark.parametrize("shares", SHARES, ids=len)
def test_every_group_is_drawn_into_each_subset_as_often_as_its_share(shares):
    """Not by its size: the largest groups were always in training."""
    rows = eleven_classes()
    sizes = collections.Counter(one.group for one in rows)
    labels = collections.Counter(one.labels for one in rows)
    subset, share = next(iter(shares.items()))
    drawn = collections.Counter()
    for seed in range(20):
        subsets = assign(rows, shares, seed)
        drawn.update({one.group for one in rows if subsets[one.id] == subset})
        found = collections.Counter((subsets[one.id], one.labels) for one in rows)
        worst = max(
            abs(found[n, x] / labels[x] - part) for n, part in shares.items() for x in labels
        )
        assert worst < 0.05
    for size in set(sizes.values()):
        alike = [group for group in sizes if sizes[group] == size]
        assert abs(sum(drawn[group] for group in alike) / len(alike) / 20 - share) < 0.1
    assert 0 < min(drawn[group] for group in sizes) and max(drawn.values()) < 20


@pytest.mark.parametrize(
    ("folds", "use_groups", "expected"),
    [
        (0, True, "eeerrrrrrrrrrrrrrrrrrrrrreeeeaarraaaeeeerrrrraaaarrrrrrraerrar"),
        (0, False, "rrrrerrrrerrrrerrerrrerrrrrerrararerrrerrreraaaarrrrerrrarrrar"),
        (4, True, "33300003311122223333222220000111133322220033311110012211100103"),
        (4, False, "33303020110113020221130120301333312100020133122220023221012312"),
    ],
)
def test_an_assignment_stays_what_it_was(folds, use_groups, expected):
    """A split can be made again in later versions; a letter per row: tRain, vAlidation, tEst."""
    shares = {str(fold): 1 / folds for fold in range(folds)}
    shares = shares or {"train": 0.7, "validation": 0.15, "test": 0.15}
    rows = mixed_rows()
    subsets = assign(rows, shares, 5, use_groups)
    assert "".join((2 * subsets[one.id])[1] for one in rows) == expected
