"""Functions in LiteRT files: computed in float, or applied by an operator itself."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mpsearch.errors import ExportError
from mpsearch.export.functions import SELU_ALPHA, SELU_SCALE, Function
from mpsearch.export.litert_graph import Graph, Held
from mpsearch.export.litert_limits import FLOAT

RELU, RELU6 = 1, 3
"""Numbers of the functions that operators can apply themselves."""
UNARY: Mapping[str, str] = {
    "absolute": "ABS",
    "exponential": "EXP",
    "hard_silu": "HARD_SWISH",
    "negative": "NEG",
    "sigmoid": "LOGISTIC",
    "sqrt": "SQRT",
    "square": "SQUARE",
    "tanh": "TANH",
}
"""Function to the operator that computes it."""


def fused_number(function: Function) -> int:
    """Number of the activation function that LiteRT's operators can apply themselves; 0 where they can't."""
    if function.is_relu:
        return RELU
    return RELU6 if function.name == "relu" and function.bounds == (0.0, 6.0) else 0


def float_constant(graph: Graph, value: Any, name: str) -> int:
    """Index of a constant of floats."""
    return graph.constant(name, np.atleast_1d(value), "float32")


def applied(graph: Graph, x: Held, function: Function, name: str) -> Held:
    """A function of a float feature map, in float.

    Raises:
        ExportError: no LiteRT file has it.
    """
    numbers, which = function.numbers, function.name

    def apply(operator: str, y: Held, *others: Any, **options: Any) -> Held:
        operands = [
            other.index if isinstance(other, Held) else float_constant(graph, other, f"{name}/number")
            for other in others
        ]
        made = graph.feature_map(f"{name}/{operator.lower()}", y.shape, FLOAT)
        return graph.operator(operator, [y.index, *operands], made, **options)

    def elu(alpha: float) -> Held:
        if alpha == 1.0:
            return apply("ELU", x)
        return apply("ADD", apply("RELU", x), apply("MUL", apply("ELU", apply("MINIMUM", x, 0.0)), alpha))

    if which == "identity":
        return x
    if which in UNARY:
        return apply(UNARY[which], x)
    if which == "relu" and not numbers["threshold"]:
        if fused_number(function) == RELU6:
            return apply("RELU6", x)
        x = x if np.isinf(numbers["ceiling"]) else apply("MINIMUM", x, numbers["ceiling"])
        return apply("LEAKY_RELU", x, alpha=numbers["slope"]) if numbers["slope"] else apply("RELU", x)
    if which == "clip":
        for operator, bound in (("MAXIMUM", numbers["low"]), ("MINIMUM", numbers["high"])):
            x = apply(operator, x, bound) if np.any(np.isfinite(bound)) else x
        return x
    if which == "linear":
        x = apply("MUL", x, numbers["factor"]) if np.any(numbers["factor"] != 1.0) else x
        return apply("ADD", x, numbers["offset"]) if np.any(numbers["offset"]) else x
    if which == "prelu":
        return apply("PRELU", x, np.broadcast_to(numbers["alpha"], x.shape))
    if which == "silu":
        return apply("MUL", x, apply("LOGISTIC", x))
    if which == "hard_sigmoid":
        return apply("MINIMUM", apply("RELU", apply("ADD", apply("MUL", x, 1.0 / 6.0), 0.5)), 1.0)
    if which == "elu":
        return elu(numbers["alpha"])
    if which == "selu":
        return apply("MUL", elu(SELU_ALPHA), SELU_SCALE)
    if which == "gelu":
        return apply("GELU", x, approximate=numbers["approximate"])
    if which == "softplus":  # max(x, 0) + ln(1 + exp(-|x|)), which doesn't overflow
        small = apply("EXP", apply("NEG", apply("ABS", x)))
        return apply("ADD", apply("RELU", x), apply("LOG", apply("ADD", small, 1.0)))
    if which == "softsign":
        return apply("DIV", x, apply("ADD", apply("ABS", x), 1.0))
    raise ExportError(
        f"`{name}` applies {which} with {dict(numbers)}, which no LiteRT file has; give --format onnx or keras"
    )
