"""What a runner is given to train."""

from collections.abc import Callable
from dataclasses import dataclass

from mpsearch.config import Config

Report = Callable[[int, dict[str, float]], bool]
"""Is told an epoch, from 0, and its logs; whether training is to be stopped."""


@dataclass(frozen=True)
class Job:
    """A trial to be trained.

    Attributes:
        number: of the trial.
        config: to train.
        seed: of its training.
    """

    number: int
    config: Config
    seed: int
