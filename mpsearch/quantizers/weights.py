"""Quantizers of kernels and biases: width and scale mode are tensors."""

from collections.abc import Callable, Sequence
from functools import cache
from math import prod
from typing import Any

import keras
from keras import ops

from mpsearch.config import Alpha, QuantizerSpec
from mpsearch.quantizers.gradients import straight_through
from mpsearch.quantizers.powers import MIN_EXPONENT, ceil_log2, exp2
from mpsearch.quantizers.rounding import round_half_even
from mpsearch.quantizers.scales import (
    auto_po2_scale,
    auto_scale,
    positive,
    qkeras_po2_scale,
    signed_limit,
    symmetric_codes,
)
from mpsearch.quantizers.tracing import traced_once

FLOAT = 0  # as a width: leave the tensor as it is
OF_ITS_OWN = (Alpha.AUTO, Alpha.AUTO_PO2, Alpha.QKERAS_PO2, Alpha.FIXED)
"""Scale modes that need nothing but the tensor."""
MODES = (*OF_ITS_OWN, Alpha.ALIGNED)


def encode(spec: QuantizerSpec | None) -> tuple[int, int]:
    """A spec as the two integers that quantizer layers hold: width (0 for float) and scale mode."""
    return (FLOAT, 0) if spec is None else (spec.bits, MODES.index(spec.alpha))


def decode(spec: Any, integer: int | None) -> QuantizerSpec | None:
    """The spec of a weight whose quantizer layer holds `encode`'s two integers, and has so many integer bits."""
    bits, alpha = int(spec[0]), MODES[int(spec[1])]
    if bits == FLOAT:
        return None
    return QuantizerSpec(bits, alpha, integer if alpha in (Alpha.FIXED, Alpha.QKERAS_PO2) else None)


def select_mode(mode: Any, alphas: Sequence[Alpha], branch: Callable[[Alpha], Any]) -> Any:
    """`branch(alpha)` for the scale mode at position `mode` (int32 scalar) of `MODES`, one of `alphas`.

    Only the selected branch is computed; with a single scale mode there is nothing to select.
    """
    if len(alphas) == 1:
        return branch(alphas[0])
    first, *others = alphas
    selected = mode == MODES.index(first)
    return ops.cond(selected, lambda: branch(first), lambda: select_mode(mode, others, branch))


def weight_scale(w: Any, bits: Any, alpha: Alpha, axes: Sequence[int], integer: int = 0, least: Any = None) -> Any:
    """Scales of `w` under one scale mode, the shape of `w` with ones at `axes`.

    None is below `least`, or below the next power of two where they are such, unless they are fixed; those of aligned
    biases are `least`, one for each value, or one where that is zero.
    """
    limit = signed_limit(bits)
    if alpha is Alpha.ALIGNED:
        return positive(least)
    if alpha is Alpha.FIXED:
        return ops.zeros_like(ops.max(w, axis=axes, keepdims=True)) + exp2(integer + 1 - bits)
    if alpha is Alpha.AUTO:
        scale = auto_scale(w, limit, axes)
        return scale if least is None else ops.maximum(scale, least)
    scale = auto_po2_scale(w, limit, axes) if alpha is Alpha.AUTO_PO2 else qkeras_po2_scale(w, limit, axes, integer)
    return scale if least is None else ops.maximum(scale, exp2(ceil_log2(ops.maximum(least, exp2(MIN_EXPONENT)))))


def weight_codes(
    w: Any, bits: Any, alpha: Alpha, axes: Sequence[int], integer: int = 0, least: Any = None
) -> tuple[Any, Any]:
    """Codes (shape of `w`, integers in float32) and scales of `w` under one scale mode.

    Data-dependent scales round half away from zero; fixed point rounds half to even, as
    `quantized_bits(b, integer, 1, 1, alpha=1.0)` does, and so do aligned biases.
    """
    scale = weight_scale(w, bits, alpha, axes, integer, least)
    limit = signed_limit(bits)
    if alpha in (Alpha.FIXED, Alpha.ALIGNED):
        return ops.minimum(ops.maximum(round_half_even(w / scale), -limit), limit), scale
    return symmetric_codes(w, scale, limit), scale


