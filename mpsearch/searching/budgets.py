"""Budgets: hard limits on costs. A config beyond one is never trained; it is moved inside.

The way inside is downwards: choices of the space take the next narrower width that costs less, or a power of two for a
scale, those first that bring a config nearest to its limits, and no more of them than it needs; what needn't have moved
is put back. Where a cost may fall as widths rise the way goes upwards as well.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mpsearch.config import Alpha, Config, QuantizerSpec
from mpsearch.costs.accounting import made_of
from mpsearch.costs.model import TOLERANCE, Cost
from mpsearch.costs.sizes import shown_size
from mpsearch.errors import ConfigError
from mpsearch.searching.arrays import SpecArrays
from mpsearch.searching.cost_tables import CostTables, has_table
from mpsearch.searching.scoring import Scoring
from mpsearch.space import ResolvedSpace

ROUNDS = 64
HOLDERS = 3  # operations or sites that are named, of those that make up most of a cost


@dataclass(frozen=True)
class Feasible:
    """Whether a limit can be met.

    Attributes:
        cost: its name.
        unit: of the numbers.
        most: the limit.
        least: what the cheapest config costs; the smallest limit that can be met.
        by: the operations or sites that make up most of that, with their parts.
    """

    cost: str
    unit: str
    most: float
    least: float
    by: tuple[tuple[str, float], ...]

    @property
    def met(self) -> bool:
        """Whether the cheapest config meets the limit."""
        return self.least <= self.most * (1 + TOLERANCE)

    def __str__(self) -> str:
        sign, held = ("≤", "") if self.met else (">", "")
        if self.by:
            held = ", most of it " + ", ".join(f"{name} ({shown_size(part, self.unit)})" for name, part in self.by)
        least, most = shown_size(self.least, self.unit), shown_size(self.most, self.unit)
        return f"{self.cost}: the cheapest config has {least} {sign} {most}{held}"


class Budget:
    """Limits on the costs of a space's configs.

    Args:
        space: of the configs.
        costs: of its model.
        most: limit of each cost, in its unit.
    """

    def __init__(self, space: ResolvedSpace, costs: Sequence[Cost], most: Sequence[float]) -> None:
        self.space, self.costs, self.most = space, tuple(costs), tuple(most)
        self._arrays = SpecArrays(space)

    def excess(self, positions: np.ndarray) -> np.ndarray:
        """How far configs are beyond their limits, as sums of parts of the limits; 0 inside. float64 (configs,).

        Args:
            positions: on the menus of the space's choices, integers (configs, choices).
        """
        total = np.zeros(len(positions))
        if self._tables is not None:
            total += self._tables.excess(positions)
        if self._computed:
            specs = self._arrays.at(positions, any(cost.needs_configs for cost, _ in self._computed))
            for cost, most in self._computed:
                total += cost.beyond(specs, most).sum(axis=1)
        return total

    def broken(self, config: Config) -> list[str]:
        """The limits that a config breaks, each in words; none where it is inside."""
        found = []
        for cost, most in zip(self.costs, self.most, strict=True):
            value = cost(config)
            if value > most * (1 + TOLERANCE):
                found.append(f"{cost.name} {shown_size(value, cost.unit)} > {shown_size(most, cost.unit)}")
        return found

    def repaired(self, config: Config) -> Config:
        """The config itself where it is inside, else one next to it that is.

        Raises:
            ConfigError: no config is inside.
        """
        if not self.costs:
            return config
        start = self.space.positions([config])[0]
        found = self.moved(start)
        return config if found is start else next(self.space.configs(found[None]))

    def moved(self, start: np.ndarray) -> np.ndarray:
        """The same of positions on the menus, integers (choices,)."""
        if not self.costs or self._excess(start) == 0:
            return start
        found = self._down(start)
        if found is None:
            found = self._cheapest
        if self._excess(found) > 0:
            raise self.refusal()
        return self._back(found, start)

    def feasible(self) -> list[Feasible]:
        """Of each limit, whether it can be met, and by what it is held back."""
        cheapest = next(self.space.configs(self._cheapest[None]))
        return [
            Feasible(cost.name, cost.unit, most, cost(cheapest), tuple(made_of(cost, cheapest, HOLDERS)))
            for cost, most in zip(self.costs, self.most, strict=True)
        ]

    def refusal(self) -> ConfigError:
        """The error for limits that can't be met."""
        lines = "\n".join(f"  {row}" for row in self.feasible())
        return ConfigError(
            "no config of the space meets these limits: raise those that are beyond what the cheapest config has, or "
            f"put narrower widths on the menus\n{lines}"
        )

    @cached_property
    def _cheapest(self) -> np.ndarray:
        """The config that is cheapest by all that costs have in common: narrow widths, powers of two for scales.

        Where limits of the space keep widths up, or a cost of the user's falls with them, the way down goes on from it.
        """
        picks = {choice.name: min(choice.specs, key=_price) for choice in self.space.choices}
        config = self.space.config(self.space.repaired(picks) if self.space.limits else picks)
        narrow = self.space.positions([config])[0]
        if self._excess(narrow) == 0 or not any(cost.falls_with_widths for cost in self.costs):
            return narrow
        for width in (2, 4, 8, 16, 32):
            start = self.space.positions([self.space.uniform(width)])[0]
            found = self._down(start)
            if found is not None:
                return found
        return narrow

    def _down(self, start: np.ndarray) -> np.ndarray | None:
        """The way from a config into the limits; None where it ends before."""
        here, rows = start.copy(), np.arange(len(start))
        for _ in range(ROUNDS):
            excess = self._excess(here)
            if excess == 0:
                return here
            steps = self._steps[rows, here]  # (choices, steps), those that are none at the end
            moves = steps[steps >= 0]
            gains = np.full(steps.shape, -1.0)
            gains[steps >= 0] = np.where(self._allowed_after(here, moves), excess - self._excess_after(here, moves), -1)
            first = (gains > 0).argmax(axis=1)  # of each choice the first move that brings anything
            gained = gains[rows, first]
            ordered = np.argsort(-gained, kind="stable")[: int((gained > 0).sum())]
            if not len(ordered):
                return None
            here = self._first_inside(here, ordered, self._to[steps[rows, first]][ordered])
        return None

    def _first_inside(self, here: np.ndarray, choices: np.ndarray, to: np.ndarray) -> np.ndarray:
        """The config after so many of the moves that it is inside, or after all of them."""
        counts = list(range(1, len(choices) + 1))
        if self.space.limits:  # the first move alone is allowed, several may not be
            together = [self._with(here, choices[:count], to[:count]) for count in counts]
            counts = [count for count in counts if self._allowed(together[count - 1])]

        def inside(count: int) -> bool:
            return bool(self._excess(self._with(here, choices[:count], to[:count])) == 0)

        count = counts[bisect_left(counts, True, key=inside)] if inside(counts[-1]) else counts[-1]
        return self._with(here, choices[:count], to[:count])

    def _back(self, here: np.ndarray, start: np.ndarray) -> np.ndarray:
        """A config inside the limits, with what needn't differ from where it came from put back."""
        while True:
            changed = np.flatnonzero(here != start)
            moves = self._first[changed] + start[changed]
            alone = (self._excess_after(here, moves) == 0) & self._allowed_after(here, moves)
            changed = changed[alone]
            if not len(changed):
                return here

            def beyond(count: int, here: np.ndarray = here, changed: np.ndarray = changed) -> bool:
                row = self._with(here, changed[:count], start[changed[:count]])
                return bool(self._excess(row) > 0) or not self._allowed(row)

            # what can be put back alone can, before the first that can't any more
            count = bisect_left(range(2, len(changed) + 1), True, key=beyond) + 1
            here = self._with(here, changed[:count], start[changed[:count]])

    def _with(self, here: np.ndarray, choices: np.ndarray, to: np.ndarray) -> np.ndarray:
        """A config whose choices, some of them, are elsewhere."""
        row = here.copy()
        row[choices] = to
        return row

    def _excess(self, here: np.ndarray) -> float:
        """How far one config is beyond the limits."""
        return float(self.excess(here[None])[0])

    def _excess_after(self, here: np.ndarray, moves: np.ndarray) -> np.ndarray:
        """How far a config is beyond the limits after each of some moves, which are numbered through all menus."""
        if not self._computed and self._tables is not None:
            return self._tables.excess_after(here)[moves]
        return self.excess(self._after(here, moves))

    def _allowed_after(self, here: np.ndarray, moves: np.ndarray) -> np.ndarray:
        """Of each of some moves, whether a config keeps the limits between the space's widths after it."""
        if not self.space.limits:
            return np.ones(len(moves), dtype=bool)
        return self.space.keep_limits(self._after(here, moves))

    def _allowed(self, here: np.ndarray) -> bool:
        return not self.space.limits or bool(self.space.keep_limits(here[None])[0])

    def _after(self, here: np.ndarray, moves: np.ndarray) -> np.ndarray:
        """A config after each of some moves, (moves, choices)."""
        rows = np.repeat(here[None], len(moves), axis=0)
        rows[np.arange(len(moves)), self._choice[moves]] = self._to[moves]
        return rows

    @cached_property
    def _tables(self) -> CostTables | None:
        """Of the costs that have one; None where none has."""
        known = [limit for limit in zip(self.costs, self.most, strict=True) if limit not in self._computed]
        return CostTables(self.space, [cost for cost, _ in known], [most for _, most in known]) if known else None

    @cached_property
    def _computed(self) -> list[tuple[Cost, float]]:
        """The costs that have no table, and their limits."""
        return [limit for limit in zip(self.costs, self.most, strict=True) if not has_table(self.space, limit[0])]

    @cached_property
    def _first(self) -> np.ndarray:
        """Of each choice, the number of the move to its first position."""
        return np.cumsum([0, *(len(choice.specs) for choice in self.space.choices)])[:-1]

    @cached_property
    def _choice(self) -> np.ndarray:
        """Of each move, which choice moves."""
        return np.repeat(np.arange(len(self.space.choices)), [len(choice.specs) for choice in self.space.choices])

    @cached_property
    def _to(self) -> np.ndarray:
        """Of each move, to which position."""
        return np.concatenate([np.arange(len(choice.specs)) for choice in self.space.choices])

    @cached_property
    def _steps(self) -> np.ndarray:
        """Of each choice and position, the moves that it may take next, -1 after them: (choices, positions, steps)."""
        anywhere = any(cost.falls_with_widths for cost in self.costs)
        longest = max(len(choice.specs) for choice in self.space.choices)
        found = np.full((len(self.space.choices), longest, longest), -1)
        for number, choice in enumerate(self.space.choices):
            for position, spec in enumerate(choice.specs):
                steps = _around(choice.specs, position) if anywhere else _cheaper(choice.specs, spec)
                found[number, position, : len(steps)] = self._first[number] + np.array(steps, dtype=np.int64)
        return found


def _price(spec: QuantizerSpec) -> tuple[int, bool]:
    return spec.bits, spec.alpha is Alpha.AUTO


def _around(specs: Sequence[QuantizerSpec], position: int) -> list[int]:
    """All other positions, those with the nearest widths first."""
    others = [n for n in range(len(specs)) if n != position]
    return sorted(others, key=lambda n: abs(specs[n].bits - specs[position].bits))


def _cheaper(specs: Sequence[QuantizerSpec], spec: QuantizerSpec) -> list[int]:
    """Positions that are cheaper, the nearest first: narrower widths, then a power of two for a scale."""
    narrower = [n for n, other in enumerate(specs) if other.bits < spec.bits and other.alpha is spec.alpha]
    po2 = [
        n
        for n, other in enumerate(specs)
        if other.bits == spec.bits and spec.alpha is Alpha.AUTO and other.alpha is not Alpha.AUTO
    ]
    return [*sorted(narrower, key=lambda n: -specs[n].bits), *po2[:1]]


def budget_of(space: ResolvedSpace, scoring: Scoring) -> Budget:
    """The limits of a goal on the configs of a space."""
    limits = scoring.goal.limits
    return Budget(space, [scoring.models[name] for name in limits], list(limits.values()))
