"""Metrics of trainings, steadied by the training itself.

The validation metric after an epoch is that of one point among those that an optimizer passes. Good configs differ by
less than such points do, and the best of several epochs, or of many configs, is a lucky one. The metric on the training
batches of an epoch is a mean over all points passed in it: trained again with another seed, a config comes to about
the same (`studies/search/RESULTS.md` has the figures), already after the first epoch. So the best validation metric is
taken as linear in the training metric, with a slope that the trials correct (Bayesian linear regression: C. M. Bishop,
*Pattern Recognition and Machine Learning*, 2006, section 3.3), and a training that was stopped has one as well.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from mpsearch.searching.guesses import Tried

SLOPE, SLOPE_DEVIATION = 0.8, 0.4  # of the validation metric in the training metric: what is believed at first
NOISE = 0.006  # standard deviation of a best validation metric from one training to the next: what is believed at first
WEIGHT = 4.0  # of that belief, in trials
LUCK = 0.6  # variance of the best epoch's metric, in parts of a single epoch's
LEAST = 0.1  # weight of a training's own validation metric


def curve_of(logs: Sequence[Mapping[str, float]], metric: str) -> np.ndarray:
    """Training metric (the validation metric where that isn't logged) and validation metric, float64 (epochs, 2)."""
    rows = [(entry.get(metric, entry[f"val_{metric}"]), entry[f"val_{metric}"]) for entry in logs]
    return np.array(rows, dtype=np.float64).reshape(len(rows), 2)


def steadied(tried: Sequence[Tried]) -> list[float | None]:
    """For each training the validation metric that a whole one is expected to reach.

    Args:
        tried: trainings that were completed, failed, stopped, or go on.

    Returns:
        The steadied metric; None where nothing can be said: no epoch ended, or none was completed yet.
    """
    whole = [t for t in tried if t.metric is not None and len(t.curve)]
    luck = _luck(whole)
    lines = {epochs: _Line(whole, epochs, luck) for epochs in {len(t.curve) for t in tried} if epochs and whole}
    return [
        t.metric if not len(t.curve) else None if len(t.curve) not in lines else lines[len(t.curve)].metric(t)
        for t in tried
    ]


class _Line:
    """The best validation metric as a linear function of the mean training metric of the first epochs."""

    def __init__(self, whole: Sequence[Tried], epochs: int, luck: float) -> None:
        reached = [t for t in whole if len(t.curve) >= epochs]
        self._epochs, self._known = epochs, bool(reached)
        if not reached:
            return
        x = np.array([t.curve[:epochs, 0].mean() for t in reached])
        y = np.array([t.metric for t in reached], dtype=np.float64)
        self._x, self._y = float(x.mean()), float(y.mean())
        trust = luck / SLOPE_DEVIATION**2
        self._slope = float(((x - self._x) @ (y - self._y) + trust * SLOPE) / (np.square(x - self._x).sum() + trust))
        missed = float(np.square(y - self._y - self._slope * (x - self._x)).sum())
        scatter = (missed + WEIGHT * luck) / (max(len(reached) - 1, 0) + WEIGHT)
        self._own = max(1.0 - luck / scatter, LEAST)  # how much of what the line misses is no luck

    def metric(self, t: Tried) -> float | None:
        """What a whole training is expected to reach."""
        if not self._known:
            return None
        expected = self._y + self._slope * (float(t.curve[: self._epochs, 0].mean()) - self._x)
        return expected if t.metric is None else expected + self._own * (t.metric - expected)


def _luck(whole: Sequence[Tried]) -> float:
    """Variance of a best validation metric from one training of a config to the next."""
    squares, freedom = WEIGHT * NOISE**2, WEIGHT
    for t in whole:
        late = t.curve[len(t.curve) // 2 :, 1]
        if len(late) > 1:
            squares += LUCK * float(np.square(late - late.mean()).sum())
            freedom += len(late) - 1
    return squares / freedom
