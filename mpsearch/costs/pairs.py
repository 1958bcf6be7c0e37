"""Pairs of widths that a device multiplies."""

import numpy as np

from mpsearch.costs.model import PerOperation, widest
from mpsearch.costs.profile import Profile
from mpsearch.costs.specs import Specs
from mpsearch.errors import ConfigError
from mpsearch.facts import ModelFacts


class UnsupportedProducts(PerOperation):
    """Kernels whose products a device can't compute: it doesn't multiply their width with that of their input.

    Float kernels and inputs count as such, where the device names pairs at all.

    Args:
        facts: of the model.
        profile: of the device.

    Raises:
        ConfigError: the profile names no pairs.
    """

    name, unit, about = "unsupported", "kernels", "kernels that the device can't multiply with their inputs"
    falls_with_widths = True

    def __init__(self, facts: ModelFacts, profile: Profile) -> None:
        super().__init__(facts)
        if not profile.pairs:
            raise ConfigError(f"the profile of {profile.name} names no pairs of widths, so none is unsupported")
        self._pairs = profile.pairs

    def beyond(self, specs: Specs, most: float) -> np.ndarray:
        """Of each operation, how many times the widths must double or halve until the device has the pair."""
        found = np.zeros((len(specs), len(self.facts.operations)))
        for number, operation in enumerate(self.facts.operations):
            for product in operation.products:
                kernel = np.log2(specs.widths[:, self.columns[product.kernel]])
                read = np.log2(widest(specs, product.operand, self.columns))
                away = [np.abs(kernel - np.log2(w)) + np.abs(read - np.log2(a)) for w, a in self._pairs]
                found[:, number] += np.min(away, axis=0)
        return found if most < 1 else super().beyond(specs, most)

    def operations(self, specs: Specs) -> np.ndarray:
        found = np.zeros((len(specs), len(self.facts.operations)))
        for number, operation in enumerate(self.facts.operations):
            for product in operation.products:
                kernel = specs.widths[:, self.columns[product.kernel]]
                read = widest(specs, product.operand, self.columns)
                known = np.any([(kernel == w) & (read == a) for w, a in self._pairs], axis=0)
                found[:, number] += ~known
        return found
