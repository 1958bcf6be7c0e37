"""What a runner is given to train, and what comes of it."""

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


@dataclass(frozen=True)
class Ending:
    """What came of a job; without a reason, it was trained to its end or stopped as its report asked for.

    Attributes:
        failed: why the config can't be trained; empty where it can.
        exhausted: why the machine couldn't train it: it may, another time.
        seconds: that its training took; None where it was stopped.
    """

    failed: str = ""
    exhausted: str = ""
    seconds: float | None = None
