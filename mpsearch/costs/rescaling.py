"""Rescaling: bringing sums to the next feature map's scale, by multiplications or, between powers of two, shifts."""

from collections.abc import Sequence

import numpy as np

from mpsearch.costs.model import PerOperation
from mpsearch.costs.specs import Specs
from mpsearch.facts import OperationFacts


class RescalingMultiplications(PerOperation):
    """Multiplications of one sample that rescaling takes.

    Each value of an operation whose output gets codes of its own is brought from the scale of the sums, which is that
    of its kernel times that of its input, to that of the output; a merge does so for each of its inputs. Where all of
    these scales are powers of two a shift does it, which costs nothing here. It is what `auto` and `auto_po2` differ
    in.
    """

    name, unit, about = "rescaling", "multiplications", "rescalings that no shift can do"

    def of(self, specs: Specs, operation: OperationFacts) -> tuple[np.ndarray, np.ndarray]:
        """Multiplications and shifts of an operation, each float64 (configs,)."""
        multiplications, shifts = np.zeros(len(specs)), np.zeros(len(specs))
        if not operation.rescales:
            return multiplications, shifts
        tensors = {tensor.name: tensor for tensor in self.facts.tensors}
        values = float(sum(tensors[name].elements for name in operation.outputs))
        own = self._free(specs, [*operation.kernels, *(s for name in operation.outputs for s in tensors[name].sites)])
        for name in operation.inputs:
            free = own | self._free(specs, tensors[name].sites) | (not tensors[name].sites)
            multiplications += np.where(free, values, 0.0)
            shifts += np.where(free, 0.0, values)
        return multiplications, shifts

    def _free(self, specs: Specs, sites: Sequence[str]) -> np.ndarray:
        """Whether one of some sites has a scale that may be any number, (configs,)."""
        return np.asarray(specs.free[:, [self.columns[site] for site in sites]].any(axis=1))

    def operations(self, specs: Specs) -> np.ndarray:
        return np.stack([self.of(specs, operation)[0] for operation in self.facts.operations], axis=1)
