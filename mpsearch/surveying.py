"""Look at a study's trials by metric and costs: the front, what meets a new budget, what to train next."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpsearch.config import Config
from mpsearch.costs.model import Cost
from mpsearch.costs.registry import Device, make_cost
from mpsearch.costs.sizes import parse_size
from mpsearch.costs.specs import Specs
from mpsearch.errors import StudyError
from mpsearch.facts import ModelFacts
from mpsearch.front import Front, front_of
from mpsearch.goal import Goal, split_limits
from mpsearch.records import TrialRecord
from mpsearch.searching.budgets import Budget
from mpsearch.searching.scoring import reference_config
from mpsearch.space import ResolvedSpace
from mpsearch.spacefile import SpaceFile
from mpsearch.study import Study


@dataclass(frozen=True)
class Surveyed:
    """A study's complete trials with their costs.

    Attributes:
        records: the trials, one for each config.
        costs: which costs.
        values: of the trials, float64 (trials, costs).
        front: which are on the front.
        reference: costs of the reference config.
    """

    records: tuple[TrialRecord, ...]
    costs: tuple[Cost, ...]
    values: np.ndarray
    front: Front
    reference: tuple[float, ...]


def costs_of(file: SpaceFile, facts: ModelFacts, goal: Goal, names: Sequence[str]) -> list[Cost]:
    """Costs by name, on the device of a study's goal.

    Raises:
        ConfigError: there is no such cost, or the device lacks what it needs.
    """
    device = Device(goal.profile, goal.latencies, file.reference)
    return [make_cost(name, facts, device) for name in names]


def survey(study: Study, file: SpaceFile, facts: ModelFacts, names: Sequence[str] = ()) -> Surveyed:
    """A study's complete trials, and which of them are on the front.

    Args:
        study: of any objective.
        file: its space file.
        facts: of its model.
        names: of costs; default: those of the study's objective.

    Raises:
        StudyError: it has no complete trial.
        ConfigError: there is no such cost.
    """
    complete = [record for record in study.best(None) if not record.before_change]
    if not complete:
        raise StudyError(f"`{study.name}` has no complete trial yet: mpsearch study run {study.name}")
    records = [record for record in complete if not study.is_short(record)]
    if not records:
        least = f"{study.provenance.metric} ≥ {study.goal.floor:g}"
        raise StudyError(f"none of the {len(complete)} configs that `{study.name}` has trained reaches {least}")
    costs = costs_of(file, facts, study.goal, names or study.goal.costs)
    configs = [record.config for record in records if record.config is not None]
    specs = Specs.of(facts, configs)
    values = np.stack([cost.batch(specs) for cost in costs], axis=1)
    reference = tuple(cost(reference_config(facts, file.reference)) for cost in costs)
    front = front_of([record.metric or 0.0 for record in records], values, [value or 1.0 for value in reference])
    return Surveyed(tuple(records), tuple(costs), values, front, reference)


@dataclass(frozen=True)
class Answer:
    """What a study says to a budget.

    Attributes:
        inside: its trials that meet it, best first.
        beyond: how many don't.
        next: a config that meets it and wasn't trained: the best trial's, moved inside; None where that was trained.
        origin: number of that trial.
    """

    inside: tuple[TrialRecord, ...]
    beyond: int
    next: Config | None
    origin: int | None


def answer(
    study: Study, file: SpaceFile, space: ResolvedSpace, limits: Sequence[str], records: Sequence[TrialRecord]
) -> Answer:
    """What a study's trials say to limits that it wasn't made for.

    Args:
        study: with the trials.
        file: its space file.
        space: of its configs.
        limits: as they are typed, `flash=300KB` or `accuracy=0.9`.
        records: complete trials, best first.

    Raises:
        ConfigError: a limit isn't one, or no config of the space meets them all.
    """
    given, floor = split_limits(limits, file.task.metric)
    own = study.goal.limits
    costs = costs_of(file, space.facts, study.goal, tuple(dict.fromkeys((*given, *own))))
    most = [
        min(parse_size(given[cost.name], cost.unit, f"limit {cost.name}") if cost.name in given else math.inf,
            own.get(cost.name, math.inf))
        for cost in costs
    ]  # fmt: skip
    least = 0.0 if floor is None else parse_size(floor, "", file.task.metric)
    budget = Budget(space, costs, most)
    kept = [r for r in records if r.config is not None and not budget.broken(r.config) and (r.metric or 0.0) >= least]
    trained = {record.fingerprint for record in records}
    for record in records:
        if record.config is not None and record.config in space:
            moved = budget.repaired(record.config)
            if moved.fingerprint not in trained:
                return Answer(tuple(kept), len(records) - len(kept), moved, record.number)
    return Answer(tuple(kept), len(records) - len(kept), None, None)
