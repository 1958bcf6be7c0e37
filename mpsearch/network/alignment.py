"""Aligned biases: codes in the unit of the sums that a bias is added to, which integer hardware needs.

That unit is the input's scale times the kernel's. Where a channel's kernel is small beside its bias, that may not fit
its width in such a unit; the kernel's scale is then raised until it does, since losing digits of a small kernel harms
less than clipping a bias. Spaces give aligned biases as many bits as kernel and feature map have together, so that
kernels which aren't small keep their digits.
"""

from dataclasses import dataclass
from typing import Any

from keras import ops

from mpsearch.config import Alpha
from mpsearch.quantizers.featuremap import QuantizedBitsFeatureMap
from mpsearch.quantizers.scales import signed_limit
from mpsearch.quantizers.weights import FLOAT, MODES

LARGEST_CODE = 2.0**30
"""Of a bias: half of what 32 bits hold, which leaves the other half to the products."""


@dataclass(frozen=True)
class Alignment:
    """What the unit of a layer's sums follows from.

    Attributes:
        kernel, bias: attributes of the layer.
        scales: how many the kernel has.
        feature_map: quantizer of what the kernel is multiplied with.
    """

    kernel: str
    bias: str
    scales: int
    feature_map: QuantizedBitsFeatureMap

    def least_scales(self, bias: Any, spec: Any) -> Any:
        """The kernel's smallest scales, with which a bias fits its width.

        Args:
            bias: values, (channels,).
            spec: of the bias, as its quantizer holds it.

        Returns:
            Shape (scales,); zeros where the bias isn't aligned, or the feature map is float.
        """
        bits, mode, step = spec[0], spec[1], self.feature_map.step()
        aligned = ops.logical_and(ops.logical_and(bits != FLOAT, mode == MODES.index(Alpha.ALIGNED)), step > 0.0)
        limit = ops.minimum(signed_limit(ops.where(aligned, bits, 2)), LARGEST_CODE)
        largest = ops.max(ops.reshape(ops.abs(bias), (self.scales, -1)), axis=1)
        return ops.where(aligned, largest / (limit * ops.where(aligned, step, ops.ones_like(step))), 0.0)

    def unit(self, scales: Any, channels: int) -> Any:
        """Units of the sums, (channels,), for the kernel's scales, (scales,); zeros where one of the two is float."""
        each = ops.repeat(ops.reshape(scales, (self.scales, 1)), channels // self.scales, axis=1)
        return ops.reshape(each, (-1,)) * self.feature_map.step()
