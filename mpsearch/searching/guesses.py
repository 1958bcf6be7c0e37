"""What the sampler auto learns from and gives."""

from dataclasses import dataclass, field

import numpy as np

from mpsearch.config import Config


@dataclass(frozen=True)
class Tried:
    """A config that was trained.

    Attributes:
        positions: on the menus, integers (choices,).
        metric: what it reached; None where its training failed, was stopped, or goes on.
        curve: training and validation metric of each epoch, as far as it came, (epochs, 2).
    """

    positions: np.ndarray
    metric: float | None
    curve: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))


@dataclass(frozen=True)
class Guess:
    """A proposal.

    Attributes:
        config: to be trained.
        metric, deviation: what is believed of its metric.
        why: in words.
    """

    config: Config
    metric: float
    deviation: float
    why: str
