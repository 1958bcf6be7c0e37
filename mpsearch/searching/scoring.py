"""What a config costs and what a metric at that cost scores: functions of site facts, without a network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from mpsearch.config import Alpha, Config, QuantizerSpec
from mpsearch.costs.bits import BitCost, Bits, ReferenceBits
from mpsearch.costs.model import Cost
from mpsearch.costs.registry import Device, make_cost
from mpsearch.costs.sizes import parse_size
from mpsearch.facts import ModelFacts
from mpsearch.goal import Goal, Objective
from mpsearch.objective import ForgivingFactor
from mpsearch.spacefile import SpaceFile

BITS = "bits"
_SHORTFALL = 2.0  # below each score that a config can have
_LEAST = 1.0  # of a cost that is a count: nothing counts as one


@dataclass(frozen=True)
class Costs(Bits):
    """What a config costs.

    Attributes:
        counted: what the score counts.
        others: the goal's costs by name, other than bits.
    """

    counted: float = 0.0
    others: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, float]:
        """Plain data, as a trial's record has it."""
        own = {"parameter_bits": self.parameter_bits, "activation_bits": self.activation_bits}
        return {**own, "total_bits": self.total_bits, **self.others}


@dataclass(frozen=True)
class Scoring:
    """Costs and scores of one task's configs.

    Attributes:
        cost: of a config, in bits.
        forgiving: how much metric a saving is worth.
        goal: what is looked for.
        facts: of the model.
    """

    cost: BitCost
    forgiving: ForgivingFactor
    goal: Goal = field(default_factory=Goal)

    @classmethod
    def of(cls, file: SpaceFile, facts: ModelFacts, goal: Goal | None = None) -> "Scoring":
        """That of a space file whose model has these site facts.

        Raises:
            ConfigError: the goal names a cost that there isn't, or a device that lacks what one needs.
        """
        made = cls(BitCost(facts, file.reference), file.forgiving, goal or Goal())
        assert made.models is not None
        return made

    @cached_property
    def models(self) -> Mapping[str, Cost]:
        """The goal's costs by name."""
        goal, facts = self.goal, self.cost.facts
        device = Device(goal.profile, goal.latencies, self.cost.reference)
        return {name: make_cost(name, facts, device) for name in goal.all_costs}

    def costs(self, config: Config) -> Costs:
        """What a config costs."""
        bits = self.cost(config)
        values = {name: float(bits.total_bits) if name == BITS else cost(config) for name, cost in self.models.items()}
        others = {name: value for name, value in values.items() if name != BITS}
        return Costs(bits.parameter_bits, bits.activation_bits, values[self.goal.costs[0]], others)

    @cached_property
    def reference(self) -> float:
        """What the config of the reference's widths, with any numbers for scales, costs of what the score counts."""
        if self.goal.costs[0] == BITS:
            return float(self.cost.reference_cost.total_bits)
        return self.models[self.goal.costs[0]](reference_config(self.cost.facts, self.cost.reference))

    def score(self, metric: float, costs: Costs) -> float:
        """The score of a metric at a cost."""
        return self.forgiving.score(metric, costs.counted or _LEAST, self.reference or _LEAST)

    def delta(self, costs: Costs) -> float:
        """The Forgiving Factor's δ of a cost, a fraction."""
        return self.forgiving.delta(costs.counted or _LEAST, self.reference or _LEAST)

    def values(self, metric: float | None, score: float | None, costs: Mapping[str, float]) -> list[float] | None:
        """What a sampler is told of a trial: one number, or the metric and each cost; None of one without a metric.

        Below the goal's least metric it is told less than of any trial above it, the less the lower the metric is.

        Args:
            metric, score: of the trial.
            costs: its record's.
        """
        if metric is None or score is None:
            return None
        short = self.goal.floor is not None and metric < self.goal.floor
        if self.goal.objective is Objective.SCORE:
            return [metric - _SHORTFALL if short else score]
        return [metric - _SHORTFALL if short else metric, *self.of_objective(costs)]

    def of_objective(self, costs: Mapping[str, float]) -> list[float]:
        """The objective's costs, of a trial's record, in its order."""
        return [costs[recorded_name(name)] for name in self.goal.costs]


def recorded_name(name: str) -> str:
    """Under which name a record has a cost."""
    return "total_bits" if name == BITS else name


def reference_config(facts: ModelFacts, reference: ReferenceBits) -> Config:
    """The config of the reference's widths, with any numbers for scales."""
    return Config({site: QuantizerSpec(bits, Alpha.AUTO) for site, bits in reference.widths(facts).items()})


def limit_of(text: str, cost: Cost) -> float:
    """A limit as it is typed, in the cost's unit.

    Raises:
        ConfigError: it isn't a number with such a unit.
    """
    return parse_size(text, cost.unit, f"limit {cost.name}")
