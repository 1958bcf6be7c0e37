"""TensorFlow's fused fake-quantization kernels.

`QuantizeAndDequantizeV3` clips, rounds (half to even) and scales in one pass over the tensor and takes its
width as a tensor; the chain of single operations takes four. It multiplies by 1/s where the definition
divides by s, so a value within a float32 rounding error of a tie may get the neighbouring code unless s is
a power of two. Training steps do not mind; evaluation and export follow the definition.
"""

from typing import Any

import keras


def available() -> bool:
    """Whether the backend has the fused kernels."""
    return keras.backend.backend() == "tensorflow"


def fake_quantize(x: Any, bits: Any, low: Any, high: Any, signed: bool) -> Any:
    """`x` on the grid between the values of the smallest and the largest code.

    Args:
        x: float32, any shape.
        bits: width, int32 scalar.
        low, high: value of the smallest and largest code, float32 scalars: ∓s·L, or 0 and s·(2^bits - 1).
        signed: whether codes are -L … L, L = 2^(bits-1) - 1, or 0 … 2^bits - 1.
    """
    import tensorflow as tf

    return tf.raw_ops.QuantizeAndDequantizeV3(
        input=x, input_min=low, input_max=high, num_bits=bits, signed_input=signed, range_given=True, narrow_range=True
    )


def gradient_inside(dy: Any, x: Any, low: Any, high: Any) -> Any:
    """`dy` where low ≤ x ≤ high, else 0, in one pass. Shapes: dy and x alike, low and high scalars."""
    import tensorflow as tf

    return tf.raw_ops.QuantizeAndDequantizeV4Grad(gradients=dy, input=x, input_min=low, input_max=high)[0]
