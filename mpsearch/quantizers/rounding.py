"""The two rounding rules of quantized networks, one line each.

Weights round half away from zero, as QKeras does with a data-dependent scale; feature maps round half to
even, as QuantizeLinear of ONNX does.
"""

from typing import Any

from keras import ops


def round_half_away(x: Any) -> Any:
    """Nearest integer, ties away from zero: sign(x) · ⌊|x| + ½⌋. Any shape."""
    return ops.sign(x) * ops.floor(ops.abs(x) + 0.5)


def round_half_even(x: Any) -> Any:
    """Nearest integer, ties to the even one. Any shape."""
    return ops.round(x)
