"""The straight-through estimator, written once.

Source: Y. Bengio, N. Léonard, A. Courville, *Estimating or Propagating Gradients Through Stochastic Neurons
for Conditional Computation*, 2013, section 2.3. The usual form `x + stop_gradient(q - x)` costs two more
passes over the tensor and an addition on the way back; a custom gradient costs none.
"""

from typing import Any

from keras import ops

from mpsearch.quantizers import fused


@ops.custom_gradient
def straight_through(x: Any, q: Any) -> Any:
    """The value of `q` with the gradient of `x`.

    Args:
        x: the tensor before quantization, any shape.
        q: its quantized form, same shape, behind `stop_gradient`.
    """

    def gradient(*args: Any, upstream: Any = None) -> Any:
        dy = args[0] if upstream is None else upstream
        return dy, ops.zeros_like(dy)

    return q, gradient


@ops.custom_gradient
def straight_through_inside(x: Any, q: Any, low: Any, high: Any) -> Any:
    """The value of `q` with the gradient of `x` where low ≤ x ≤ high, and none where x was clipped.

    Args:
        x: the tensor before quantization, any shape.
        q: its quantized form, same shape, behind `stop_gradient`.
        low, high: smallest and largest value that a code stands for, scalars behind `stop_gradient`.
    """

    def gradient(*args: Any, upstream: Any = None) -> Any:
        dy = args[0] if upstream is None else upstream
        if fused.available():
            dx = fused.gradient_inside(dy, x, low, high)
        else:
            dx = ops.where(ops.logical_and(x >= low, x <= high), dy, 0.0)
        return dx, ops.zeros_like(dy), ops.zeros_like(low), ops.zeros_like(high)

    return q, gradient
