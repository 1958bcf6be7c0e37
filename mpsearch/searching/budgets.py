"""Budgets: hard limits on costs. A config beyond one is never trained; it is moved inside.

The way inside is downwards: choices of the space take their next narrower width, or a power of two for a scale, those
first that bring a config nearest to its limits, and no more of them than it needs. Where a cost may fall as widths rise
it goes upwards as well.
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
        return next(self.space.configs(found[None]))

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
            taken: dict[int, int] = {}
            for row in np.argsort(-gains, kind="stable"):
                if gains[row] > 0 and self._allowed(candidates[row]):
                    taken.setdefault(moves[row][0], moves[row][1])
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

    def _allowed(self, positions: np.ndarray) -> bool:
        """Whether a config keeps the limits between the space's widths."""
        return not self.space.limits or next(self.space.configs(positions[None])) in self.space

    @cached_property
    def _steps(self) -> list[list[list[int]]]:
        """Of each choice and position: the positions to which it may go next."""
        anywhere = any(cost.falls_with_widths for cost in self.costs)
        return [
            [
                [n for n in range(len(choice.specs)) if n != position] if anywhere else _cheaper(choice.specs, spec)
                for position, spec in enumerate(choice.specs)
            ]
            for choice in self.space.choices
        ]


def _price(spec: QuantizerSpec) -> tuple[int, bool]:
    return spec.bits, spec.alpha is Alpha.AUTO


def _cheaper(specs: Sequence[QuantizerSpec], spec: QuantizerSpec) -> list[int]:
    """Positions one step cheaper: the next narrower width, and a power of two for a scale."""
    narrower = [n for n, other in enumerate(specs) if other.bits < spec.bits and other.alpha is spec.alpha]
    po2 = [
        n
        for n, other in enumerate(specs)
        if other.bits == spec.bits and spec.alpha is Alpha.AUTO and other.alpha is not Alpha.AUTO
    ]
    return [*([max(narrower, key=lambda n: specs[n].bits)] if narrower else []), *po2[:1]]


def budget_of(space: ResolvedSpace, scoring: Scoring) -> Budget:
    """The limits of a goal on the configs of a space."""
    limits = scoring.goal.limits
    return Budget(space, [scoring.models[name] for name in limits], list(limits.values()))
