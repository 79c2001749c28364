"""Assign rows of a manifest to subsets: groups stay whole, classes are spread evenly."""

import collections

import numpy as np

from keras_attn.datasets.tables import Row


def assign(rows: list[Row], shares: dict[str, float], seed: int, use_groups=True) -> dict[str, str]:
    """A subset for each row's id: whole groups, classes spread as evenly as they allow.

    Groups go, the largest first, to the subset that lacks most of what they hold. Subsets of
    unequal shares first get one group of each class, or the small ones would go without. Ties are
    broken by a permutation drawn from `seed`.
    """
    units = _units(rows, use_groups)
    order = np.random.default_rng(seed).permutation(len(units))
    units = sorted((units[i] for i in order), key=len, reverse=True)
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
        for index, subset in _first_of_each(counts, totals, wanted, shares):
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
            give(index, max(wanted, key=lambda subset: lack(subset, count)))
    return {row.id: chosen[index] for index, unit in enumerate(units) for row in unit}


def _first_of_each(counts, totals, wanted, shares):
    """Proposals of one unit for each subset and class, so that none lacks a class needlessly.

    The rarest classes go first; the subset with the largest share takes the largest unit, the
    others the smallest.
    """
    subsets = sorted(wanted, key=lambda subset: -shares[subset])
    holding = collections.defaultdict(list)
    for index, count in enumerate(counts):
        for name in count:
            holding[name].append(index)
    for name in sorted(totals, key=lambda name: (totals[name], name)):
        largest, *others = holding[name]
        yield from zip([largest, *reversed(others)], subsets, strict=False)


def _units(rows, use_groups):
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
