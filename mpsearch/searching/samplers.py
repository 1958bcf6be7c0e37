"""Samplers and pruners by name, seeded for each trial."""

import hashlib
import importlib.util
import warnings
from bisect import bisect_right
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any, TypeVar

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution

from mpsearch.errors import ConfigError
from mpsearch.methods import AUTO, BELIEVED, PRUNERS, SAMPLERS, Value, check_method
from mpsearch.searching.dominated import DominatedPruner
from mpsearch.searching.gp import GPSampler

T = TypeVar("T")
SMALLEST_POPULATION = 4  # of CMA-ES
NO_BRACKET = -1
BY_NUMBER = ("random", "grid", "qmc")
"""Samplers that know their n-th config; see `searching.sequences`."""
GENETIC = ("nsga2", "nsga3")
"""Samplers that work in generations."""


def derived_seed(seed: int, sequence: int, purpose: str) -> int:
    """A seed (31 bits) for one purpose of one trial, a function of its arguments alone.

    Args:
        seed: the study's.
        sequence: the trial's place in the study.
        purpose: "sampler" or "training", for instance.
    """
    digest = hashlib.sha256(f"{seed}:{sequence}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def make_sampler(name: str, seed: int, options: Mapping[str, Value] | None = None) -> optuna.samplers.BaseSampler:
    """A fresh sampler; a new one for each trial makes a resumed study go on as if it had never stopped.

    What a sampler has to remember (the population of "nsga2", the distribution of "cmaes") it keeps with the trials.

    Raises:
        ConfigError: there is no such sampler, it can't work with these options, or a package is missing.
    """
    given: dict[str, Any] = dict(options or {})
    check_method("sampler", name, SAMPLERS, given)
    needs = SAMPLERS[name].needs
    if needs is not None and importlib.util.find_spec(needs[0]) is None:
        raise ConfigError(
            f"the sampler {name} needs {needs[0]}, which isn't installed: pip install 'mpsearch[{needs[1]}]'"
        )
    if given.get("popsize", SMALLEST_POPULATION) < SMALLEST_POPULATION:
        raise ConfigError(
            f"option popsize of the sampler {name} must be at least {SMALLEST_POPULATION}, but got {given['popsize']}: "
            "its covariance is estimated from the better half"
        )
    samplers = optuna.samplers
    makers: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
        "tpe": lambda: samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True, **given),
        "gp": lambda: GPSampler(seed=seed, **given),
        "nsga2": lambda: _NSGAII(seed=seed, **given),
        "nsga3": lambda: _NSGAIII(seed=seed, **given),
        "cmaes": lambda: samplers.CmaEsSampler(
            seed=seed, warn_independent_sampling=False, **({"with_margin": True} | given)
        ),
    }
    if name in (*BY_NUMBER, AUTO):  # they are asked elsewhere
        return samplers.RandomSampler(seed=seed)
    return _made("sampler", name, makers[name])


def make_pruner(name: str, options: Mapping[str, Value] | None = None, seed: int = 0) -> optuna.pruners.BasePruner:
    """A pruner; `seed` is the study's, by which hyperband draws brackets.

    Raises:
        ConfigError: there is no such pruner, or it can't work with these options.
    """
    given: dict[str, Any] = dict(options or {})
    check_method("pruner", name, PRUNERS, given)
    pruners = optuna.pruners
    makers: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
        "none": pruners.NopPruner,
        BELIEVED: pruners.NopPruner,  # the guide is asked
        "median": lambda: pruners.MedianPruner(**given),
        "percentile": lambda: pruners.PercentilePruner(**({"percentile": 25.0} | given)),
        "hyperband": lambda: _Hyperband(seed, **given),
        "wilcoxon": lambda: pruners.WilcoxonPruner(**given),
        "dominated": lambda: DominatedPruner(**given),
    }
    return _made("pruner", name, makers[name])


def check_space(name: str, distributions: Mapping[str, BaseDistribution]) -> None:
    """Refuse a sampler that can't search a space.

    Raises:
        ConfigError: the space has scale modes to choose, which have no order, and the sampler takes numbers alone.
    """
    categorical = [key for key, kind in distributions.items() if isinstance(kind, CategoricalDistribution)]
    if SAMPLERS[name].ordered_only and categorical:
        raise ConfigError(
            f"the sampler {name} takes widths alone, but the space searches scale modes as well ({categorical[0]} and "
            f"{len(categorical) - 1} others): choose another sampler, or search no scale modes"
        )


class _Hyperband(optuna.pruners.HyperbandPruner):
    """Hyperband whose brackets follow from the study's seed and a trial's place.

    Optuna draws them by the study's name and the trial's number: a renamed or imported study, or one with a trial that
    was cut off, would be pruned in another way. A trial that was cut off competes in no bracket: its retry does.
    """

    def __init__(self, seed: int, **options: Any) -> None:
        super().__init__(**options)
        self._seed = seed

    def _get_bracket_id(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> int:
        if trial.user_attrs.get("broken"):
            return NO_BRACKET
        if not self._pruners:
            return 0
        place = trial.user_attrs.get("sequence", trial.number)
        drawn = derived_seed(self._seed, place, "bracket") % self._total_trial_allocation_budget
        return bisect_right(list(accumulate(self._trial_allocation_budgets)), drawn)


class _NSGAII(optuna.samplers.NSGAIISampler):
    """NSGA-II whose parents come in one order always.

    Optuna gives them in the order of their ranks when a generation begins, and by number afterwards; a sampler made
    anew in between would begin once more.
    """

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[optuna.trial.FrozenTrial]:
        return sorted(super().get_parent_population(study, generation), key=lambda trial: trial.number)


class _NSGAIII(optuna.samplers.NSGAIIISampler):
    """NSGA-III whose parents come in one order always, as those of `_NSGAII`."""

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[optuna.trial.FrozenTrial]:
        return sorted(super().get_parent_population(study, generation), key=lambda trial: trial.number)


def _made(what: str, name: str, make: Callable[[], T]) -> T:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            return make()
        except (ValueError, AssertionError, ImportError) as error:
            raise ConfigError(f"the {what} {name} can't work with these options: {error}") from error
