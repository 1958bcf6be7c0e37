"""The searched model as a program: plain data without Keras, of which the reference and the file formats are made.

Operations work on tensors with the batch dimension first and channels last. A tensor that has a `Grid` is quantized to
it as soon as it is made: what reads it gets code · scale. Kernels and biases are given as codes and scales.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from mpsearch.config import Role
from mpsearch.export.functions import Function


@dataclass(frozen=True)
class Grid:
    """The codes of a feature map: value = code · scale, low ≤ code ≤ high; rounded half to even.

    Attributes:
        bits: width of a code.
        scale: value of the code 1; a float32 number.
        low, high: smallest and largest code. A code with a zero-point is held without it: of affine codes 0 … 2^b - 1,
            low is minus the zero-point.
    """

    bits: int
    scale: float
    low: int
    high: int

    def codes(self, x: np.ndarray) -> np.ndarray:
        """Codes of values, int64, the same shape; divided in the values' own type."""
        return np.clip(np.round(x / np.asarray(self.scale, x.dtype)), self.low, self.high).astype(np.int64)

    def clipped(self, functions: Sequence[Function]) -> tuple[tuple[Function, ...], int, int]:
        """Functions without the last ones that only clip, and the smallest and largest code that these leave.

        Rounding keeps order, so that bounds of values become bounds of codes.
        """
        left = tuple(function for function in functions if not function.is_identity)
        low, high = self.low, self.high
        while left and left[-1].bounds is not None:
            least, most = left[-1].bounds
            low = max(low, round(least / self.scale)) if np.isfinite(least) else low
            high = min(high, round(most / self.scale)) if np.isfinite(most) else high
            left = left[:-1]
        return left, low, high

    @property
    def signed(self) -> bool:
        """Whether its codes are those of a signed type: symmetric, without a zero-point."""
        return self.low < 0 and self.low == -self.high


@dataclass(frozen=True)
class Weight:
    """A kernel or bias.

    Attributes:
        site: its name.
        bits: width of a code; None where it stays float.
        codes: integers in int64, any shape; where it stays float the values, float32.
        scale: value of the code 1, float32, broadcasts over the codes; one where it stays float.
        axis: the axis of `codes` whose indices have scales of their own; None for one scale.
        role: kernel or bias.
    """

    site: str
    bits: int | None
    codes: np.ndarray
    scale: np.ndarray
    axis: int | None = None
    role: Role = Role.KERNEL

    @property
    def values(self) -> np.ndarray:
        """What the network computes with, float32."""
        if self.bits is None:
            return self.codes
        return np.asarray(self.codes.astype(np.float32) * self.scale, np.float32)


@dataclass(frozen=True)
class Operation:
    """One step.

    Attributes:
        name: of the layer or operator; the tensor that it makes has the same.
        kind: one of `KINDS`.
        inputs: names of tensors.
        shape: of what it makes, without the batch dimension.
        kernel, bias: its weights.
        function: of the kind "function".
        options: what else the kind needs, as told in `KINDS`.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    kernel: Weight | None = None
    bias: Weight | None = None
    function: Function | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def weights(self) -> tuple[Weight, ...]:
        """Its kernel and bias, as far as it has them."""
        return tuple(weight for weight in (self.kernel, self.bias) if weight is not None)

    @property
    def keeps_codes(self) -> bool:
        """Whether codes that it reads stay codes: it moves or selects values, or turns those below zero into zero."""
        function = self.function
        return self.kind in MOVING or (function is not None and (function.is_relu or function.is_identity))


KINDS: Mapping[str, str] = {
    "convolution": "kernel (*sizes, inputs of a group, outputs); strides, dilations, pads (before, after) of each "
    "spatial axis, groups",
    "dense": "kernel (inputs, outputs) on the last axis",
    "scale": "kernel of the last axis: a factor for each channel, the bias is added",
    "add": "sum of the inputs, which broadcast",
    "subtract": "difference of two",
    "multiply": "product of the inputs, which broadcast",
    "maximum": "the largest of the inputs",
    "minimum": "the smallest of the inputs",
    "average": "mean of the inputs",
    "concatenate": "along axis, the batch dimension counted",
    "mean": "over axes, the batch dimension counted; keepdims",
    "max": "over axes; keepdims",
    "average_pool": "sizes, strides, pads of each spatial axis; what is padded doesn't count",
    "max_pool": "sizes, strides, pads of each spatial axis",
    "pad": "zeros, pads of each axis behind the batch dimension",
    "slice": "starts and stops of each axis behind the batch dimension",
    "upsample": "each value sizes times along each spatial axis",
    "reshape": "to `shape`, in row-major order",
    "transpose": "order of all axes, the batch dimension first",
    "function": "element by element",
    "softmax": "over axis; float",
}
"""Kind of operation to what it does and which options it has."""

MOVING = frozenset({"max", "max_pool", "pad", "slice", "upsample", "reshape", "transpose"})
"""Kinds that only move or select values, so that codes stay codes."""


@dataclass(frozen=True)
class Program:
    """A whole model.

    Attributes:
        name: of the model.
        inputs: input tensors to their shapes, without the batch dimension.
        operations: in an order in which they can be executed.
        outputs: names of tensors.
        grids: quantized tensor to its codes.
        sites: quantized tensor to its site.
    """

    name: str
    inputs: Mapping[str, tuple[int, ...]]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]
    grids: Mapping[str, Grid]
    sites: Mapping[str, str]

    @cached_property
    def by_name(self) -> Mapping[str, Operation]:
        """Tensor to the operation that makes it."""
        return {operation.name: operation for operation in self.operations}

    @cached_property
    def readers(self) -> Mapping[str, Sequence[Operation]]:
        """Tensor to the operations that read it."""
        found: dict[str, list[Operation]] = {name: [] for name in (*self.inputs, *self.by_name)}
        for operation in self.operations:
            for name in dict.fromkeys(operation.inputs):
                found[name].append(operation)
        return found

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Of a tensor, without the batch dimension."""
        return self.inputs[tensor] if tensor in self.inputs else self.by_name[tensor].shape

    def grid(self, tensor: str) -> Grid | None:
        """The codes that a tensor holds: its own, or those of the tensor whose values it moves; None of a float one."""
        while tensor not in self.grids:
            if tensor in self.inputs or not self.by_name[tensor].keeps_codes:
                return None
            tensor = self.by_name[tensor].inputs[0]
        return self.grids[tensor]
