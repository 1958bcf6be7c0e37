"""The sampler auto: configs by sensitivities at first, and by what trials teach from then on.

A proposal goes some way from the mean of what is believed of the metric towards a draw of it (tempered Thompson
sampling: W. R. Thompson, *On the likelihood that one unknown probability exceeds another*, Biometrika 25, 1933),
selects the least loss for a ladder of budgets exactly, and improves these selections choice by choice; the one that
promises most is trained. The very first is by the mean. Draws differ from process to process, so that proposals made
at the same time do as well.
"""

import math
from collections.abc import Callable, Collection, Sequence

import numpy as np

from mpsearch.front import dominated_volume, nondominated
from mpsearch.goal import Objective
from mpsearch.searching.arrays import SpecArrays
from mpsearch.searching.budgets import Budget, budget_of
from mpsearch.searching.guesses import Guess, Tried
from mpsearch.searching.scoring import Scoring, reference_config
from mpsearch.searching.selection import Selector
from mpsearch.searching.steadying import steadied
from mpsearch.searching.surrogate import Belief, Prior, Surrogate
from mpsearch.space import ResolvedSpace

BOLDNESS = 0.3  # how far a draw goes from the mean, in parts of what is possible: 1 is plain Thompson sampling
BUDGETS = 12  # of a ladder
CLIMBS = 3  # selections that are improved
ROUNDS = 200  # of an improvement
KEPT = 3  # one trial in so many is trained on
_DONE = 1e-9


def is_rung(epochs: int) -> bool:
    """Whether it is decided after so many epochs which trials go on: after 1, 3, 9, ….

    >>> [epochs for epochs in range(30) if is_rung(epochs)]
    [1, 3, 9, 27]
    """
    while epochs > 1 and epochs % KEPT == 0:
        epochs //= KEPT
    return epochs == 1


def learnt(tried: Sequence[Tried]) -> tuple[np.ndarray, list[float]]:
    """Configs of which trainings say something, as positions (trainings, choices), and the steadied metrics."""
    known = [(t.positions, metric) for t, metric in zip(tried, steadied(tried), strict=True) if metric is not None]
    return np.array([positions for positions, _ in known], dtype=np.int64), [metric for _, metric in known]


