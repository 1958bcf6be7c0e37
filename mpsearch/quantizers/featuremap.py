"""`QuantizedBitsFeatureMap`: the quantizer of feature maps and layer inputs, one scale per tensor.

Source: Y. Chen, *Efficient Mixed-Precision Quantization of Deep Neural Networks for Edge Applications*,
Politecnico di Torino, 2024 (`quantized_bits_featuremap`), which takes the range from each batch; here it is
calibrated, then a moving average while training, and frozen for evaluation. `range="batch"` is the original.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import keras
import numpy as np
from keras import ops

from mpsearch.config import Alpha, RangeRule
from mpsearch.quantizers import fused
from mpsearch.quantizers.gradients import straight_through_inside
from mpsearch.quantizers.powers import MIN_EXPONENT, ceil_log2, exp2
from mpsearch.quantizers.rounding import round_half_even
from mpsearch.quantizers.scales import positive, signed_limit
from mpsearch.quantizers.tracing import traced_once
from mpsearch.quantizers.weights import FLOAT, select_mode

_TAIL = np.exp2(np.arange(-54, -14) / 3.0)  # probabilities: the sketch is denser towards both ends, where clipping acts
_EDGES = np.concatenate([[0.0], _TAIL, np.linspace(_TAIL[-1], 1 - _TAIL[-1], 98)[1:-1], 1 - _TAIL[::-1], [1.0]])
SKETCH_WEIGHTS = np.diff(_EDGES).astype(np.float32)
"""Share of a feature map's values for which each value of its sketch stands."""
SKETCH = len(SKETCH_WEIGHTS)
PO2_CANDIDATES = 10  # powers of two tried, from the least that clips nothing downwards
MOMENTUM = 0.99


@dataclass(frozen=True)
class Options:
    """What of a feature map's quantizer can't change: see `QuantizedBitsFeatureMap`."""

    signed: bool
    affine: bool
    alphas: tuple[Alpha, ...]
    integer: int | None


@dataclass(frozen=True)
class Grid:
    """The codes of a feature map: value = (code - zero) · scale, for codes low … high. Scalar tensors."""

    scale: Any
    zero: Any
    low: Any
    high: Any

    def quantize(self, x: Any) -> Any:
        """`x`, any shape, on the grid: divide, round half to even, clip. The definition, as QuantizeLinear has it."""
        codes = ops.clip(round_half_even(x / self.scale) + self.zero, self.low, self.high)
        return (codes - self.zero) * self.scale


def sketch_of(values: np.ndarray) -> np.ndarray:
    """Means of the sorted `values` (any shape) between `_EDGES`, over their largest magnitude: (SKETCH,) within ±1."""
    flat = np.sort(np.asarray(values, dtype=np.float64).ravel())
    largest = np.abs(flat).max(initial=0.0)
    if largest == 0.0:
        return np.zeros(SKETCH, np.float32)
    # each value fills 1/n of the distribution: the few largest, which clipping hurts most, count for what they are
    sums = np.concatenate([[0.0], np.cumsum(flat / largest)])
    means = np.diff(np.interp(_EDGES * len(flat), np.arange(len(flat) + 1), sums)) / (np.diff(_EDGES) * len(flat))
    return np.clip(means, -1.0, 1.0).astype(np.float32)


def grid_of(options: Options, spec: Any, extremes: Any, sketch: Any) -> Grid:
    """The codes for a spec, a range and a sketch, as `QuantizedBitsFeatureMap` holds them; the width must not be 0."""
    bits, mode = spec[0], spec[1]
    symmetric = options.signed and not options.affine
    limit = signed_limit(bits) if symmetric else exp2(bits) - 1.0
    code_low = -limit if symmetric else ops.zeros_like(limit)
    none = ops.zeros_like(limit)
    if options.integer is not None:
        return Grid(exp2(options.integer + (1 if options.signed else 0) - bits), none, code_low, limit)
    low, high = ops.minimum(extremes[0], 0.0), ops.maximum(extremes[1], 0.0)
    largest = ops.maximum(-low, high)
    span = high - low if options.affine else (largest if options.signed else high)
    auto = positive(span / limit)

    def with_scale(scale: Any) -> Grid:
        zero = ops.clip(round_half_even(-low / scale), 0.0, limit) if options.affine else none
        return Grid(scale, zero, code_low, limit)

    def po2() -> Any:
        values = sketch * largest
        candidates = exp2(ops.maximum(ceil_log2(auto) - ops.arange(PO2_CANDIDATES, dtype="int32"), MIN_EXPONENT))
        differences = with_scale(candidates[:, None]).quantize(values) - values
        errors = ops.sum(ops.square(differences) * SKETCH_WEIGHTS, axis=1)
        return candidates[ops.argmin(errors)]

    return with_scale(select_mode(mode, options.alphas, lambda alpha: po2() if alpha is Alpha.AUTO_PO2 else auto))


@cache
def _grid(options: Options) -> Callable[[Any, Any, Any], tuple[Any, Any, Any, Any]]:
    """`grid_of` with the parts of the grid as its result."""

    def parts(spec: Any, extremes: Any, sketch: Any) -> tuple[Any, Any, Any, Any]:
        grid = grid_of(options, spec, extremes, sketch)
        return grid.scale, grid.zero, grid.low, grid.high

    return traced_once(parts, inline=False)


