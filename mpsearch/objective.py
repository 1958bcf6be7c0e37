"""The score: a metric times the Forgiving Factor of a cost.

    δ = delta · ln(stress · reference / trial) / ln(rate),   score = metric · (1 + δ)

where delta is delta_p for a trial cheaper than the stressed reference and delta_n for a dearer one. With the
defaults, halving the cost is worth 5 % of the metric.
Source: C. N. Coelho et al., *Automatic heterogeneous quantization of deep neural networks for low-latency inference
on the edge for particle detectors*, Nature Machine Intelligence 3, 2021, section "Methods" (forgiving factor).
"""

import math
from dataclasses import dataclass

from mpsearch.errors import ConfigError


@dataclass(frozen=True)
class ForgivingFactor:
    """How much metric a saving of cost is worth.

    Attributes:
        delta_p: gain, in percent of the metric, for a trial `rate` times cheaper than the reference.
        delta_n: loss, in percent, for one `rate` times dearer.
        rate: the ratio of costs that delta_p and delta_n stand for; above 1.
        stress: the reference is multiplied by it; below 1 it demands savings.
    """

    delta_p: float = 5.0
    delta_n: float = 5.0
    rate: float = 2.0
    stress: float = 1.0

    def __post_init__(self) -> None:
        if not self.rate > 1.0:
            raise ConfigError(f"`rate` must be above 1, but got {self.rate}")
        if not self.stress > 0.0:
            raise ConfigError(f"`stress` must be above 0, but got {self.stress}")

    def delta(self, cost: float, reference: float) -> float:
        """δ of a cost against its reference, both above 0 and in one unit; a fraction, not percent.

        >>> ForgivingFactor().delta(cost=50, reference=100)
        0.05
        """
        if cost <= 0.0 or reference <= 0.0:
            raise ConfigError(f"costs must be above 0, but got cost={cost}, reference={reference}")
        savings = math.log(self.stress * reference / cost) / math.log(self.rate)
        return savings * (self.delta_p if savings >= 0.0 else self.delta_n) / 100.0

    def score(self, metric: float, cost: float, reference: float) -> float:
        """metric · (1 + δ)."""
        return metric * (1.0 + self.delta(cost, reference))
