"""Answer a budget at once: the widths that harm least within it, by what a study knows, without training."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpsearch.beliefs import beliefs_in
from mpsearch.config import Config
from mpsearch.costs.model import Cost
from mpsearch.costs.sizes import parse_size
from mpsearch.errors import ConfigError
from mpsearch.goal import split_limits
from mpsearch.ranking import trainings
from mpsearch.searching.budgets import Budget
from mpsearch.searching.selection import Selector
from mpsearch.space import ResolvedSpace
from mpsearch.spacefile import SpaceFile
from mpsearch.study import Study
from mpsearch.surveying import costs_of


@dataclass(frozen=True)
class Solved:
    """A selection.

    Attributes:
        config: what was selected.
        costs: those that are limited.
        values: of the config.
        most: limits.
        metric, deviation: what is believed of the config's metric after a trial's training.
        trainings: by how many that is, besides the sensitivities.
        seconds: that selecting took.
    """

    config: Config
    costs: tuple[Cost, ...]
    values: tuple[float, ...]
    most: tuple[float, ...]
    metric: float
    deviation: float
    trainings: int
    seconds: float


def solved(study: Study, file: SpaceFile, space: ResolvedSpace, limits: Sequence[str]) -> Solved:
    """The selection for limits that are typed, `flash=300KB`, and for those of the study.

    Args:
        study: whose sensitivities are known; its trials correct them.
        file: its space file.
        space: of its configs.
        limits: as they are typed; none on the metric.

    Raises:
        ConfigError: a limit isn't one, or no config meets them all.
        StudyError: the sensitivities aren't known.
    """
    given, floor = split_limits(limits, file.task.metric)
    if floor is not None:
        raise ConfigError(f"{file.task.metric} can't be limited without training: give limits on costs alone")
    own = study.goal.limits
    costs = costs_of(file, space.facts, study.goal, tuple(dict.fromkeys((*given, *own))))
    if not costs:
        raise ConfigError("give a limit, such as --limit flash=300KB: without one the widest config harms least")
    most = [
        min(parse_size(given[cost.name], cost.unit, f"limit {cost.name}") if cost.name in given else math.inf,
            own.get(cost.name, math.inf))
        for cost in costs
    ]  # fmt: skip
    beliefs = beliefs_in(study, space, trainings(study))
    belief = beliefs.surrogate.mean()
    started, budget = time.perf_counter(), Budget(space, costs, most)
    found = Selector(space, belief.losses).within(costs, most)
    if found is None:  # or none was found: what is repaired is inside, or there is none inside
        widest = space.dearest(lambda site, spec: spec.bits)
        found = space.positions([budget.repaired(widest)])[0]
    seconds = time.perf_counter() - started
    config = next(space.configs(found[None]))
    row = np.asarray(found)[None]
    return Solved(
        config,
        tuple(costs),
        tuple(cost(config) for cost in costs),
        tuple(most),
        float(belief.predict(row)[0]),
        float(beliefs.surrogate.deviation(row)[0]),
        beliefs.trainings,
        seconds,
    )
