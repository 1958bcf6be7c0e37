"""Importance: which tensors matter for the metric, and which for the costs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mpsearch.beliefs import beliefs_in
from mpsearch.ranking import trainings
from mpsearch.searching.arrays import SpecArrays
from mpsearch.space import ResolvedSpace
from mpsearch.spacefile import SpaceFile
from mpsearch.study import Study
from mpsearch.surveying import costs_of


@dataclass(frozen=True)
class Importance:
    """What one choice of a study means.

    Attributes:
        choice: its name.
        widest, narrowest: specs, as text.
        loss: how much metric the narrowest spec is believed to take off after a trial's training, against the widest.
        deviation: standard deviation of that belief.
        saved: by cost, what the narrowest spec saves against the widest, all other choices being widest, in parts of
            what the widest config costs.
    """

    choice: str
    widest: str
    narrowest: str
    loss: float
    deviation: float
    saved: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "saved": dict(self.saved)}


@dataclass(frozen=True)
class Importances:
    """Those of a study.

    Attributes:
        rows: of its choices, the one that costs most metric first.
        trainings: by how many, besides the sensitivities, the losses are believed.
    """

    rows: tuple[Importance, ...]
    trainings: int


def importances(study: Study, file: SpaceFile, space: ResolvedSpace) -> Importances:
    """Which choices matter, by sensitivities and trainings.

    Args:
        study: whose sensitivities are known.
        file: its space file.
        space: of its configs.

    Raises:
        StudyError: the sensitivities aren't known, or the choices have changed.
    """
    beliefs = beliefs_in(study, space, trainings(study))
    costs = costs_of(file, space.facts, study.goal, tuple(study.goal.costs))
    widest = space.positions([space.dearest(lambda site, spec: spec.bits)])
    positions = widest.repeat(1 + len(space.choices), axis=0)
    for number in range(len(space.choices)):
        positions[1 + number, number] = 0
    specs = SpecArrays(space).at(positions, any(cost.needs_configs for cost in costs))
    values = {cost.name: cost.batch(specs) for cost in costs}
    configs = list(space.configs(positions))
    losses, deviations = beliefs.lost(configs[0], configs[1:])
    rows = [
        Importance(
            choice.name,
            str(choice.specs[widest[0, number]]),
            str(choice.specs[0]),
            float(losses[number]),
            float(deviations[number]),
            {name: float(1 - array[1 + number] / array[0]) if array[0] else 0.0 for name, array in values.items()},
        )
        for number, choice in enumerate(space.choices)
    ]
    return Importances(tuple(sorted(rows, key=lambda row: -row.loss)), beliefs.trainings)