@cache
def _quantize(options: Options, use_fused: bool) -> Callable[[Any, Any, Any, Any], Any]:
    """(x, spec, extremes, sketch) to (quantized x, its smallest and its largest possible value)."""

    def quantize(x: Any, spec: Any, extremes: Any, sketch: Any) -> Any:
        bits = spec[0]

        def quantized() -> Any:
            grid = Grid(*_grid(options)(spec, extremes, sketch))
            least, most = (grid.low - grid.zero) * grid.scale, (grid.high - grid.zero) * grid.scale
            if use_fused:
                return fused.fake_quantize(x, bits, least, most, options.signed), least, most
            return grid.quantize(x), least, most

        def unchanged() -> Any:
            infinity = ops.convert_to_tensor(np.float32(np.inf))
            return x, -infinity, infinity

        return ops.cond(bits == FLOAT, unchanged, quantized)

    return traced_once(quantize, keeps_shape=True)


@cache
def _moved_range(with_minimum: bool) -> Callable[[Any, Any], Any]:
    """(x, moving range) to (the range of x, the moving range after it), each of shape (2,)."""

    def move(x: Any, moving: Any) -> Any:
        batch = ops.stack([ops.min(x) if with_minimum else ops.zeros_like(moving[0]), ops.max(x)])
        moved = moving + (1.0 - MOMENTUM) * (batch - moving)
        return batch, ops.where(ops.isfinite(moved), moved, moving)  # a broken batch must not break the range

    return traced_once(move)


@keras.saving.register_keras_serializable("mpsearch")
class QuantizedBitsFeatureMap(keras.layers.Layer):
    """Fake quantization of a feature map, round half to even; no gradient where values are clipped.

    Args:
        signed: symmetric signed codes ±(2^(b-1) - 1); otherwise unsigned codes 0 … 2^b - 1, which turn
            values below zero into zero.
        affine: unsigned codes with a zero-point over [min, max]; zero stays exact.
        alphas: scale modes that `spec` may select; branches for others aren't traced.
        integer: integer bits of fixed-point codes.
        range_rule: "moving" or "batch".

    Attributes:
        spec: int32 weight (2,): width in bits (0 leaves the tensor in float) and position of the scale mode
            in `quantizers.weights.MODES`.
        range: float32 weight (2,): smallest and largest value, calibrated, then moving while training.
        sketch: float32 weight (`SKETCH`,): quantiles of the calibrated values over their largest magnitude,
            which tell `auto_po2` how much clipping pays.
    """

    def __init__(
        self,
        signed: bool = True,
        affine: bool = False,
        alphas: Sequence[str] = (Alpha.AUTO, Alpha.AUTO_PO2),
        integer: int | None = None,
        range_rule: str = "moving",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.signed = signed
        self.affine = affine
        self.alphas = tuple(Alpha(alpha) for alpha in alphas)
        self.integer = integer
        self.range_rule = RangeRule(range_rule)

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.spec = self.add_weight(name="spec", shape=(2,), dtype="int32", initializer="zeros", trainable=False)
        self.range = self.add_weight(name="range", shape=(2,), initializer="zeros", trainable=False)
        self.sketch = self.add_weight(name="sketch", shape=(SKETCH,), initializer="zeros", trainable=False)

    @property
    def options(self) -> "Options":
        """What of this quantizer can't change."""
        return Options(self.signed, self.affine, self.alphas, self.integer)

    def grid(self) -> "Grid":
        """The codes for the present spec, whose width must not be 0, and the present range."""
        return Grid(*_grid(self.options)(*(ops.convert_to_tensor(v) for v in (self.spec, self.range, self.sketch))))

    def step(self) -> Any:
        """Distance of neighbouring codes for the present spec and range, a scalar; zero where the spec is float."""
        spec, extremes, sketch = (ops.convert_to_tensor(v) for v in (self.spec, self.range, self.sketch))
        return ops.cond(
            spec[0] == FLOAT,
            lambda: ops.zeros_like(extremes[0]),
            lambda: _grid(self.options)(spec, extremes, sketch)[0],
        )

    def call(self, x: Any, training: bool = False) -> Any:
        values = ops.stop_gradient(x)
        extremes = ops.stop_gradient(self._extremes(values, training))
        quantize = _quantize(self.options, fused.available() and training and not self.affine)
        found = quantize(values, ops.convert_to_tensor(self.spec), extremes, ops.convert_to_tensor(self.sketch))
        q, least, most = (ops.stop_gradient(tensor) for tensor in found)
        return straight_through_inside(x, q, least, most)

    def _extremes(self, values: Any, training: bool) -> Any:
        """Smallest and largest value of the tensor by the range rule, shape (2,)."""
        moving = ops.convert_to_tensor(self.range)
        if self.integer is not None or (self.range_rule is RangeRule.MOVING and not training):
            return moving
        # unsigned codes do not need the minimum: a pass over the tensor less
        batch, moved = _moved_range(self.signed or self.affine)(values, moving)
        if self.range_rule is RangeRule.BATCH:
            return batch
        self.range.assign(moved)
        return moved

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return shape

    def get_config(self) -> dict[str, Any]:
        own = {
            "signed": self.signed,
            "affine": self.affine,
            "alphas": [alpha.value for alpha in self.alphas],
            "integer": self.integer,
            "range_rule": self.range_rule.value,
        }
        return {**super().get_config(), **own}
