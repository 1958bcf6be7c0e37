"""All allowed combinations of choices, as a layered decision diagram.

Choice i is layer i. A node of a layer stands for all ways of choosing before it that leave the same possibilities: it
remembers which widths the limits have left to each later choice, and nothing else. An edge is a position
on the choice's menu. Nodes without a way to the end are cut off, so that no walk gets stuck. For each node the number
of ways to the end is known, as a Python integer, and from it follow the exact size, the n-th combination, and uniform
drawing. Without limits each layer has one node.
Source: H. R. Andersen et al., *A constraint store based on multivalued decision diagrams*, CP 2007, for the diagram.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import accumulate

import numpy as np

from mpsearch.errors import SpaceError
from mpsearch.space.choices import Comparison

MAX_NODES = 20_000
"""Nodes of one layer; limits that need more bind too many choices to each other to be counted."""

CUT = -1


class Diagram:
    """The combinations of positions that keep all limits.

    Args:
        widths: of each choice, the width in bits of each position on its menu.
        limits: (i, comparison, j): the width of choice i compares so with that of choice j; i ≠ j.

    Raises:
        SpaceError: the limits bind too many choices to each other.
    """

    def __init__(self, widths: Sequence[Sequence[int]], limits: Sequence[tuple[int, Comparison, int]] = ()) -> None:
        self._widths = [list(menu) for menu in widths]
        edges = _edges(self._widths, limits)
        self._counts: list[list[int]] = [[1]]
        for layer in reversed(edges):
            after = self._counts[-1]
            self._counts.append([sum(after[node] for node in row if node != CUT) for row in layer])
        self._counts.reverse()
        self._edges = [
            [[node if node != CUT and after[node] else CUT for node in row] for row in layer]
            for layer, after in zip(edges, self._counts[1:], strict=True)
        ]

    @property
    def size(self) -> int:
        """Number of combinations, exact."""
        return self._counts[0][0]

    def possible(self) -> list[list[int]]:
        """Of each choice, the positions that occur in some combination."""
        reached, found = {0} if self.size else set(), []
        for layer in self._edges:
            rows = [layer[node] for node in reached]
            found.append(sorted({p for row in rows for p, node in enumerate(row) if node != CUT}))
            reached = {node for row in rows for node in row if node != CUT}
        return found

    def decided(self) -> list[bool]:
        """Of each choice, whether its width always follows from the choices before it, though its menu has several."""
        found = []
        for widths, layer in zip(self._widths, self._edges, strict=True):
            left = [{w for w, node in zip(widths, row, strict=True) if node != CUT} for row in layer]
            found.append(len(set(widths)) > 1 and all(len(some) <= 1 for some in left))
        return found

    def nth(self, index: int) -> list[int]:
        """Combination number `index`, from 0 to size - 1; the last choice varies fastest."""
        node, found = 0, []
        for row_of, after in zip(self._edges, self._counts[1:], strict=True):
            row = row_of[node]
            if len(after) == 1:  # the usual case: all edges that aren't cut lead to the same node
                number, index = divmod(index, after[0])
                position = [p for p, target in enumerate(row) if target != CUT][number]
            else:
                ends = list(accumulate(0 if target == CUT else after[target] for target in row))
                position = bisect_right(ends, index)
                index -= ends[position - 1] if position else 0
            found.append(position)
            node = row[position]
        return found

    def walk(self, prefer: Callable[[int, list[int]], int]) -> list[int]:
        """The combination that takes, choice after choice, what `prefer(choice, allowed positions)` returns."""
        node, found = 0, []
        for choice, layer in enumerate(self._edges):
            position = prefer(choice, [p for p, target in enumerate(layer[node]) if target != CUT])
            found.append(position)
            node = layer[node][position]
        return found

    def cheapest(self, prices: Sequence[Sequence[float]]) -> list[int]:
        """The combination with the least sum of prices, one for each position of each choice; exact for integers."""
        best: list[list[float]] = [[0]]
        for price, layer in zip(reversed(prices), reversed(self._edges), strict=True):
            after = best[-1]
            best.append(
                [
                    min((p + after[node] for p, node in zip(price, row, strict=True) if node != CUT), default=0)
                    for row in layer
                ]
            )
        best.reverse()
        node, found = 0, []
        for price, layer, after in zip(prices, self._edges, best[1:], strict=True):
            row = layer[node]
            _, position = min((price[p] + after[target], p) for p, target in enumerate(row) if target != CUT)
            found.append(position)
            node = row[position]
        return found

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Combinations drawn uniformly: positions, int64 (count, choices).

        The probability of an edge is the exact share of its ways to the end, rounded to float64.
        """
        found = np.zeros((count, len(self._edges)), dtype=np.int64)
        nodes = np.zeros(count, dtype=np.int64)
        for choice, (targets, ends) in enumerate(self._tables):
            if ends is None:
                found[:, choice] = rng.integers(targets.shape[1], size=count)
                nodes = np.zeros(count, dtype=np.int64)
            else:
                found[:, choice] = (rng.random(count)[:, None] >= ends[nodes, :-1]).sum(axis=1)
                nodes = targets[nodes, found[:, choice]]
        return found

    @cached_property
    def _tables(self) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """Of each layer: the edges, (nodes, positions), and the cumulative probabilities; None where all are equal."""
        tables: list[tuple[np.ndarray, np.ndarray | None]] = []
        for layer, counts, after in zip(self._edges, self._counts[:-1], self._counts[1:], strict=True):
            targets = np.array(layer, dtype=np.int64)
            if len(layer) == len(after) == 1 and CUT not in layer[0]:
                tables.append((targets, None))
                continue
            ends = [
                [end / max(count, 1) for end in accumulate(0 if node == CUT else after[node] for node in row)]
                for row, count in zip(layer, counts, strict=True)
            ]
            tables.append((targets, np.array(ends)))
        return tables


