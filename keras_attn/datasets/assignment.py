"""Assign rows of a manifest to subsets: groups stay whole, and the seed decides which go where."""

import collections

import numpy as np

from keras_attn.datasets.tables import Row


def assign(rows: list[Row], shares: dict[str, float], seed: int, use_groups=True) -> dict[str, str]:
    """A subset for each row's id: whole groups, classes spread as evenly as they allow.

    Each group is drawn into one of the subsets that still lack half of it at least, with
    probabilities in the ratio of what they lack; the largest groups are drawn first, so that the
    small ones even out the sizes. Subsets of unequal shares first get one group of each class, or
    the small ones would go without.
    """
    units = _units(rows, use_groups)
    rng = np.random.default_rng(seed)
    units = sorted((units[i] for i in rng.permutation(len(units))), key=len, reverse=True)
    counts = [collections.Counter(name for row in unit for name in row.names) for unit in units]
    totals = collections.Counter(name for row in rows for name in row.names)
    total = totals.total()
    wanted = [name for name, share in shares.items() if share > 0]
    have = {name: collections.Counter() for name in wanted}
    sizes = dict.fromkeys(wanted, 0)
    chosen = {}

    def give(index, subset):
        chosen[index] = subset
        have[subset].update(counts[index])
        sizes[subset] += counts[index].total()

    if len({shares[subset] for subset in wanted}) > 1:
        for index, subset in _first_of_each(counts, totals, wanted, shares, rng):
            if index not in chosen and not any(name in have[subset] for name in counts[index]):
                give(index, subset)

    def lack(subset, count):
        # A share of each class, so that a rare class weighs as much as a common one.
        lacked = sum(
            number * (shares[subset] - have[subset][name] / totals[name])
            for name, number in count.items()
        )
        return round(lacked, 9), shares[subset] - sizes[subset] / total

    for index, count in enumerate(counts):
        if index not in chosen:
            lacks = {subset: lack(subset, count) for subset in wanted}
            half = sum(number**2 / totals[name] for name, number in count.items()) / 2
            lacking = {subset: lacked for subset, (lacked, _) in lacks.items() if lacked >= half}
            give(index, _drawn(lacking, rng) if lacking else max(wanted, key=lacks.get))
    return {row.id: chosen[index] for index, unit in enumerate(units) for row in unit}


def draw_groups(rows: list[Row], count: int, seed: int) -> dict[str, str]:
    """Draw `count` groups of each class for training; the other groups are the test subset.

    Groups that share a content are drawn together, and only where they do not exceed the `count`
    of any class: a class with such groups may get fewer.
    """
    units = _units(rows)
    groups = [groups_per_class(unit) for unit in units]
    drawn = collections.Counter()
    subsets = {}
    for index in np.random.default_rng(seed).permutation(len(units)):
        fits = all(drawn[name] + number <= count for name, number in groups[index].items())
        if fits:
            drawn.update(groups[index])
        subsets |= {row.id: "train" if fits else "test" for row in units[index]}
    return subsets


def groups_per_class(rows: list[Row]) -> collections.Counter:
    """The number of groups that hold rows of each class."""
    pairs = {(name, row.group) for row in rows for name in row.names}
    return collections.Counter(name for name, _ in pairs)


def _drawn(weights, rng):
    """A key, drawn in the ratio of the weights."""
    ends = np.cumsum(list(weights.values()))
    return list(weights)[np.searchsorted(ends, rng.random() * ends[-1], side="right")]


def _first_of_each(counts, totals, wanted, shares, rng):
    """Proposals of one unit for each subset and class, so that none lacks a class needlessly.

    The rarest classes go first, and in each the smallest subsets, which draw among the units that
    are at most twice their share.
    """
    subsets = sorted(wanted, key=lambda subset: -shares[subset])
    holding = collections.defaultdict(list)
    for index, count in enumerate(counts):
        for name in count:
            holding[name].append(index)
    for name in sorted(totals, key=lambda name: (totals[name], name)):
        rest = holding[name]
        for subset in reversed(subsets[: len(rest)]):
            most = 2 * shares[subset] * totals[name]
            fitting = [index for index in rest if counts[index][name] <= most] or rest[-1:]
            index = fitting[rng.integers(len(fitting))]
            rest.remove(index)
            yield index, subset


def _units(rows, use_groups=True):
    """Rows that must stay together: of one group, or of the same content (also transitively)."""
    parent = list(range(len(rows)))  # a forest over row numbers; a root is its own parent

    def root(number):
        while parent[number] != number:
            parent[number] = number = parent[parent[number]]  # halves the path, so it stays short
        return number

    first = {}
    for number, row in enumerate(rows):
        keys = [("content", row.sha256)]
        if use_groups and row.group:
            keys.append(("group", row.group))
        for key in keys:
            parent[root(number)] = root(first.setdefault(key, number))
    units = collections.defaultdict(list)
    for number, row in enumerate(rows):
        units[root(number)].append(row)
    return list(units.values())


def hold_out(rows: list[Row], subsets: dict, validation: float, seed: int) -> dict[str, str]:
    """The subsets of the training videos, with a share of `validation` among them, by group."""
    train = [row for row in rows if subsets.get(row.id) == "train"]
    if not validation:
        return {}
    return assign(train, {"train": 1 - validation, "validation": validation}, seed)
