"""Trace a computation once for all layers that do it."""

from collections.abc import Callable
from typing import Any

import keras


def traced_once(function: Callable[..., Any], keeps_shape: bool = False, inline: bool = True) -> Callable[..., Any]:
    """`function` of tensors, as a graph of its own that all callers share.

    A network has hundreds of quantizers that compute the same; under TensorFlow each call in a model would add
    its operations anew, which makes tracing slow. Other backends get the function itself.

    Args:
        function: of tensors whose ranks agree between calls; their sizes need not, and it must not rely on them.
        keeps_shape: whether its result, or the first one, has the shape of its first argument. The graph doesn't
            know that, and layers behind it need the sizes.
        inline: whether TensorFlow copies the graph to each call before it runs a model, and then optimizes every copy:
            a network with 188 quantizers then takes 19 s for its first run in place of 5. Without it a call costs
            some 50 µs more and computes in memory of its own, so large tensors want it, small ones don't.
    """
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    graphs: dict[tuple[Any, ...], Callable[..., Any]] = {}

    def call(*tensors: Any) -> Any:
        tensors = tuple(tf.convert_to_tensor(tensor) for tensor in tensors)
        key = tuple((tensor.dtype, tensor.shape.rank) for tensor in tensors)
        if key not in graphs:
            signature = [tf.TensorSpec([None] * rank, dtype) for dtype, rank in key]
            attributes = {} if inline else {"_noinline": True}
            graphs[key] = tf.function(
                function,
                input_signature=signature,
                jit_compile=False,
                autograph=False,
                experimental_attributes=attributes,
            )
        results = graphs[key](*tensors)
        if keeps_shape:
            first = results[0] if isinstance(results, (tuple, list)) else results
            first.set_shape(tensors[0].shape)
        return results

    return call
