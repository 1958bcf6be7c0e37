"""Samplers that know their n-th config: random, the grid, and low-discrepancy sequences."""

import random
import sys
from collections.abc import Collection, Mapping, Sequence
from itertools import count, islice
from typing import Any

from optuna.distributions import CategoricalDistribution, IntDistribution

from mpsearch.config import Config
from mpsearch.methods import Value
from mpsearch.searching.parameters import config_of, distributions
from mpsearch.searching.samplers import derived_seed
from mpsearch.space import ResolvedSpace

WINDOW = 64  # indices among which a process chooses where others choose as well


def free_index(name: str, space: ResolvedSpace, taken: Collection[int], salt: str = "") -> int | None:
    """The next index that isn't taken; with a salt one of the next few, so that processes seldom choose the same.

    Args:
        name: of the sampler.
        space: what is searched.
        taken: indices of the trials that there are.
        salt: unique to a process; empty where only one asks.

    Returns:
        None where a grid has no more.
    """
    known = range(space.size) if name == "grid" and space.size < sys.maxsize else count()
    free = list(islice((index for index in known if index not in taken), WINDOW if salt else 1))
    return random.Random(f"{salt} {len(taken)}").choice(free) if free else None


def nth_config(name: str, space: ResolvedSpace, index: int, seed: int, options: Mapping[str, Value]) -> Config | None:
    """Config number `index` of a sampler, None where it has no more.

    Args:
        name: "random", "grid" or "qmc".
        space: what is searched.
        index: from 0.
        seed: the study's.
        options: of the sampler.
    """
    if name == "random":
        return space.sample(random.Random(derived_seed(seed, index, "random")))
    if name == "grid":
        return space.nth(index) if index < space.size else None
    return _qmc(space, index, seed, options)


def _qmc(space: ResolvedSpace, index: int, seed: int, options: Mapping[str, Value]) -> Config:
    """The config at point `index` of a Sobol' or Halton sequence over all parameters.

    Coordinate u in [0, 1) of a parameter with n values stands for value ⌊n·u⌋.
    """
    from scipy.stats import qmc

    known = distributions(space)
    kind = qmc.Halton if options.get("sequence") == "halton" else qmc.Sobol
    scramble = bool(options.get("scramble", True))
    sequence = kind(max(len(known), 1), scramble=scramble, rng=derived_seed(seed, 0, "qmc"))
    if index:
        sequence.fast_forward(index)
    point = sequence.random(1)[0]
    parameters = {}
    for (name, distribution), u in zip(known.items(), point, strict=False):
        values: Sequence[Any]
        if isinstance(distribution, CategoricalDistribution):
            values = distribution.choices
        else:
            assert isinstance(distribution, IntDistribution)
            values = range(distribution.high + 1)
        parameters[name] = values[int(u * len(values))]
    return config_of(space, parameters)