class Guide:
    """Proposes configs of a space for a goal.

    Args:
        space: of the configs.
        scoring: of them, with the goal.
        damages: of each choice, for each spec, s of `searching.surrogate`.
        prior: of the metric.
    """

    def __init__(self, space: ResolvedSpace, scoring: Scoring, damages: Sequence[np.ndarray], prior: Prior) -> None:
        self.space, self.scoring, self.prior = space, scoring, prior
        self.damages = [np.asarray(array, dtype=np.float64) for array in damages]
        self._arrays = SpecArrays(space)
        self._budget: Budget = budget_of(space, scoring)
        self._costs = [scoring.models[name] for name in scoring.goal.costs]
        self._reference = np.array(
            [cost(reference_config(space.facts, scoring.cost.reference)) for cost in self._costs]
        )

    def propose(self, tried: Sequence[Tried], seed: int) -> Guess:
        """The next config, none of those that were tried as long as there is another.

        Args:
            tried: configs that were trained or are being trained.
            seed: of the draw.
        """
        positions, metrics = learnt(tried)
        surrogate = Surrogate(self.damages, self.prior, positions, metrics)
        rng = np.random.default_rng(seed)
        mean = surrogate.mean()
        belief = mean if not tried else mean.towards(surrogate.draw(rng), BOLDNESS)
        taken = {tuple(map(int, t.positions)) for t in tried}
        if self.scoring.goal.objective is Objective.SCORE:
            found = self._best_score(belief, taken)
        else:
            found = self._best_front(belief, taken, positions, metrics, rng)
        if found is None:
            found = self._any(taken, rng)
        config = next(self.space.configs(found[None]))
        return Guess(
            config,
            float(mean.predict(found[None])[0]),
            float(surrogate.deviation(found[None])[0]),
            f"the most promising after {len(metrics)} trainings" if metrics else "the best guess by sensitivities",
        )

    def surrogate(self, tried: Sequence[Tried]) -> Surrogate:
        """What is believed after trainings."""
        return Surrogate(self.damages, self.prior, *learnt(tried))

    def is_promising(self, tried: Sequence[Tried], running: Tried) -> bool:
        """Whether a trial that has trained some epochs belongs to the best of all by what is believed of scores.

        The best are one in `KEPT` of those that have come as far, the trial among them: successive halving that
        doesn't wait for others (L. Li et al., *A System for Massively Parallel Hyperparameter Tuning*,
        arXiv:1810.05934, section 3), by beliefs in the place of metrics.

        Args:
            tried: the others.
            running: the trial, without a metric yet.
        """
        positions, metrics = learnt([*tried, running])
        if not metrics or not np.array_equal(positions[-1], running.positions):
            return True  # no training was completed yet that it could be compared with
        as_far = [t.positions for t in tried if len(t.curve) >= len(running.curve)]
        rivals = np.unique(np.array([running.positions, *as_far]), axis=0)
        together = np.vstack([running.positions, rivals])
        believed = Surrogate(self.damages, self.prior, positions, metrics).believed(together)
        scores = self._scores(believed, self._values(together)[:, 0])
        return int((scores[1:] > scores[0]).sum()) < math.ceil(len(rivals) / KEPT)

    def _scores(self, metrics: np.ndarray, costs: np.ndarray) -> np.ndarray:
        """Scores of metrics at values of the objective's first cost; below the goal's floor, less than any other."""
        floor, forgiving = self.scoring.goal.floor, self.scoring.forgiving
        reference = max(float(self._reference[0]), 1.0)
        deltas = np.array([forgiving.delta(max(cost, 1.0), reference) for cost in costs])
        scores = metrics * (1.0 + deltas)
        return scores if floor is None else np.where(metrics < floor, metrics - 2.0, scores)

    def _best_score(self, belief: Belief, taken: Collection[tuple[int, ...]]) -> np.ndarray | None:
        """The config of the best score by a belief."""

        def value(positions: np.ndarray) -> np.ndarray:
            return self._scores(belief.predict(positions), self._values(positions)[:, 0])

        starts = Selector(self.space, belief.losses).ladder(
            self._costs[0], BUDGETS, self._budget.costs, self._budget.most
        )
        return self._climbed(starts, value, taken)

    def _best_front(
        self,
        belief: Belief,
        taken: Collection[tuple[int, ...]],
        known: np.ndarray,
        metrics: Sequence[float],
        rng: np.random.Generator,
    ) -> np.ndarray | None:
        """The config that adds most to the front by a belief."""
        selector = Selector(self.space, belief.losses)
        starts = selector.scattered(self._costs, BUDGETS, rng, self._budget.costs, self._budget.most)
        front = np.zeros((0, 1 + len(self._costs)))
        if metrics:
            front = self._box(np.array(metrics, dtype=np.float64), self._values(known))
            front = front[nondominated(front)]
        before = dominated_volume(front) if len(front) else 0.0

        def value(positions: np.ndarray) -> np.ndarray:
            points = self._box(belief.predict(positions), self._values(positions))
            gains = [dominated_volume(np.vstack([front, point])) - before for point in points]
            return np.asarray(gains)

        values = value(np.array(starts)) if starts else np.zeros(0)
        free = [n for n in np.argsort(-values) if tuple(starts[n].tolist()) not in taken]
        return starts[free[0]] if free else None

    def _climbed(
        self,
        starts: Sequence[np.ndarray],
        value: Callable[[np.ndarray], np.ndarray],
        taken: Collection[tuple[int, ...]],
    ) -> np.ndarray | None:
        """The best config that wasn't taken, of those met on the way up from the best starts, choice by choice."""
        best: tuple[float, tuple[int, ...]] | None = None
        if not starts:
            return None
        firsts = value(np.array(starts))
        for start in np.argsort(-firsts)[:CLIMBS]:
            here, height = starts[start], float(firsts[start])
            for _ in range(ROUNDS):
                around = self._inside(self._neighbours(here))
                values = value(around) if len(around) else np.zeros(0)
                for n in [*np.argsort(-values)[: len(taken) + 1], -1]:
                    point, reached = (here, height) if n == -1 else (around[n], float(values[n]))
                    key = tuple(point.tolist())
                    if key not in taken and (best is None or (reached, key) > best):
                        best = reached, key
                if not len(values) or values.max() <= height + _DONE:
                    break
                here, height = around[int(values.argmax())], float(values.max())
        return None if best is None else np.array(best[1], dtype=np.int64)

    def _neighbours(self, here: np.ndarray) -> np.ndarray:
        """Configs that differ in one choice."""
        rows = []
        for choice, array in enumerate(self.damages):
            for position in range(len(array)):
                if position != here[choice]:
                    row = here.copy()
                    row[choice] = position
                    rows.append(row)
        return np.array(rows, dtype=np.int64).reshape(len(rows), len(here))

    def _inside(self, positions: np.ndarray) -> np.ndarray:
        """Those configs that keep the limits, on costs and of the space."""
        if len(positions) and self._budget.costs:
            positions = positions[self._budget.excess(positions) == 0]
        if self.space.limits:
            positions = positions[self.space.keep_limits(positions)]
        return positions

    def _any(self, taken: Collection[tuple[int, ...]], rng: np.random.Generator) -> np.ndarray:
        """A config by chance, moved into the limits; one that was tried where chance finds no other."""
        found = self.space.draw(rng, 64)
        moved = [self._budget.moved(row) for row in found]
        free = [row for row in moved if tuple(row.tolist()) not in taken]
        return free[0] if free else moved[0]

    def _values(self, positions: np.ndarray) -> np.ndarray:
        """The objective's costs, float64 (configs, costs)."""
        specs = self._arrays.at(positions, any(cost.needs_configs for cost in self._costs))
        return np.stack([cost.batch(specs) for cost in self._costs], axis=1)

    def _box(self, metrics: np.ndarray, costs: np.ndarray) -> np.ndarray:
        """Points for volumes: 1 - metric, and costs in parts of the reference's."""
        return np.column_stack([1.0 - metrics, costs / np.maximum(self._reference, 1e-12)])
