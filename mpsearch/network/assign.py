"""Assign to many variables at once."""

from collections.abc import Callable, Sequence
from typing import Any

import keras


def bulk_assign(variables: Sequence[Any]) -> Callable[[Sequence[Any]], None]:
    """A function that assigns one value to each of `variables`, in their order.

    Under TensorFlow it is one traced call, about ten times as fast as a call for each variable; so it matters
    where hundreds of them change between two trials.
    """
    if keras.backend.backend() != "tensorflow":

        def assign(values: Sequence[Any]) -> None:
            for variable, value in zip(variables, values, strict=True):
                variable.assign(keras.ops.copy(value))  # JAX gives the buffers of a variable away in a training step

        return assign

    import tensorflow as tf

    targets = [variable.value for variable in variables]

    @tf.function(input_signature=[[tf.TensorSpec(target.shape, target.dtype) for target in targets]], jit_compile=False)
    def assign_all(values: Sequence[Any]) -> None:
        for target, value in zip(targets, values, strict=True):
            target.assign(value)

    def assign_tensors(values: Sequence[Any]) -> None:
        assign_all([tf.convert_to_tensor(value, t.dtype) for value, t in zip(values, targets, strict=True)])

    return assign_tensors
