"""Samplers and pruners by name, seeded for each trial."""

import hashlib
import warnings
from collections.abc import Callable

import optuna

from mpsearch.errors import ConfigError

SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("none", "median")


def derived_seed(seed: int, sequence: int, purpose: str) -> int:
    """A seed (31 bits) for one purpose of one trial, a function of its arguments alone.

    Args:
        seed: the study's.
        sequence: the trial's place in the study.
        purpose: "sampler" or "training".
    """
    digest = hashlib.sha256(f"{seed}:{sequence}:{purpose}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """A fresh sampler; a new one for each trial makes a resumed study go on as if it had never stopped.

    "grid" asks for its configs by number, and takes this sampler for none of them.
    """
    makers: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
        "tpe": lambda: optuna.samplers.TPESampler(seed=seed, multivariate=True),
        "random": lambda: optuna.samplers.RandomSampler(seed=seed),
        "grid": lambda: optuna.samplers.RandomSampler(seed=seed),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return makers[check_name("sampler", name, SAMPLERS)]()


def make_pruner(name: str) -> optuna.pruners.BasePruner:
    """A pruner; "median" compares a trial with earlier ones at the same epoch, once there are five."""
    check_name("pruner", name, PRUNERS)
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5)
    return optuna.pruners.NopPruner()


def check_name(what: str, name: str, known: tuple[str, ...]) -> str:
    """`name`, if it is among `known`.

    Raises:
        ConfigError: it isn't.
    """
    if name not in known:
        raise ConfigError(f"a {what} must be one of {', '.join(known)}, but got {name!r}")
    return name
