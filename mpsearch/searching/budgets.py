"""Budgets: hard limits on costs. A config beyond one is never trained; it is moved inside.

The way inside is downwards: choices of the space take the next narrower width that costs less, or a power of two for a
scale, those first that bring a config nearest to its limits, and no more of them than it needs; what needn't have moved
is put back. Where a cost may fall as widths rise the way goes upwards as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mpsearch.config import Alpha, Config, QuantizerSpec
from mpsearch.costs.accounting import made_of
from mpsearch.costs.model import TOLERANCE, Cost
from mpsearch.costs.sizes import shown_size
from mpsearch.errors import ConfigError
from mpsearch.searching.arrays import SpecArrays
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
        specs = self._arrays.at(positions, any(cost.needs_configs for cost in self.costs))
        total = np.zeros(len(positions))
        for cost, most in zip(self.costs, self.most, strict=True):
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
        found = self._down(start)
        if found is None:
            found = self._cheapest
        if self.excess(found[None])[0] > 0:
            raise self.refusal()
        return next(self.space.configs(self._back(found, start)[None]))

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
        if self.excess(narrow[None])[0] == 0 or not any(cost.falls_with_widths for cost in self.costs):
            return narrow
        for width in (2, 4, 8, 16, 32):
            start = self.space.positions([self.space.uniform(width)])[0]
            found = self._down(start)
            if found is not None:
                return found
        return narrow

    def _down(self, start: np.ndarray) -> np.ndarray | None:
        """The way from a config into the limits; None where it ends before."""
        here = start.copy()
        for _ in range(ROUNDS):
            excess = self.excess(here[None])[0]
            if excess == 0:
                return here
            moves = [(choice, to) for choice, position in enumerate(here) for to in self._steps[choice][position]]
            if not moves:
                return None
            candidates = np.repeat(here[None], len(moves), axis=0)
            for row, (choice, to) in enumerate(moves):
                candidates[row, choice] = to
            gains = excess - self.excess(candidates)
            nearest: dict[int, int] = {}  # of each choice the first move that brings anything
            for row, (choice, _) in enumerate(moves):
                if gains[row] > 0 and choice not in nearest and self._allowed(candidates[row]):
                    nearest[choice] = row
            ordered = sorted(nearest.values(), key=lambda row: -gains[row])
            taken = dict(moves[row] for row in ordered)
            if not taken:
                return None
            here = self._first_inside(here, taken)
        return None

    def _first_inside(self, here: np.ndarray, taken: Mapping[int, int]) -> np.ndarray:
        """The config after so many of the moves that it is inside, or after all of them."""
        steps = np.repeat(here[None], len(taken), axis=0)
        for row, (choice, to) in enumerate(taken.items()):
            steps[row:, choice] = to
        # the first move alone is allowed, several may not be
        steps = steps[[self._allowed(step) for step in steps]] if self.space.limits else steps
        inside = np.flatnonzero(self.excess(steps) == 0)
        return np.asarray(steps[inside[0]] if len(inside) else steps[-1])

    def _back(self, here: np.ndarray, start: np.ndarray) -> np.ndarray:
        """A config inside the limits, with what needn't differ from where it came from put back."""
        changed = [int(choice) for choice in np.flatnonzero(here != start)]
        while changed:
            steps = np.repeat(here[None], len(changed), axis=0)
            for row, choice in enumerate(changed):
                steps[row:, choice] = start[choice]
            inside = (self.excess(steps) == 0) & np.array([self._allowed(step) for step in steps])
            kept = len(changed) if inside.all() else int(inside.argmin())
            if kept:
                here = steps[kept - 1]
            changed = changed[kept + 1 :]  # the one after can't be put back
        return here

    def _allowed(self, positions: np.ndarray) -> bool:
        """Whether a config keeps the limits between the space's widths."""
        return not self.space.limits or next(self.space.configs(positions[None])) in self.space

    @cached_property
    def _steps(self) -> list[list[list[int]]]:
        """Of each choice and position: the positions to which it may go next."""
        anywhere = any(cost.falls_with_widths for cost in self.costs)
        return [
            [
                _around(choice.specs, position) if anywhere else _cheaper(choice.specs, spec)
                for position, spec in enumerate(choice.specs)
            ]
            for choice in self.space.choices
        ]


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
