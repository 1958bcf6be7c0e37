"""Assign to many variables at once."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from mpsearch.errors import ConfigError

Values = Sequence[Any] | np.ndarray


def bulk_assign(variables: Sequence[Any]) -> Callable[[Values], None]:
    """A function that assigns one value to each of `variables`, in their order.

    Under TensorFlow it calls the assignment's operation itself, many times as fast as `Variable.assign`; that
    matters where hundreds of variables change between two trials.

    Raises:
        ConfigError: from the function made, where a value hasn't its variable's shape.
    """
    names = [getattr(variable, "path", variable.name) for variable in variables]
    shapes = [tuple(variable.shape) for variable in variables]

    def check(values: Values) -> None:
        for name, shape, value in zip(names, shapes, values, strict=True):
            if isinstance(value, np.ndarray) and value.shape != shape:  # the backend's tensors were variables' values
                raise ConfigError(f"`{name}` has shape {shape}, but got a value of shape {tuple(value.shape)}")

    if keras.backend.backend() != "tensorflow":

        def assign(values: Values) -> None:
            check(values)
            for variable, value in zip(variables, values, strict=True):
                variable.assign(keras.ops.copy(value))  # JAX gives the buffers of a variable away in a training step

        return assign

    import tensorflow as tf

    handles = [(variable.value.handle, variable.value.dtype) for variable in variables]

    def assign_directly(values: Values) -> None:
        check(values)
        if isinstance(values, np.ndarray):
            values = tf.unstack(tf.convert_to_tensor(values))
        for (handle, dtype), value in zip(handles, values, strict=True):
            tensor = value if tf.is_tensor(value) else tf.convert_to_tensor(value, dtype)
            # the variable shares the tensor's memory until the next training step, which copies before it writes
            tf.raw_ops.AssignVariableOp(resource=handle, value=tensor)

    return assign_directly
