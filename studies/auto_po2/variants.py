"""Power-of-two scales with one cause of the failure removed, or with scales that hold still: for this study alone.

Each takes the place of the quantizer of kernels and biases before a network is built, under TensorFlow.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from mpsearch.config import Alpha
from mpsearch.network import elastic
from mpsearch.quantizers import scales, weights
from mpsearch.quantizers.gradients import straight_through
from mpsearch.quantizers.powers import exp2
from mpsearch.quantizers.scales import auto_po2_scale, signed_limit, symmetric_codes
from mpsearch.quantizers.weights import FLOAT, WeightQuantizer


class HeldScales(WeightQuantizer):
    """Powers of two that change only where that lowers the squared error by more than a share of it.

    Attributes:
        share: 0.1: a scale is kept while its error is at most 1.1 times the least; infinity: scales of the first step
            are kept for good.
        offset: added to the exponent of every scale.
    """

    share, offset = 0.0, 0

    def build(self, shape: tuple[int, ...]) -> None:
        super().build(shape)
        count = int(np.prod([size for axis, size in enumerate(shape) if axis not in self.axes]))
        self.held = self.add_weight(name="held", shape=(count,), initializer="zeros", trainable=False)

    def quantized(self, w: Any, least: Any = None) -> tuple[Any, Any]:
        columns, restore = weights._as_columns(ops.stop_gradient(w), self.axes)
        bits = ops.convert_to_tensor(self.spec)[0]
        limit = signed_limit(ops.where(bits == FLOAT, 2, bits))
        best = auto_po2_scale(columns, limit, (0,)) * exp2(self.offset)
        held = ops.reshape(ops.convert_to_tensor(self.held), (1, -1))

        def error(scale: Any) -> Any:
            return ops.sum(ops.square(columns - symmetric_codes(columns, scale, limit) * scale), axis=0, keepdims=True)

        known = ops.where(held > 0.0, held, best)
        keeps = True if np.isinf(self.share) else error(known) <= (1.0 + self.share) * error(best)
        scale = ops.where(ops.logical_and(held > 0.0, keeps), known, best)
        self.held.assign(ops.where(bits == FLOAT, ops.reshape(held, (-1,)), ops.reshape(scale, (-1,))))
        values = ops.where(bits == FLOAT, columns, symmetric_codes(columns, scale, limit) * scale)
        return straight_through(w, ops.stop_gradient(restore(values))), ops.reshape(scale, (-1,))

    def codes(self, w: Any, spec: Any, least: Any = None) -> tuple[Any, Any]:
        columns, restore = weights._as_columns(w, self.axes)
        held = ops.reshape(ops.convert_to_tensor(self.held), (1, -1))
        limit = signed_limit(spec.bits)
        best = auto_po2_scale(columns, limit, (0,)) * exp2(self.offset)
        scale = ops.where(held > 0.0, held, best)
        shape = [1 if axis in self.axes else size for axis, size in enumerate(w.shape)]
        return restore(symmetric_codes(columns, scale, limit)), ops.reshape(scale, shape)


def held(share: float, offset: int = 0) -> Callable[[], None]:
    """Make kernels and biases hold their scales."""

    def use() -> None:
        HeldScales.share, HeldScales.offset = share, offset
        elastic.WeightQuantizer = HeldScales

    return use


def without_floor() -> None:
    """QKeras's iteration, with nothing added to divisor and scale, so that no scale is too small for it."""
    scales.QKERAS_EPSILON = 1e-30


def from_the_optimum() -> None:
    """QKeras's iteration, from the power of two with the least error and with nothing added, in place of the largest.

    What is left is the iteration's own pull.
    """
    scales.QKERAS_EPSILON = 1e-30

    def scale(w: Any, limit: Any, axes: Any, integer: int = 0) -> Any:
        found = auto_po2_scale(w, limit, axes)
        for _ in range(scales.QKERAS_ITERATIONS):
            q = symmetric_codes(w, found, limit)
            ratio = ops.mean(w * q, axis=axes, keepdims=True) / ops.maximum(
                ops.mean(q * q, axis=axes, keepdims=True), 1e-30
            )
            found = ops.where(ratio > 0.0, ops.power(2.0, ops.round(ops.log(ratio) / ops.log(2.0))), found)
        return found

    weights.qkeras_po2_scale = scale


VARIANTS: dict[str, tuple[Alpha, bool, Callable[[], None] | None]] = {
    "auto": (Alpha.AUTO, False, None),
    "auto_po2": (Alpha.AUTO_PO2, False, None),
    "qkeras, integer = bits": (Alpha.QKERAS_PO2, True, None),
    "qkeras, integer = 0": (Alpha.QKERAS_PO2, False, None),
    "qkeras without floor": (Alpha.QKERAS_PO2, False, without_floor),
    "qkeras from the optimum": (Alpha.QKERAS_PO2, False, from_the_optimum),
    "auto_po2, 10 % hysteresis": (Alpha.AUTO_PO2, False, held(0.1)),
    "auto_po2, frozen": (Alpha.AUTO_PO2, False, held(float("inf"))),
    "auto_po2, twice the scale": (Alpha.AUTO_PO2, False, held(0.0, 1)),
    "auto_po2, half the scale": (Alpha.AUTO_PO2, False, held(0.0, -1)),
}
"""Name to scale mode, whether its integer bits are its bits, and what is changed before."""
