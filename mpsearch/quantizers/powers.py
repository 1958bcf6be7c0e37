"""Exact powers of two: a backend's `pow` and `log2` may be off by one bit, the exponent field of a float is not."""

from typing import Any

import keras
from keras import ops

MIN_EXPONENT, MAX_EXPONENT = -126, 127  # of a normal float32
_BIAS, _MANTISSA_BITS = 127, 23


def exp2(exponent: Any) -> Any:
    """2^exponent in float32, exactly.

    Args:
        exponent: int32 or an int, any shape, within -126 … 127.
    """
    return _bitcast((ops.convert_to_tensor(exponent, "int32") + _BIAS) * (1 << _MANTISSA_BITS), "float32")


def ceil_log2(x: Any) -> Any:
    """The smallest integer e ≥ -126 with x ≤ 2^e, in int32.

    Args:
        x: float32, positive and finite, any shape.
    """
    exponent = (_bitcast(x, "int32") + ((1 << _MANTISSA_BITS) - 1)) // (1 << _MANTISSA_BITS) - _BIAS
    return ops.maximum(exponent, MIN_EXPONENT)


def _bitcast(x: Any, dtype: str) -> Any:
    """The same 32 bits read as another type."""
    if keras.backend.backend() != "tensorflow":
        return ops.view(x, dtype)
    import tensorflow as tf  # `ops.view` needs static shapes there

    return tf.bitcast(x, dtype)
