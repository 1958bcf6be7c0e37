"""The exact selection of widths: least damage within a budget, a multiple-choice knapsack.

Each choice takes one spec; damages and costs of specs add up over choices, and limits of the space hold. It is solved
as an integer linear program by HiGHS (Q. Huangfu and J. A. J. Hall, *Parallelizing the dual revised simplex method*,
Mathematical Programming Computation 10, 2018), which scipy brings along.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from mpsearch.errors import ConfigError
from mpsearch.space import ResolvedSpace
from mpsearch.space.choices import Comparison

SECONDS = 10.0  # after which the best selection so far is taken
GAP = 1e-6  # part of the damage by which a selection may be worse than the best one


@dataclass(frozen=True)
class Row:
    """A limit on a sum over choices.

    Attributes:
        amounts: of each choice, for each spec of its menu.
        most: of the sum.
    """

    amounts: Sequence[np.ndarray]
    most: float


class Knapsack:
    """Selections of a space's specs.

    Args:
        space: of the choices, with its limits between widths.
    """

    def __init__(self, space: ResolvedSpace) -> None:
        self._sizes = [len(choice.specs) for choice in space.choices]
        self._ends = np.cumsum([0, *self._sizes])
        one = np.zeros((len(self._sizes), self._ends[-1]))
        for choice in range(len(self._sizes)):
            one[choice, self._ends[choice] : self._ends[choice + 1]] = 1.0
        self._fixed = [LinearConstraint(csr_array(one), 1.0, 1.0)]
        between = _between(space, self._ends)
        if between is not None:
            self._fixed.append(between)

    def solve(self, damages: Sequence[np.ndarray], rows: Sequence[Row], seconds: float = SECONDS) -> np.ndarray | None:
        """The selection of least damage that keeps all limits; None where there is none.

        Args:
            damages: of each choice, for each spec of its menu.
            rows: limits on sums.
            seconds: after which the best selection so far is taken.

        Returns:
            Positions on the menus, int64 (choices,).

        Raises:
            ConfigError: an array has another length than its menu.
        """
        constraints = list(self._fixed)
        for row in rows:
            amounts = self._flat(row.amounts)
            largest = np.abs(amounts).max(initial=0.0) or 1.0  # HiGHS has absolute tolerances
            constraints.append(LinearConstraint(csr_array(amounts[None] / largest), -np.inf, row.most / largest))
        harm = self._flat(damages)
        largest = np.abs(harm).max(initial=0.0) or 1.0
        with _silent():
            found = milp(
                harm / largest,
                integrality=np.ones(len(harm)),
                bounds=Bounds(0.0, 1.0),
                constraints=constraints,
                options={"time_limit": seconds, "mip_rel_gap": GAP},
            )
        if found.x is None:
            return None
        picks = [int(np.argmax(found.x[a:b])) for a, b in zip(self._ends, self._ends[1:], strict=False)]
        return np.array(picks, dtype=np.int64)

    def _flat(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        if [len(array) for array in arrays] != self._sizes:
            raise ConfigError(
                f"expected an array for each menu, of {self._sizes} specs, but got {list(map(len, arrays))}"
            )
        return np.concatenate([np.asarray(array, dtype=np.float64) for array in arrays])


@contextmanager
def _silent() -> Iterator[None]:
    """Keep from standard output what HiGHS 1.12 writes there now and then, whatever its options."""
    try:
        sys.stdout.flush()
        kept = os.dup(1)
    except (OSError, ValueError, AttributeError):  # there is none
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def total(amounts: Sequence[np.ndarray], positions: np.ndarray) -> float:
    """The sum of a selection's amounts."""
    return float(sum(array[position] for array, position in zip(amounts, positions, strict=True)))


def _between(space: ResolvedSpace, ends: np.ndarray) -> LinearConstraint | None:
    """The limits between widths, as bits of the left choice less those of the right one."""
    if not space.limits:
        return None
    number = {choice.name: n for n, choice in enumerate(space.choices)}
    matrix = np.zeros((len(space.limits), ends[-1]))
    low, high = np.full(len(space.limits), -np.inf), np.zeros(len(space.limits))
    for row, limit in enumerate(space.limits):
        for name, sign in ((limit.left, 1.0), (limit.right, -1.0)):
            choice = number[name]
            matrix[row, ends[choice] : ends[choice + 1]] += [sign * s.bits for s in space.choices[choice].specs]
        if limit.comparison is Comparison.BELOW:
            high[row] = -1.0
        elif limit.comparison is Comparison.EQUAL:
            low[row] = 0.0
    return LinearConstraint(csr_array(matrix), low, high)