def _edges(menus: Sequence[Sequence[int]], limits: Sequence[tuple[int, Comparison, int]]) -> list[list[list[int]]]:
    """Edges of all layers that keep the limits so far: layer, node, position to the next layer's node."""
    later: list[list[tuple[int, Comparison, bool]]] = [[] for _ in menus]  # limits to later choices
    first = list(range(len(menus)))  # the first choice to which a limit joins each choice
    for left, comparison, right in limits:
        early, late = min(left, right), max(left, right)
        later[early].append((late, comparison, early == left))
        first[late] = min(first[late], early)
    pending: list[int] = []  # later choices of which earlier ones may have cut the widths
    nodes: list[tuple[tuple[int, ...], ...]] = [()]  # what is left of the widths of each pending choice
    edges = []
    for choice, menu in enumerate(menus):
        after = [c for c in range(choice + 1, len(menus)) if first[c] <= choice]
        following: dict[tuple[tuple[int, ...], ...], int] = {}
        layer = []
        for node in nodes:
            left_over = dict(zip(pending, node, strict=True))
            targets = {}
            for width in left_over.get(choice, tuple(dict.fromkeys(menu))):
                left_after = {c: left_over.get(c) or tuple(dict.fromkeys(menus[c])) for c in after}
                for other, comparison, is_left in later[choice]:
                    left_after[other] = tuple(
                        w
                        for w in left_after[other]
                        if (comparison.holds(width, w) if is_left else comparison.holds(w, width))
                    )
                if all(left_after.values()):
                    targets[width] = following.setdefault(tuple(left_after.values()), len(following))
            layer.append([targets.get(width, CUT) for width in menu])
            if len(following) > MAX_NODES:
                raise SpaceError(
                    f"the limits bind so many choices to each other that their configs can't be counted (more than "
                    f"{MAX_NODES:,} cases): tie some of the choices, or limit fewer of them"
                )
        edges.append(layer)
        pending, nodes = after, list(following)
    return edges