@keras.saving.register_keras_serializable("mpsearch")
class WeightQuantizer(keras.layers.Layer):
    """Fake quantization of a weight tensor, `call(w) -> w quantized`, straight-through gradient.

    Args:
        axes: axes of the tensor that share a scale (all of them for a bias).
        alphas: scale modes that `spec` may select; branches for others aren't traced.
        integer: integer bits of fixed-point codes, and of "qkeras_po2".

    Attributes:
        spec: int32 weight of shape (2,): width in bits (0 leaves the tensor in float) and position of the scale
            mode in `MODES`.
    """

    def __init__(
        self, axes: Sequence[int], alphas: Sequence[str] = OF_ITS_OWN, integer: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.axes = tuple(axes)
        self.alphas = tuple(Alpha(alpha) for alpha in alphas)
        self.integer = integer or 0

    def build(self, shape: tuple[int, ...]) -> None:
        self.spec = self.add_weight(name="spec", shape=(2,), dtype="int32", initializer="zeros", trainable=False)

    def call(self, w: Any) -> Any:
        return self.quantized(w)[0]

    def quantized(self, w: Any, least: Any = None) -> tuple[Any, Any]:
        """`w` quantized, with a straight-through gradient, and its scales.

        Args:
            w: the tensor.
            least: smallest scales, as of `weight_scale`, of any shape with one for each scale; None: any.

        Returns:
            The tensor, and scales of shape (scales,), zeros where the spec leaves it in float.
        """
        rows, restore = _as_columns(ops.stop_gradient(w), self.axes)
        if least is None and Alpha.ALIGNED in self.alphas:
            least = ops.zeros_like(w)
        bounds = () if least is None else (ops.stop_gradient(self._bound(least)),)
        values, scale = _quantize_columns(self.alphas, self.integer)(rows, ops.convert_to_tensor(self.spec), *bounds)
        return straight_through(w, ops.stop_gradient(restore(values))), ops.reshape(ops.stop_gradient(scale), (-1,))

    def codes(self, w: Any, spec: QuantizerSpec, least: Any = None) -> tuple[Any, Any]:
        """`weight_codes` of a tensor under a spec, as this quantizer computes them; `least` as of `quantized`."""
        rows, restore = _as_columns(w, self.axes)
        unused = Alpha.ALIGNED in self.alphas and spec.alpha is not Alpha.ALIGNED
        bounds = () if least is None or unused else (self._bound(least),)
        codes, scale = _codes_of_columns(spec.alpha, self.integer)(
            rows, ops.convert_to_tensor(spec.bits, "int32"), *bounds
        )
        shape = [1 if axis in self.axes else size for axis, size in enumerate(w.shape)]
        return restore(codes), ops.reshape(scale, w.shape if spec.alpha is Alpha.ALIGNED else shape)

    def _bound(self, least: Any) -> Any:
        """Smallest scales as the columns have them: one for each column, or for each value of an aligned bias."""
        return ops.reshape(least, (-1, 1) if Alpha.ALIGNED in self.alphas else (1, -1))

    def compute_output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def get_config(self) -> dict[str, Any]:
        own = {"axes": self.axes, "alphas": [alpha.value for alpha in self.alphas], "integer": self.integer}
        return {**super().get_config(), **own}


@cache
def _quantize_columns(alphas: tuple[Alpha, ...], integer: int) -> Callable[..., tuple[Any, Any]]:
    """(values of shape (n, channels), spec, smallest scales) to the quantized values and their scales.

    One scale a column, but one a value where biases may be aligned, whose smallest scales, zeros for float, are those.
    """
    aligned = Alpha.ALIGNED in alphas

    def quantize(w: Any, spec: Any, least: Any = None) -> Any:
        bits, mode = spec[0], spec[1]

        def branch(alpha: Alpha) -> Any:
            if alpha is Alpha.ALIGNED:
                codes, scale = weight_codes(w, bits, alpha, (0,), integer, least)
                return ops.where(least > 0.0, codes * scale, w), scale
            codes, scale = weight_codes(w, bits, alpha, (0,), integer, None if aligned else least)
            return codes * scale, ops.broadcast_to(scale, ops.shape(w)) if aligned else scale

        def unchanged() -> Any:
            return w, ops.zeros_like(w if aligned else w[:1])

        return ops.cond(bits == FLOAT, unchanged, lambda: select_mode(mode, alphas, branch))

    return traced_once(quantize, keeps_shape=True, inline=False)


@cache
def _codes_of_columns(alpha: Alpha, integer: int) -> Callable[..., tuple[Any, Any]]:
    """(values of shape (n, channels), width, smallest scales) to their codes and scales, as `_quantize_columns`."""

    def codes(w: Any, bits: Any, least: Any = None) -> tuple[Any, Any]:
        return weight_codes(w, bits, alpha, (0,), integer, least)

    return traced_once(codes, keeps_shape=True, inline=False)


def _as_columns(w: Any, shared_axes: Sequence[int]) -> tuple[Any, Callable[[Any], Any]]:
    """`w` as (values that share a scale, scales), and the way back."""
    kept = [axis for axis in range(len(w.shape)) if axis not in shared_axes]
    order = [*shared_axes, *kept]
    # moving axes of size one moves no value: most often there is nothing to transpose
    moved = [axis for axis in order if w.shape[axis] != 1]
    ordered = w if moved == sorted(moved) else ops.transpose(w, order)
    columns = ops.reshape(ordered, (-1, prod(w.shape[axis] for axis in kept)))

    def restore(result: Any) -> Any:
        if ordered is w:
            return ops.reshape(result, w.shape)
        inverse = [order.index(axis) for axis in range(len(order))]
        return ops.transpose(ops.reshape(result, ordered.shape), inverse)

    return columns, restore
