"""Configs selected by sensitivities, before anything is trained: the least damage within limits."""

from collections.abc import Sequence

import numpy as np

from mpsearch.costs.model import TOLERANCE, Cost
from mpsearch.searching.arrays import SpecArrays
from mpsearch.searching.knapsack import Knapsack, Row, total
from mpsearch.space import ResolvedSpace

ROUNDS = 8


class Selector:
    """Selects configs of a space.

    Costs that are sums over sites, such as bits and flash, are exact in the selection. Others are taken as linear
    around a config, and again around the one that was selected, until that one keeps the limits and no better one does.

    Args:
        space: of the configs.
        damages: of each choice, for each spec of its menu.
    """

    def __init__(self, space: ResolvedSpace, damages: Sequence[np.ndarray]) -> None:
        self.space, self.damages = space, [np.asarray(array, dtype=np.float64) for array in damages]
        self._arrays, self._knapsack = SpecArrays(space), Knapsack(space)
        self._sizes = [len(choice.specs) for choice in space.choices]
        self._around: dict[tuple[str, bytes], np.ndarray] = {}

    def damage(self, positions: np.ndarray) -> float:
        """The damage of a selection, a sum over choices."""
        return total(self.damages, positions)

    def within(self, costs: Sequence[Cost], most: Sequence[float]) -> np.ndarray | None:
        """The selection of least damage within limits; None where none was found.

        Args:
            costs: of the model.
            most: limit of each.

        Returns:
            Positions on the menus, int64 (choices,).
        """
        at = np.array([int(np.argmin(array)) for array in self.damages], dtype=np.int64)
        aims, best, before = list(most), None, None
        for _ in range(ROUNDS):
            rows = [row for cost, aim in zip(costs, aims, strict=True) for row in self._rows(cost, aim, at)]
            if best is not None and before is not None and _are_equal(rows, before):
                break  # costs are linear there: the same would be selected
            before = rows
            found = self._knapsack.solve(self.damages, rows)
            if found is None:
                break
            values = [self._value(cost, found) for cost in costs]
            beyond = [value - limit for value, limit in zip(values, most, strict=True)]
            if all(b <= limit * TOLERANCE for b, limit in zip(beyond, most, strict=True)):
                if best is not None and self.damage(found) >= self.damage(best):
                    break
                best = found
            if np.array_equal(found, at):
                if best is not None:
                    break
                aims = [aim - max(b, 0.0) for aim, b in zip(aims, beyond, strict=True)]  # it isn't linear even here
            at = found
        return best

    def ladder(
        self, cost: Cost, count: int, costs: Sequence[Cost] = (), most: Sequence[float] = ()
    ) -> list[np.ndarray]:
        """Selections within budgets from the least that can be met to the most that can be used, each once.

        Args:
            cost: that has the budgets, evenly spaced in their logarithms.
            count: of budgets.
            costs, most: further limits, which all of them keep.
        """
        free = self.within(costs, most)
        if free is None:
            return []
        cheap = self._least(cost, costs, most)
        low, high = self._value(cost, free if cheap is None else cheap), self._value(cost, free)
        budgets = np.geomspace(max(low, 1.0), max(high, 1.0), count) if high > low else [high]
        picked = [self.within([cost, *costs], [budget, *most]) for budget in budgets]
        unique = {tuple(p.tolist()): p for p in picked if p is not None}
        return list(unique.values())

    def scattered(
        self,
        chosen: Sequence[Cost],
        count: int,
        rng: np.random.Generator,
        costs: Sequence[Cost] = (),
        most: Sequence[float] = (),
    ) -> list[np.ndarray]:
        """Selections within budgets drawn by chance, on several costs at once, each selection once.

        Args:
            chosen: costs that have the budgets, drawn evenly from their logarithms.
            count: of draws.
            rng: of the budgets.
            costs, most: further limits, which all of them keep.
        """
        free = self.within(costs, most)
        if free is None:
            return []
        ends = []
        for cost in chosen:
            cheap = self._least(cost, costs, most)
            high = self._value(cost, free)
            ends.append((max(high if cheap is None else min(self._value(cost, cheap), high), 1.0), max(high, 1.0)))
        picked = [free]
        for _ in range(count):
            budgets = [low * (high / low) ** rng.random() for low, high in ends]
            found = self.within([*chosen, *costs], [*budgets, *most])
            if found is not None:
                picked.append(found)
        return list({tuple(p.tolist()): p for p in picked}.values())

    def _least(self, cost: Cost, costs: Sequence[Cost], most: Sequence[float]) -> np.ndarray | None:
        """The selection of least cost within further limits, as far as the cost is linear."""
        at = np.array([int(np.argmin(array)) for array in self.damages], dtype=np.int64)
        for _ in range(2):
            rows = [row for other, limit in zip(costs, most, strict=True) for row in self._rows(other, limit, at)]
            found = self._knapsack.solve(self._amounts(cost, at)[0], rows)
            if found is None:
                return None
            at = found
        return at

    def _value(self, cost: Cost, positions: np.ndarray) -> float:
        return float(cost.batch(self._arrays.at(positions[None], cost.needs_configs))[0])

    def _rows(self, cost: Cost, most: float, at: np.ndarray) -> list[Row]:
        """A limit as sums over choices, linear around a config; one for each part of a cost that is a maximum."""
        rows = []
        for column in self._columns(cost, at, cost.is_maximum).T:
            steps = column[1:] - column[0]
            if column[0] + np.maximum(steps, 0.0).sum() > most:  # else nothing could break it
                rows.append(Row(self._split(steps), most - float(column[0])))
        return rows

    def _amounts(self, cost: Cost, at: np.ndarray) -> tuple[list[np.ndarray], float]:
        """What each spec would change in a cost, if it alone replaced the one of a config, and the config's cost."""
        values = self._columns(cost, at, False)[:, 0]
        return self._split(values[1:] - values[0]), float(values[0])

    def _columns(self, cost: Cost, at: np.ndarray, split: bool) -> np.ndarray:
        """A cost, or where it shall be split and can be its parts, around a config: (`_changed` configs, parts)."""
        key = f"{cost.name}{' split' if split else ''}", at.tobytes()
        if key not in self._around:
            specs = self._arrays.at(self._changed(at), cost.needs_configs)
            parts = cost.parts(specs) if split else None
            self._around[key] = cost.batch(specs)[:, None] if parts is None else parts[1]
        return self._around[key]

    def _changed(self, at: np.ndarray) -> np.ndarray:
        """A config, and below it those that differ from it in one choice, spec after spec."""
        rows = np.repeat(at[None], 1 + sum(self._sizes), axis=0)
        row = 1
        for choice, size in enumerate(self._sizes):
            rows[row : row + size, choice] = np.arange(size)
            row += size
        return rows

    def _split(self, flat: np.ndarray) -> list[np.ndarray]:
        return np.split(flat, np.cumsum(self._sizes)[:-1])


def _are_equal(left: Sequence[Row], right: Sequence[Row]) -> bool:
    """Whether limits on sums are the same, around whichever configs they are taken."""
    if len(left) != len(right):
        return False
    return all(
        np.allclose(_from_firsts(a), _from_firsts(b), rtol=1e-9, atol=1e-9) for a, b in zip(left, right, strict=True)
    )


def _from_firsts(row: Row) -> np.ndarray:
    """Amounts beyond that of each choice's first spec, and what is left of the limit there."""
    firsts = [amounts[0] for amounts in row.amounts]
    beyond = [amounts - first for amounts, first in zip(row.amounts, firsts, strict=True)]
    return np.concatenate([*beyond, [row.most - sum(firsts)]])
