"""What the engine knows of each layer class: which weights are quantized, and what a layer does to its input."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from mpsearch.config import Role
from mpsearch.errors import ModelError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class WeightRule:
    """A quantized weight of a layer class.

    Attributes:
        attribute: the layer's attribute, and the name in the site: `conv_0/kernel`.
        role: the menu that it takes.
        shared_axes: axes of the tensor that share a scale, by its number of dimensions.
    """

    attribute: str
    role: Role
    shared_axes: Callable[[int], Sequence[int]]


@dataclass(frozen=True)
class Adapter:
    """A layer class that computes with weights.

    Attributes:
        weights: its quantized weights.
        output_axis: how a factor per output channel is laid onto the kernel, for folding BatchNorm:
            (kernel shape, factors) to an array that broadcasts against the kernel.
        macs: (kernel shape, output shape without batch) to multiply-accumulates of one sample.
    """

    weights: tuple[WeightRule, ...]
    output_axis: Callable[[Shape, Any], Any]
    macs: Callable[[Shape, Shape], int]


def _all_but_last(ndim: int) -> Sequence[int]:
    return range(ndim - 1)


def _all_but_input_channel(ndim: int) -> Sequence[int]:
    return [axis for axis in range(ndim) if axis != ndim - 2]


def _rules(kernel_axes: Callable[[int], Sequence[int]]) -> tuple[WeightRule, ...]:
    return (WeightRule("kernel", Role.KERNEL, kernel_axes), WeightRule("bias", Role.BIAS, range))


_CONVOLUTION = Adapter(
    _rules(_all_but_last),
    output_axis=lambda shape, factor: factor,
    macs=lambda kernel, output: prod(kernel) * prod(output[:-1]),
)
_DEPTHWISE = Adapter(
    _rules(_all_but_input_channel),
    output_axis=lambda shape, factor: factor.reshape(shape[-2:]),
    macs=lambda kernel, output: prod(kernel) * prod(output[:-1]),
)

COMPUTE: dict[str, Adapter] = {"Dense": _CONVOLUTION, "Conv2D": _CONVOLUTION, "DepthwiseConv2D": _DEPTHWISE}
"""Layers with kernels: quantized kernel and bias, and an activation site behind their activation function."""

MERGES = frozenset({"Add"})
"""Layers that join several tensors: an activation site on the output, optionally on the inputs."""

AVERAGING = frozenset({"AveragePooling2D", "GlobalAveragePooling2D"})
"""Layers whose outputs lie between their inputs' codes: an activation site on the output."""

FOLLOWERS = frozenset({"ReLU", "Activation"})
"""Activation functions: the site of the layer before moves behind them. A softmax is none."""

INPUT_FOLLOWERS = frozenset({"Rescaling"})
"""Layers that only change the unit of a model's input: the input's site moves behind them."""

TRANSPARENT = frozenset(
    {
        "InputLayer",
        "MaxPooling2D",
        "GlobalMaxPooling2D",
        "ZeroPadding2D",
        "Flatten",
        "Reshape",
        "Dropout",
        "SpatialDropout2D",
    }
)
"""Layers that only move or select values: their output needs no site."""

NORMALIZATION = "BatchNormalization"

_NONNEGATIVE = frozenset({"relu", "relu6", "sigmoid", "hard_sigmoid", "softmax", "softplus", "exponential"})


def class_name(layer: Any) -> str:
    """The class of a layer as Keras names it."""
    return type(layer).__name__


def activation_name(layer: Any) -> str:
    """Name of a layer's activation function; `linear` where it has none, `relu` for ReLU layers."""
    import keras

    if class_name(layer) == "ReLU":
        return "relu"
    function = getattr(layer, "activation", None)
    return "linear" if function is None else str(keras.activations.serialize(function))


def is_follower(layer: Any) -> bool:
    """Whether a layer is an activation function behind which the site of the layer before belongs."""
    return class_name(layer) in FOLLOWERS and activation_name(layer) != "softmax"


def can_be_negative(layer: Any, inputs: Sequence[bool]) -> bool:
    """Whether a layer's output can be below zero, given whether each of its inputs can."""
    name = class_name(layer)
    if name in FOLLOWERS:
        if name == "ReLU" and layer.negative_slope:
            return any(inputs)
        return activation_name(layer) not in _NONNEGATIVE
    if name in COMPUTE:
        return True
    if name in INPUT_FOLLOWERS:
        import numpy as np

        return any(inputs) or bool(np.min(layer.scale) < 0 or np.min(layer.offset) < 0)
    return any(inputs)


def check_supported(layer: Any) -> None:
    """Refuse a layer that has no quantized form.

    Raises:
        ModelError: names the layer and the classes that are known.
    """
    known = {*COMPUTE, *MERGES, *AVERAGING, *FOLLOWERS, *INPUT_FOLLOWERS, *TRANSPARENT, NORMALIZATION}
    if class_name(layer) not in known or not type(layer).__module__.startswith("keras."):
        raise ModelError(
            f"layer `{layer.name}` is a {class_name(layer)}, which has no quantized form; known are "
            f"{', '.join(sorted(known - {'InputLayer'}))}: replace it by these"
        )
