"""Gaussian-process search in spaces of a hundred and more menus.

Optuna's sampler looks for the most promising config parameter by parameter, each with a call of its own: some thousand
calls with 184 parameters, which take many seconds. Here all changes of one parameter are tried in one call, and the
best of them together in another.

Fitting takes time in proportion to trials² · parameters. Beyond a limit it learns from the best and the latest trials
alone.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial

LARGEST_FIT = 3_000_000  # trials² · parameters: 127 trials with 184 parameters, 377 with 21
POINTS_A_CALL = 256  # a call's memory: points × trials × parameters × 8 bytes
_ROUNDING = 1e-9  # a gain below is none: points of one call aren't rounded as those of another
_PRELIMINARY = 1024  # points at random, the best of which is a start beside the best config so far

Evaluate = Callable[[np.ndarray], np.ndarray]
"""Points, (points, parameters), to how promising each is, (points,)."""


class GPSampler(optuna.samplers.GPSampler):
    """Optuna's sampler, where every parameter has a menu, fast enough for many of them."""

    def _sample_relative_impl(
        self, study: optuna.Study, completed_trials: list[FrozenTrial], *others: Any, **named: Any
    ) -> dict[str, Any]:
        parameters = max((len(trial.params) for trial in completed_trials), default=1)
        chosen = telling(completed_trials, math.isqrt(LARGEST_FIT // max(1, parameters)))
        return super()._sample_relative_impl(study, chosen, *others, **named)

    def _optimize_acqf(self, acqf: Any, best_params: np.ndarray | None) -> np.ndarray:
        space = acqf.search_space
        menus = dict(zip(space.discrete_indices.tolist(), space.get_choices_of_discrete_params(), strict=True))
        assert len(menus) == space.dim, "every parameter of a search has a menu"
        drawn = space.sample_normalized_params(_PRELIMINARY, rng=self._rng.rng)
        evaluate = in_parts(acqf.eval_acqf_no_grad)
        starts = [drawn[np.argmax(evaluate(drawn))], *([] if best_params is None else best_params)]
        climbed = [climb(evaluate, start, [menus[place] for place in range(space.dim)]) for start in starts]
        return max(climbed, key=lambda found: found[1])[0]


def telling(trials: Sequence[FrozenTrial], most: int) -> list[FrozenTrial]:
    """All trials where they are at most so many; else the best half of that number, and the latest of the others."""
    if len(trials) <= most:
        return list(trials)
    ranked = sorted(trials, key=lambda trial: (-trial.values[0], trial.number))
    best, others = ranked[: most // 2], sorted(ranked[most // 2 :], key=lambda trial: trial.number)
    return sorted([*best, *others[len(others) - (most - most // 2) :]], key=lambda trial: trial.number)


def climb(evaluate: Evaluate, start: np.ndarray, menus: Sequence[np.ndarray]) -> tuple[np.ndarray, float]:
    """Climb to a point that no change of one parameter betters.

    In each round every change of one parameter is tried alone; then the best 1, 2, 4, … of those that better the point
    are made together, each of another parameter, and the best of these points is the next one.

    Args:
        evaluate: what is to be maximized.
        start: (parameters,).
        menus: values that each parameter may have.

    Returns:
        The point and its value.
    """
    place = np.repeat(np.arange(len(menus)), [len(menu) for menu in menus])
    value = np.concatenate(menus)
    point, height = start, float(evaluate(start[np.newaxis])[0])
    while True:
        alone = np.repeat(point[np.newaxis], len(place), axis=0)
        alone[np.arange(len(place)), place] = value
        heights = evaluate(alone)
        order = np.argsort(-heights, kind="stable")
        order = order[heights[order] > height + _ROUNDING]
        order = order[np.sort(np.unique(place[order], return_index=True)[1])]  # of each parameter the best change
        counts = sorted({min(2**power, len(order)) for power in range(len(order).bit_length() + 1)})
        together = np.repeat(point[np.newaxis], len(counts), axis=0)
        for row, count in zip(together, counts, strict=True):
            row[place[order[:count]]] = value[order[:count]]
        heights = evaluate(together)
        best = int(np.argmax(heights))
        if not heights[best] > height + _ROUNDING:
            return point, height
        point, height = together[best], float(heights[best])


def in_parts(evaluate: Evaluate) -> Evaluate:
    """As `evaluate`, which gets no more than `POINTS_A_CALL` points at a time."""

    def parts(points: np.ndarray) -> np.ndarray:
        cuts = range(POINTS_A_CALL, len(points), POINTS_A_CALL)
        return np.concatenate([evaluate(part) for part in np.split(points, cuts)])

    return parts
