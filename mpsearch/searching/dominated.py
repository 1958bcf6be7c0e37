"""Pruning for several objectives: Optuna has none."""

from collections.abc import Mapping, Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

COSTS = "objective costs"
"""User attribute that a trial's costs are kept under from its beginning: those of the objective, in its order."""
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


class DominatedPruner(optuna.pruners.BasePruner):
    """Stops a trial that others surpass: at the same epoch they had a metric as good, and no cost of theirs is higher.

    A trial's costs are known before it begins; so once some others have its metric at its epoch for less, it is
    unlikely to end on the front.

    Args:
        n_startup_trials: none is stopped before so many have ended.
        n_warmup_steps: none is stopped in its first epochs, so many.
        n_dominating: so many others must surpass it.
    """

    def __init__(self, n_startup_trials: int = 5, n_warmup_steps: int = 0, n_dominating: int = 3) -> None:
        if min(n_startup_trials, n_warmup_steps) < 0 or n_dominating < 1:
            raise ValueError("n_startup_trials and n_warmup_steps must be at least 0, n_dominating at least 1")
        self._startup, self._warmup, self._dominating = n_startup_trials, n_warmup_steps, n_dominating

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        epoch = trial.last_step
        others = [t for t in study.get_trials(deepcopy=False, states=_ENDED) if t.number != trial.number]
        if epoch is None or epoch < self._warmup or len(others) < self._startup:
            return False
        own = _at(trial, epoch)
        surpassing = sum(surpasses(found, own) for t in others if (found := _at(t, epoch)) and own)
        return surpassing >= self._dominating


def surpasses(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether (metric, costs …) is nowhere worse than another one and somewhere better."""
    better = [one[0] - other[0], *(b - a for a, b in zip(one[1:], other[1:], strict=True))]
    return min(better) >= 0 and max(better) > 0


def _at(trial: FrozenTrial, epoch: int) -> tuple[float, ...]:
    """A trial's metric at an epoch and its costs; nothing where it had ended before."""
    values: Mapping[int, float] = trial.intermediate_values
    return (values[epoch], *trial.user_attrs[COSTS]) if epoch in values and COSTS in trial.user_attrs else ()
