"""Metrics of trainings, steadied by the training itself.

The validation metric after an epoch is that of one point among those that an optimizer passes, and good configs differ
by little more than such points do. The metric on the training batches of an epoch is a mean over all points passed in
it: trained again with another seed, a config comes to about the same (`studies/search/RESULTS.md` has the figures),
already after the first epoch. So the best validation metric is taken as linear in the training metric, with a slope
that the trials correct (Bayesian linear regression: C. M. Bishop, *Pattern Recognition and Machine Learning*, 2006,
section 3.3), and a training that was stopped has one as well.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from mpsearch.searching.guesses import Tried

SLOPE, SLOPE_DEVIATION = 0.8, 0.4  # of the validation metric in the training metric: what is believed at first
NOISE = 0.006  # standard deviation of a best validation metric from one training to the next: what is believed at first
WEIGHT = 4.0  # of that belief, in trials
LUCK = 0.6  # variance of the best epoch's metric, in parts of a single epoch's
LEAST = 0.1  # weight of a single training's own validation metric


def curve_of(logs: Sequence[Mapping[str, float]], metric: str) -> np.ndarray:
    """Training metric and validation metric of each epoch, float64 (epochs, 2).

    In the place of a training metric that isn't logged, or isn't finite, there is the validation metric.
    """
    rows = []
    for entry in logs:
        validation = entry.get(f"val_{metric}", math.nan)
        training = entry.get(metric, math.nan)
        if math.isfinite(validation):
            rows.append((training if math.isfinite(training) else validation, validation))
    return np.array(rows, dtype=np.float64).reshape(len(rows), 2)


def steadied(tried: Sequence[Tried]) -> list[float | None]:
    """For each training the validation metric that a whole one of its config is expected to reach.

    Args:
        tried: trainings that were completed, failed, stopped, or go on. Those that one config completed count together.

    Returns:
        The steadied metric; None where nothing can be said: no epoch ended, or none was completed yet.
    """
    whole = [t for t in tried if t.metric is not None and len(t.curve)]
    luck = _luck(whole)
    lines = {epochs: _Line(whole, epochs, luck) for epochs in {len(t.curve) for t in tried} if epochs and whole}
    alike: dict[bytes, list[Tried]] = defaultdict(list)
    for t in whole:
        alike[t.positions.tobytes()].append(t)

    def of(t: Tried) -> float | None:
        if not len(t.curve) or len(t.curve) not in lines:
            return t.metric
        line = lines[len(t.curve)]
        return line.expected(t) if t.metric is None else line.steadied(alike[t.positions.tobytes()])

    return [of(t) for t in tried]


class _Line:
    """The best validation metric as a linear function of the mean training metric of the first epochs."""

    def __init__(self, whole: Sequence[Tried], epochs: int, luck: float) -> None:
        reached = [t for t in whole if len(t.curve) >= epochs]
        self._epochs, self._known, self._luck = epochs, bool(reached), luck
        if not reached:
            return
        x = np.array([t.curve[:epochs, 0].mean() for t in reached])
        y = np.array([t.metric for t in reached], dtype=np.float64)
        self._x, self._y = float(x.mean()), float(y.mean())
        trust = luck / SLOPE_DEVIATION**2
        self._slope = float(((x - self._x) @ (y - self._y) + trust * SLOPE) / (np.square(x - self._x).sum() + trust))
        missed = float(np.square(y - self._y - self._slope * (x - self._x)).sum())
        scatter = (missed + WEIGHT * luck) / (max(len(reached) - 1, 0) + WEIGHT)
        self._own = max(scatter - luck, luck * LEAST / (1.0 - LEAST))  # variance of what the line misses and is no luck

    def expected(self, t: Tried) -> float | None:
        """What a whole training is expected to reach, by its first epochs."""
        if not self._known:
            return None
        found = self._y + self._slope * (float(t.curve[: self._epochs, 0].mean()) - self._x)
        return min(max(found, 0.0), 1.0)

    def steadied(self, alike: Sequence[Tried]) -> float:
        """What whole trainings of one config say together."""
        expected = float(np.mean([self.expected(t) for t in alike]))
        own = self._own / (self._own + self._luck / len(alike))
        return expected + own * (float(np.mean([t.metric for t in alike])) - expected)


def _luck(whole: Sequence[Tried]) -> float:
    """Variance of a best validation metric from one training of a config to the next.

    It is estimated from the later half of the epochs: from what is left of their metrics beside what each training, and
    each epoch, has of its own.
    """
    squares, freedom = WEIGHT * NOISE**2, WEIGHT
    for length in {len(t.curve) for t in whole}:
        late = np.array([t.curve[length // 2 :, 1] for t in whole if len(t.curve) == length])
        count, epochs = late.shape
        if count > 1 and epochs > 1:
            left = late - late.mean(axis=1, keepdims=True) - late.mean(axis=0) + late.mean()
            squares += LUCK * float(np.square(left).sum())
            freedom += (count - 1) * (epochs - 1)
    return squares / freedom
