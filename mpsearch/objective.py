"""The score: a metric times the Forgiving Factor of a cost.

    δ = delta · ln(stress · reference / trial) / ln(rate),   score = metric · (1 + δ)

where delta is delta_p for a trial cheaper than the stressed reference and delta_n for a dearer one. With the
defaults, halving the cost is worth 5 % of the metric.
Source: C. N. Coelho et al., *Automatic heterogeneous quantization of deep neural networks for low-latency inference
on the edge for particle detectors*, Nature Machine Intelligence 3, 2021, section "Methods" (forgiving factor).
"""

import math
from dataclasses import dataclass
from typing import overload

import numpy as np

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
        for name, low, inclusive in (
            ("delta_p", 0.0, True),
            ("delta_n", 0.0, True),
            ("rate", 1.0, False),
            ("stress", 0.0, False),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ConfigError(f"`{name}` must be a number, but got {value!r}")
            if not (value >= low if inclusive else value > low):
                raise ConfigError(f"`{name}` must be {'at least' if inclusive else 'above'} {low:g}, but got {value}")

    @overload
    def delta(self, cost: float, reference: float) -> float: ...

    @overload
    def delta(self, cost: np.ndarray, reference: float) -> np.ndarray: ...

    def delta(self, cost: float | np.ndarray, reference: float) -> float | np.ndarray:
        """δ of a cost, or of each of an array of costs, against a reference; a fraction, not percent.

        Args:
            cost: a number, or an array of any shape; above 0.
            reference: the cost of the reference config, in the unit of `cost`; above 0.

        Raises:
            ConfigError: a cost is 0 or below.

        >>> ForgivingFactor().delta(cost=50, reference=100)
        0.05
        >>> ForgivingFactor().delta(cost=np.array([50, 100, 200]), reference=100).tolist()
        [0.05, 0.0, -0.05]
        """
        costs = np.asarray(cost, dtype=np.float64)
        if not (costs > 0.0).all() or not reference > 0.0:
            raise ConfigError(f"costs must be above 0, but got cost={cost}, reference={reference}")
        savings = np.log(self.stress * reference / costs) / math.log(self.rate)
        delta = savings * np.where(savings >= 0.0, self.delta_p, self.delta_n) / 100.0
        return delta if isinstance(cost, np.ndarray) else float(delta)

    @overload
    def score(self, metric: float, cost: float, reference: float) -> float: ...

    @overload
    def score(self, metric: float | np.ndarray, cost: np.ndarray, reference: float) -> np.ndarray: ...

    def score(self, metric: float | np.ndarray, cost: float | np.ndarray, reference: float) -> float | np.ndarray:
        """metric · (1 + δ), of numbers or of arrays that broadcast; `cost` and `reference` as in `delta`."""
        return metric * (1.0 + self.delta(cost, reference))
