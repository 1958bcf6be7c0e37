"""Scales of symmetric codes, for kernels and biases.

With b bits the codes are -L … L, L = 2^(b-1) - 1 (`limit`). One scale serves all values along the axes
in `axes`. Widths are tensors.
"""

from collections.abc import Sequence
from typing import Any

from keras import ops

from mpsearch.quantizers.powers import MIN_EXPONENT, ceil_log2, exp2
from mpsearch.quantizers.rounding import round_half_away, round_half_even

Axes = Sequence[int]

UNROLLED = 3  # powers of two tried at once; more only where a bound says they may be better
QKERAS_EPSILON = 1e-7
QKERAS_ITERATIONS = 5


def signed_limit(bits: Any) -> Any:
    """Largest symmetric code of `bits` (int32 scalar): 2^(bits-1) - 1, in float32."""
    return exp2(bits - 1) - 1.0


def positive(scale: Any) -> Any:
    """`scale` with zeros replaced by one: a tensor of zeros then gets codes of zero, not NaN."""
    return ops.where(scale > 0.0, scale, ops.ones_like(scale))


def auto_scale(w: Any, limit: Any, axes: Axes) -> Any:
    """max |w| / L: the least scale that clips nothing.

    Args:
        w: float32, any shape.
        limit: largest code L, scalar.
        axes: axes that share a scale.

    Returns:
        Scales, the shape of `w` with ones at `axes`.
    """
    return positive(ops.max(ops.abs(w), axis=axes, keepdims=True) / limit)


def auto_po2_scale(w: Any, limit: Any, axes: Axes) -> Any:
    """The power of two with the least squared error, exactly.

    Let 2^e be the least power of two that clips nothing. No larger one is better, since its grid is part of
    this one's. Going down from it (2^(e-k), k = 1, 2, …) trades rounding for clipping. The rounding part of
    the error is at most n·4^(-k)/4 in units of 2^(2e), and the clipping part only grows with k; so once
    error(k) - n·4^(-k)/4 is no less than the best error, nothing further down can be better.

    Args:
        w: float32, any shape.
        limit: largest code L, scalar.
        axes: axes that share a scale.

    Returns:
        Scales, the shape of `w` with ones at `axes`; of equal errors the larger scale wins.
    """
    exponent = ceil_log2(auto_scale(w, limit, axes))
    scale = exp2(exponent)
    unit = w / scale  # exact; |unit| <= limit
    count = ops.cast(ops.size(w) // ops.size(scale), "float32")

    def error(step: Any) -> Any:
        """Squared error at 2^(e-step), in units of 2^(2e)."""
        y = unit * exp2(step)
        codes = ops.minimum(ops.maximum(round_half_even(y), -limit), limit)
        return ops.sum(ops.square(codes - y), axis=axes, keepdims=True) * exp2(-2 * step)

    best = error(ops.convert_to_tensor(0, "int32"))
    best_step = ops.zeros_like(exponent)
    last = best
    for k in range(1, UNROLLED):
        last = error(ops.convert_to_tensor(k, "int32"))
        best_step = ops.where(last < best, k, best_step)
        best = ops.minimum(last, best)

    def undecided(k: Any, best: Any, best_step: Any, last: Any) -> Any:
        return ops.any(ops.logical_and(last - count / 4.0 * exp2(-2 * (k - 1)) < best, best > 0.0))

    def one_further(k: Any, best: Any, best_step: Any, last: Any) -> Any:
        last = error(k)
        return k + 1, ops.minimum(last, best), ops.where(last < best, k, best_step), last

    start = (ops.convert_to_tensor(UNROLLED, "int32"), best, best_step, last)
    _, _, best_step, _ = ops.while_loop(undecided, one_further, start, maximum_iterations=40)
    return exp2(ops.maximum(exponent - best_step, MIN_EXPONENT))


def qkeras_po2_scale(w: Any, limit: Any, axes: Axes, integer: int = 0) -> Any:
    """QKeras's power of two for `quantized_bits(b, i, 1, 1, alpha="auto_po2")`, defects included, for comparison.

    Five rounds of least squares Σwq/Σq² rounded in the logarithm, with 1e-7 added to divisor and scale: it floors
    small scales and can stick where values are clipped. Since `w` is divided by 2^i before and the scale multiplied
    after, the floor is 2^i times as high. Of a bias QKeras has a scale for each value; here it has one, as in `auto`.
    Source: qkeras-v3 1.2, `quantized_bits.__call__` and `_get_least_squares_scale`.
    """
    w = w * exp2(-integer)

    def power_of_two(scale: Any) -> Any:
        return ops.power(2.0, ops.round(ops.log(scale + QKERAS_EPSILON) / ops.log(2.0)))

    scale = power_of_two(ops.max(ops.abs(w), axis=axes, keepdims=True) * 2.0 / (limit * 2.0))
    for _ in range(QKERAS_ITERATIONS):
        q = symmetric_codes(w, scale, limit)
        wq = ops.mean(w * q, axis=axes, keepdims=True)
        qq = ops.mean(q * q, axis=axes, keepdims=True)
        scale = power_of_two(wq / (qq + QKERAS_EPSILON))
    return scale * exp2(integer)


def symmetric_codes(w: Any, scale: Any, limit: Any) -> Any:
    """Integer codes of `w` in -L … L, round half away from zero, as float32 of the same shape."""
    return ops.minimum(ops.maximum(round_half_away(w / scale), -limit), limit)
