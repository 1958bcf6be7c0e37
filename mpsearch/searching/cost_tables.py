"""Limits on costs as tables, so that how far a config is beyond them is looked up and not computed.

A cost is a sum of parts, or the largest of them, and a part depends on a few choices: an operation's on its kernel, its
bias and the feature maps that it reads and writes. What it has for each combination of their specs is computed once.
Moving a choice then changes the parts that depend on it, and no others.
"""

from collections.abc import Sequence
from itertools import product
from math import prod

import numpy as np

from mpsearch.costs.model import TOLERANCE, Cost
from mpsearch.searching.arrays import SpecArrays
from mpsearch.space import ResolvedSpace

MOST_ENTRIES = 1 << 14  # of a part; beyond it computing is faster


class CostTables:
    """Looks up how far configs are beyond their limits.

    Args:
        space: of the configs.
        costs: those that `has_table`, one at least.
        most: limit of each cost, in its unit.
    """

    def __init__(self, space: ResolvedSpace, costs: Sequence[Cost], most: Sequence[float]) -> None:
        arrays, self._sizes = SpecArrays(space), [len(choice.specs) for choice in space.choices]
        read: list[tuple[int, ...]] = []  # choices of each part
        tables: list[np.ndarray] = []
        self._firsts: list[int] = []  # where the parts of each cost begin
        allowed = []
        for cost, limit in zip(costs, most, strict=True):
            self._firsts.append(len(read))
            split = _is_split(cost, arrays, limit)
            read += choices_of_parts(space, cost)
            tables += _tables(arrays, read[self._firsts[-1] :], self._sizes, cost, limit, split)
            allowed.append(0.0 if split else limit * (1 + TOLERANCE) / (limit or 1.0))
        self._values, self._allowed = np.concatenate(tables), np.array(allowed)
        self._starts = np.cumsum([0, *map(len, tables[:-1])])
        self._lay_out(read)

    def _lay_out(self, read: Sequence[tuple[int, ...]]) -> None:
        """Arrays of which choice moves which part, and by how many entries."""
        self._read = np.zeros((len(read), max(map(len, read))), dtype=np.int64)
        self._strides = np.zeros_like(self._read)  # 0: no further choice
        owner = np.searchsorted(self._firsts, np.arange(len(read)), side="right") - 1
        moved: list[tuple[int, int, int, int, int, int]] = []
        first = np.concatenate([[0], np.cumsum(self._sizes)])
        for part, choices in enumerate(read):
            stride = 1
            for place, choice in reversed(list(enumerate(choices))):
                self._read[part, place], self._strides[part, place] = choice, stride
                moved += [
                    (int(first[choice]) + to, int(owner[part]), part, choice, to, stride)
                    for to in range(self._sizes[choice])
                ]
                stride *= self._sizes[choice]
        table = np.array(sorted(moved), dtype=np.int64).reshape(-1, 6)
        self._move, self._owner, self._part, self._choice, self._to, self._stride = table.T
        ends = np.flatnonzero(np.diff(self._move * len(self._firsts) + self._owner)) + 1
        self._segments = np.concatenate([[0], ends]) if len(table) else np.zeros(0, dtype=np.int64)
        self._moves = int(first[-1])

    def excess(self, positions: np.ndarray) -> np.ndarray:
        """How far configs are beyond their limits, as sums of parts of the limits; float64 (configs,).

        Args:
            positions: on the menus of the space's choices, integers (configs, choices).
        """
        entries = (positions[:, self._read] * self._strides).sum(axis=2) + self._starts
        sums = np.add.reduceat(self._values[entries], self._firsts, axis=1)
        return np.asarray(np.maximum(sums - self._allowed, 0.0).sum(axis=1))

    def excess_after(self, here: np.ndarray) -> np.ndarray:
        """How far a config is beyond its limits after each single move: float64 (sum of the menus' lengths,).

        Args:
            here: positions on the menus, integers (choices,).
        """
        entries = (here[self._read] * self._strides).sum(axis=1) + self._starts
        values = self._values[entries]
        after = np.tile(np.add.reduceat(values, self._firsts) - self._allowed, (self._moves, 1))
        if len(self._move):
            reached = entries[self._part] + (self._to - here[self._choice]) * self._stride
            changes = np.add.reduceat(self._values[reached] - values[self._part], self._segments)
            after[self._move[self._segments], self._owner[self._segments]] += changes
        return np.asarray(np.maximum(after, 0.0).sum(axis=1))


def choices_of_parts(space: ResolvedSpace, cost: Cost) -> list[tuple[int, ...]]:
    """The choices that each part of a cost depends on, as numbers."""
    number = {site: n for n, choice in enumerate(space.choices) for site in choice.sites}
    return [tuple(sorted({number[site] for site in sites if site in number})) for sites in cost.dependencies() or ()]


def has_table(space: ResolvedSpace, cost: Cost) -> bool:
    """Whether a cost's parts depend on so few choices that all combinations can be kept."""
    read = choices_of_parts(space, cost)
    entries = (prod(len(space.choices[choice].specs) for choice in choices) for choices in read)
    return bool(read) and max(entries) <= MOST_ENTRIES


def _is_split(cost: Cost, arrays: SpecArrays, most: float) -> bool:
    """Whether each part beyond the limit counts, and not their sum."""
    here = np.zeros((1, len(arrays.space.choices)), dtype=np.int64)
    return cost.beyond(arrays.at(here), most).shape[1] > 1


def _tables(
    arrays: SpecArrays, read: Sequence[tuple[int, ...]], sizes: Sequence[int], cost: Cost, most: float, split: bool
) -> list[np.ndarray]:
    """Of each part, its value in parts of the limit, or how far it is beyond, for all combinations, the last fastest.

    Parts that depend on different choices are computed with the same configs.
    """
    combinations = [np.array(list(product(*(range(sizes[c]) for c in choices))), dtype=np.int64) for choices in read]
    found: list[np.ndarray] = [np.zeros(0)] * len(read)
    for together in _disjoint(read):
        rows = np.zeros((max(len(combinations[part]) for part in together), len(sizes)), dtype=np.int64)
        for part in together:
            rows[: len(combinations[part]), list(read[part])] = combinations[part]
        specs = arrays.at(rows)
        parts = cost.parts(specs)
        assert parts is not None  # a cost that says what its parts depend on has parts
        columns = cost.beyond(specs, most) if split else parts[1] / (most or 1.0)
        for part in together:
            found[part] = columns[: len(combinations[part]), part]
    return found


def _disjoint(read: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Parts in groups, in each of which no choice is read twice."""
    groups: list[tuple[set[int], list[int]]] = []
    for part, choices in enumerate(read):
        for taken, parts in groups:
            if taken.isdisjoint(choices):
                taken.update(choices)
                parts.append(part)
                break
        else:
            groups.append((set(choices), [part]))
    return [parts for _, parts in groups]
