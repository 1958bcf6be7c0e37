"""What all costs are: functions of site facts and configs, for many configs at once."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from mpsearch.config import Config
from mpsearch.costs.specs import Specs
from mpsearch.facts import ModelFacts, OperationFacts

TOLERANCE = 1e-9
"""Part of a limit by which a cost may be beyond it: sums of floats aren't exact."""


class Cost(ABC):
    """A cost of a model's configs.

    Args:
        facts: of the model.

    Attributes:
        name: by which it is asked for.
        unit: of its numbers.
        about: what it is, in a line.
        is_maximum: whether it is the largest of its parts, and not their sum.
        needs_configs: whether arrays of specs don't suffice.
        falls_with_widths: whether it may be less at wider widths.
    """

    name: str
    unit: str
    about: str
    is_maximum = False
    needs_configs = False
    falls_with_widths = False

    def __init__(self, facts: ModelFacts) -> None:
        self.facts = facts

    @abstractmethod
    def batch(self, specs: Specs) -> np.ndarray:
        """The cost of each of many configs, float64 (configs,)."""

    def __call__(self, config: Config) -> float:
        """The cost of one config."""
        return float(self.batch(Specs.of(self.facts, [config]))[0])

    def parts(self, specs: Specs) -> tuple[Sequence[str], np.ndarray] | None:
        """What each operation or site contributes: their names, and an array (configs, names); None where it has none.

        They add up to the cost, or the largest of them is it: see `is_maximum`.
        """
        return None

    def dependencies(self) -> Sequence[Sequence[str]] | None:
        """The sites that each part depends on, in the order of `parts`; None where that isn't known."""
        return None

    def beyond(self, specs: Specs, most: float) -> np.ndarray:
        """How far configs are beyond a limit, in parts of it: float64 (configs, n), zeros inside.

        Of a cost that is a maximum each operation beyond the limit counts, so that there is a way down from several
        that are alike.
        """
        parts = self.parts(specs) if self.is_maximum else None
        values = self.batch(specs)[:, None] if parts is None else parts[1]
        return np.maximum((values - most * (1 + TOLERANCE)) / (most or 1.0), 0.0)

    @cached_property
    def columns(self) -> Mapping[str, int]:
        """Site to its column in `Specs`."""
        return {site.name: column for column, site in enumerate(self.facts.sites)}


class PerOperation(Cost):
    """A cost of which each operation has a part: the sum of them, or the largest."""

    @abstractmethod
    def operations(self, specs: Specs) -> np.ndarray:
        """The part of each operation, float64 (configs, operations)."""

    def batch(self, specs: Specs) -> np.ndarray:
        parts = self.operations(specs)
        return np.asarray(parts.max(axis=1, initial=0.0) if self.is_maximum else parts.sum(axis=1))

    def parts(self, specs: Specs) -> tuple[Sequence[str], np.ndarray]:
        return [operation.name for operation in self.facts.operations], self.operations(specs)

    def dependencies(self) -> Sequence[Sequence[str]] | None:
        return [self._sites(operation) for operation in self.facts.operations]

    def _sites(self, operation: OperationFacts) -> tuple[str, ...]:
        """The sites that an operation's part depends on: of its parameters, inputs and outputs."""
        sites = {tensor.name: tensor.sites for tensor in self.facts.tensors}
        maps = [site for name in (*operation.inputs, *operation.outputs) for site in sites[name]]
        return (*operation.kernels, *operation.biases, *maps, *operation.states, *multiplied(operation))


def multiplied(operation: OperationFacts) -> tuple[str, ...]:
    """The sites of an operation's factors."""
    return tuple(site for product in operation.products for site in (product.kernel, *product.operand))


def widest(specs: Specs, sites: Sequence[str], columns: Mapping[str, int]) -> np.ndarray:
    """The largest width of some sites in each config, int64 (configs,); 32, as of float, where there are none."""
    if not sites:
        return np.full(len(specs), 32, dtype=np.int64)
    return np.asarray(specs.widths[:, [columns[site] for site in sites]].max(axis=1))
