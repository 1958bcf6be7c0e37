"""Flash: what a model's parameters take in a file or in read-only memory."""

from collections.abc import Sequence

import numpy as np

from mpsearch.config import Role
from mpsearch.costs.containers import SCALE_BYTES, bias_bits, container_bits, padded_bits, whole_bytes
from mpsearch.costs.model import Cost
from mpsearch.costs.specs import Specs


class FlashBytes(Cost):
    """Packed kernels, biases, scales and zero-points, by the rule of `costs.containers`.

    The program that computes with them is not counted, nor are weights that have no site, such as those of a
    LayerNormalization.
    """

    name, unit, about = "flash", "bytes", "packed kernels, biases and scales"

    def batch(self, specs: Specs) -> np.ndarray:
        return self._sites(specs).sum(axis=1).astype(np.float64)

    def parts(self, specs: Specs) -> tuple[Sequence[str], np.ndarray]:
        return [site.name for site in self.facts.sites], self._sites(specs).astype(np.float64)

    def dependencies(self) -> Sequence[Sequence[str]]:
        return [[site.name] for site in self.facts.sites]

    def _sites(self, specs: Specs) -> np.ndarray:
        """Bytes of each site, int64 (configs, sites)."""
        roles = np.array([site.role.value for site in self.facts.sites])
        elements = np.array([site.elements for site in self.facts.sites], dtype=np.int64)
        scales = np.array([site.scales for site in self.facts.sites], dtype=np.int64) * SCALE_BYTES
        bits = np.where(roles == Role.BIAS.value, bias_bits(specs.widths), container_bits(specs.widths))
        codes = whole_bytes(np.where(roles == Role.ACTIVATION.value, 0, elements * bits))
        zero_points = np.where(specs.affine, padded_bits(specs.widths) // 8, 0)
        return codes + np.where(specs.floats, 0, scales + zero_points)
