"""What a config costs and what a metric at that cost scores: functions of site facts, without a network."""

from dataclasses import dataclass

from mpsearch.costs.bits import BitCost, Bits
from mpsearch.facts import ModelFacts
from mpsearch.objective import ForgivingFactor
from mpsearch.spacefile import SpaceFile


@dataclass(frozen=True)
class Scoring:
    """Costs and scores of one task's configs.

    Attributes:
        cost: of a config, in bits.
        forgiving: how much metric a saving is worth.
    """

    cost: BitCost
    forgiving: ForgivingFactor

    @classmethod
    def of(cls, file: SpaceFile, facts: ModelFacts) -> "Scoring":
        """That of a space file whose model has these site facts."""
        return cls(BitCost(facts, file.reference), file.forgiving)

    def score(self, metric: float, costs: Bits) -> float:
        """The score of a metric at a cost."""
        return self.forgiving.score(metric, costs.total_bits, self.cost.reference_cost.total_bits)

    def delta(self, costs: Bits) -> float:
        """The Forgiving Factor's δ of a cost, a fraction."""
        return self.forgiving.delta(costs.total_bits, self.cost.reference_cost.total_bits)
