"""Which function a Keras layer or operator applies, with its numbers as the network, in float32, has them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mpsearch.errors import ExportError
from mpsearch.export.functions import FUNCTIONS, RELU, Function
from mpsearch.network.adapters import activation_name, class_name, is_own_function
from mpsearch.network.graph import Node, Tensor

_AS_KERAS_HAS_THEM = {"swish": "silu", "hard_swish": "hard_silu", "exp": "exponential", "linear": "identity"}


def function_of(node: Node, layer: Any) -> Function:
    """The function that a node applies.

    Args:
        node: of a layer or operator whose output is `Output.FUNCTION`.
        layer: the layer with the weights that count.

    Raises:
        ExportError: it is a function of the user's own, or one that no export knows.
    """
    kind = class_name(layer)
    name = activation_name(layer)
    name = _AS_KERAS_HAS_THEM.get(name, name)
    if kind == "ReLU":
        ceiling = float("inf") if layer.max_value is None else _float32(layer.max_value)
        return Function(
            "relu",
            {"slope": _float32(layer.negative_slope), "threshold": _float32(layer.threshold), "ceiling": ceiling},
        )
    if kind in ("LeakyReLU", "LeakyRelu"):
        return Function("relu", {**RELU, "slope": _float32(layer.negative_slope)})
    if kind in ("ELU", "Elu"):
        return Function("elu", {"alpha": _float32(layer.alpha)})
    if kind == "PReLU":
        return Function("prelu", {"alpha": np.asarray(layer.alpha, np.float64)})
    if kind == "Rescaling":
        return _linear(layer.scale, layer.offset)
    if kind == "Normalization":
        spread = np.maximum(np.sqrt(np.asarray(layer.variance, np.float64)), 1e-7)
        mean = np.asarray(layer.mean, np.float64)
        return _linear(spread, -mean, inverse=True) if layer.invert else _linear(1.0 / spread, -mean / spread)
    if kind == "Identity":
        return Function("identity")
    if kind == "Clip":
        return Function("clip", {"low": _number(layer.x_min), "high": _number(layer.x_max)})
    if kind in ("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Maximum", "Minimum"):
        return _with_constant(node, kind)
    if kind == "Gelu":
        return Function("gelu", {"approximate": bool(layer.approximate)})
    if kind == "Relu" or name == "relu":
        return Function("relu", RELU)
    if name == "relu6":
        return Function("relu", {**RELU, "ceiling": 6.0})
    if is_own_function(layer):
        raise ExportError(
            f"`{node.name}` applies a function of your own ({name}), which the format keras alone can hold: give "
            "--format keras, or build the function of Keras's own"
        )
    options: Mapping[str, Mapping[str, Any]] = {
        "gelu": {"approximate": False},
        "elu": {"alpha": 1.0},
        "leaky_relu": {**RELU, "slope": _float32(0.2)},
    }
    known = "relu" if name == "leaky_relu" else name
    if known not in FUNCTIONS:
        raise ExportError(
            f"`{node.name}` applies {name}, which the format keras alone can hold; the others know "
            f"{', '.join(sorted(FUNCTIONS))}"
        )
    return Function(known, options.get(name, {}))


def _with_constant(node: Node, kind: str) -> Function:
    """Arithmetic between a tensor and a constant."""
    args, kwargs = node.arguments
    operands = [*args, *kwargs.values()]
    constants = [_number(value) for value in operands if not isinstance(value, Tensor)]
    first = isinstance(operands[0], Tensor)
    (constant,) = constants
    if kind in ("Maximum", "Minimum"):
        low, high = (constant, np.inf) if kind == "Maximum" else (-np.inf, constant)
        return Function("clip", {"low": low, "high": high})
    if kind == "Add":
        return _linear(1.0, constant)
    if kind == "Subtract":
        return _linear(1.0, -constant) if first else _linear(-1.0, constant)
    if kind == "Multiply":
        return _linear(constant, 0.0)
    if first:
        return _linear(1.0 / constant, 0.0)
    raise ExportError(f"`{node.name}` divides a constant by a feature map, which the format keras alone can hold")


def _linear(factor: Any, offset: Any, inverse: bool = False) -> Function:
    """x · factor + offset, or (x + offset) inverted: x · factor - offset."""
    return Function("linear", {"factor": _number(factor), "offset": _number(-offset if inverse else offset)})


def _float32(value: Any) -> float:
    """A number as the network, which computes in float32, has it."""
    return float(np.float32(value))


def _number(value: Any) -> Any:
    """A number where there is one, else an array without leading axes of size one; as the network has it."""
    array = np.asarray(np.asarray(value, np.float32), np.float64)
    while array.ndim and array.shape[0] == 1:
        array = array[0]
    return float(array) if array.ndim == 0 else array
