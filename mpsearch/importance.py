"""Importance: which tensors matter for the metric, and which for the costs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mpsearch.beliefs import beliefs_of
from mpsearch.errors import StudyError
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
        StudyError: the sensitivities aren't known.
    """
    trained = [training for training in trainings(study) if training.config in space]
    beliefs = beliefs_of(study, trained)
    if beliefs is None:
        raise StudyError(f"the sensitivities of `{study.name}` aren't known yet: mpsearch sensitivity {study.name}")
    losses, deviations = beliefs.surrogate.mean().losses, beliefs.surrogate.loss_deviations()
    known = {row.choice: n for n, row in enumerate(beliefs.rows)}
    costs = costs_of(file, space.facts, study.goal, tuple(study.goal.costs))
    positions = space.positions([space.dearest(lambda site, spec: spec.bits)]).repeat(1 + len(space.choices), axis=0)
    widest = positions[0].copy()
    for number in range(len(space.choices)):
        positions[1 + number, number] = 0
    specs = SpecArrays(space).at(positions, any(cost.needs_configs for cost in costs))
    values = {cost.name: cost.batch(specs) for cost in costs}
    rows = []
    for number, choice in enumerate(space.choices):
        at, wide = known[choice.name], int(widest[number])
        rows.append(
            Importance(
                choice.name,
                str(choice.specs[wide]),
                str(choice.specs[0]),
                float(losses[at][0] - losses[at][wide]),
                float(deviations[at][0]),
                {name: float(1 - array[1 + number] / array[0]) if array[0] else 0.0 for name, array in values.items()},
            )
        )
    return Importances(tuple(sorted(rows, key=lambda row: -row.loss)), len(trained))
