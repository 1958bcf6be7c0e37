"""Learning rates that change from epoch to epoch: functions from the epoch's number, counted from 0, to the rate."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from mpsearch.errors import ConfigError


@dataclass(frozen=True)
class exponential:  # noqa: N801 - used like a function, and printed like its call
    """start · factor^epoch, for instance `exponential(0.001, 0.99)`.

    Attributes:
        start: rate of the first epoch.
        factor: from an epoch to the next.
    """

    start: float
    factor: float

    def __post_init__(self) -> None:
        _check_positive(start=self.start, factor=self.factor)

    def __call__(self, epoch: int) -> float:
        return self.start * self.factor**epoch


@dataclass(frozen=True)
class steps:  # noqa: N801
    """A rate from each of some epochs on, for instance `steps({0: 1e-3, 10: 1e-4})`.

    Attributes:
        rates: first epoch to rate; epoch 0 must be among them.
    """

    rates: Mapping[int, float]

    def __post_init__(self) -> None:
        if 0 not in self.rates or not all(isinstance(epoch, int) and epoch >= 0 for epoch in self.rates):
            raise ConfigError(f"`steps` needs rates by first epochs, 0 among them, but got {self.rates!r}")
        _check_positive(**{f"rates[{epoch}]": rate for epoch, rate in self.rates.items()})

    def __call__(self, epoch: int) -> float:
        return self.rates[max(first for first in self.rates if first <= epoch)]


@dataclass(frozen=True)
class cosine:  # noqa: N801
    """From `start` in the first epoch to `end` in the last one of `epochs`, along half a cosine.

    Attributes:
        start: rate of the first epoch.
        epochs: of the training; later epochs keep `end`.
        end: rate of the last epoch.

    Source: I. Loshchilov, F. Hutter, *SGDR: Stochastic Gradient Descent with Warm Restarts*, ICLR 2017, section 3,
    without restarts.
    """

    start: float
    epochs: int
    end: float = 0.0

    def __post_init__(self) -> None:
        _check_positive(start=self.start, epochs=self.epochs)
        if not 0 <= self.end <= self.start:
            raise ConfigError(f"`0 <= end <= start` must hold, but got (start={self.start}, end={self.end})")

    def __call__(self, epoch: int) -> float:
        share = min(epoch / max(self.epochs - 1, 1), 1.0)
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * share)) / 2


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ConfigError(f"`{name}` must be positive, but got {value!r}")
