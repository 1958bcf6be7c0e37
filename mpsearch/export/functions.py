"""Activation functions of exported models, as plain data: a name and its numbers.

Source of the formulas: the documentation of keras.activations and of the layers that apply them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import erf, expit

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805


@dataclass(frozen=True)
class Function:
    """An element-wise function.

    Attributes:
        name: one of `FUNCTIONS`.
        numbers: what it depends on besides the values, each a number, or an array that broadcasts over a sample's last
            axes: a relu's `slope`, `threshold` and `ceiling`, a clip's `low` and `high`, a linear's `factor` and
            `offset`, the `alpha` of an elu, whether a gelu is `approximate`.
    """

    name: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Its values, float64, the same shape."""
        return np.asarray(FUNCTIONS[self.name](np.asarray(x, np.float64), **self.numbers))

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        return self.name == "identity"

    @property
    def is_relu(self) -> bool:
        """Whether it only turns values below zero into zero."""
        return self.name == "relu" and self.numbers == RELU

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Of a function that only clips, lowest and highest value; None of others."""
        if self.is_relu:
            return 0.0, np.inf
        if self.name == "clip" and np.ndim(self.numbers["low"]) == np.ndim(self.numbers["high"]) == 0:
            return float(self.numbers["low"]), float(self.numbers["high"])
        if self.name == "relu" and not self.numbers["slope"] and not self.numbers["threshold"]:
            return 0.0, float(self.numbers["ceiling"])
        return None

    @property
    def rises(self) -> bool:
        """Whether it is the same for all values, and never falls."""
        numbers = self.numbers
        if any(np.ndim(number) for number in numbers.values()) or self.name in ("linear", "negative", "prelu"):
            return False
        if self.name == "relu":
            return bool(numbers["slope"] >= 0 and numbers["threshold"] == 0)
        return self.turns is None and numbers.get("alpha", 1.0) >= 0

    @property
    def turns(self) -> float | None:
        """Where a function that first falls and then rises has its minimum; None of others."""
        if self.name == "hard_silu":
            return -1.5
        if self.name == "silu":
            return -1.278464542761074
        if self.name == "gelu":
            return -0.7524614220710162 if self.numbers["approximate"] else -0.7517915246935645
        return 0.0 if self.name in ("absolute", "square") else None


RELU: Mapping[str, Any] = {"slope": 0.0, "threshold": 0.0, "ceiling": float("inf")}


def _relu(x: np.ndarray, slope: float, threshold: float, ceiling: float) -> np.ndarray:
    return np.asarray(np.where(x >= threshold, np.minimum(x, ceiling), slope * (x - threshold)))


def _elu(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(x > 0.0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def _gelu(x: np.ndarray, approximate: bool) -> np.ndarray:
    if approximate:
        return 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1.0 + np.asarray(erf(x / np.sqrt(2.0))))


def _hard_sigmoid(x: np.ndarray) -> np.ndarray:
    return np.clip(x / 6.0 + 0.5, 0.0, 1.0)


FUNCTIONS: Mapping[str, Any] = {
    "identity": lambda x: x,
    "relu": _relu,
    "clip": lambda x, low, high: np.clip(x, low, high),
    "linear": lambda x, factor, offset: x * factor + offset,
    "prelu": lambda x, alpha: np.where(x > 0.0, x, alpha * x),
    "sigmoid": lambda x: np.asarray(expit(x)),
    "hard_sigmoid": _hard_sigmoid,
    "tanh": np.tanh,
    "silu": lambda x: x * np.asarray(expit(x)),
    "hard_silu": lambda x: x * _hard_sigmoid(x),
    "elu": _elu,
    "selu": lambda x: SELU_SCALE * _elu(x, SELU_ALPHA),
    "gelu": _gelu,
    "softplus": lambda x: np.logaddexp(x, 0.0),
    "softsign": lambda x: x / (1.0 + np.abs(x)),
    "exponential": np.exp,
    "absolute": np.abs,
    "square": np.square,
    "sqrt": np.sqrt,
    "negative": np.negative,
}
"""Function name to its formula."""
