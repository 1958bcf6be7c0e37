"""Bring a float model into the form that hardware runs: BatchNorm folded, activation functions on their own.

Folding follows B. Jacob et al., *Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference*, CVPR 2018, section 3.2: with g = γ/√(σ² + ε), the kernel becomes g·w and the
bias β + g·(b - μ). It is exact for inference and computed in float64.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from mpsearch.errors import ModelError
from mpsearch.network.adapters import COMPUTE, NORMALIZATION, activation_name, check_supported, class_name


@dataclass(frozen=True)
class Node:
    """One application of a layer in a functional model.

    Attributes:
        layer: the Keras layer.
        inputs: names of the layers whose outputs it reads, in order.
        shape: of its output, without the batch dimension.
    """

    layer: Any
    inputs: tuple[str, ...]
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        """Name of the layer."""
        return str(self.layer.name)


def functional(model: keras.Model) -> keras.Model:
    """`model` as a functional one.

    Raises:
        ModelError: it isn't built, or it is subclassed.
    """
    if isinstance(model, keras.Sequential):
        if not model.built or not model.inputs:
            raise ModelError(f"the model `{model.name}` isn't built: start it with keras.Input(shape=…)")
        return graph(model, _alone(model.outputs), name=model.name)
    if not isinstance(model, keras.Model):
        raise ModelError(f"expected a keras.Model, but got {type(model).__name__}")
    if not getattr(model, "inputs", None) or not getattr(model, "_nodes_by_depth", None):
        raise ModelError(
            f"the model `{model.name}` is a subclass of keras.Model without a graph of layers: "
            "build it with the functional API, keras.Model(inputs, outputs)"
        )
    return model


def nodes_of(model: keras.Model) -> list[Node]:
    """The layers of a functional model in execution order.

    Raises:
        ModelError: a layer is used twice, has several outputs, or is an operator rather than a layer.
    """
    result, seen = [], set()
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            layer = node.operation
            if not isinstance(layer, keras.layers.Layer):
                raise ModelError(
                    f"`{layer.name}` is an operator ({class_name(layer)}) between layers: use a layer such "
                    "as keras.layers.Add"
                )
            if layer.name in seen:
                raise ModelError(f"layer `{layer.name}` is used more than once: give each use a layer of its own")
            if len(node.outputs) != 1:
                raise ModelError(f"layer `{layer.name}` has {len(node.outputs)} outputs; only one is supported")
            if any(size is None for size in node.outputs[0].shape[1:]):
                raise ModelError(
                    f"layer `{layer.name}` has an output of open shape {node.outputs[0].shape}: give "
                    "keras.Input a full shape"
                )
            seen.add(layer.name)
            inputs = tuple(str(tensor._keras_history.operation.name) for tensor in node.input_tensors)
            result.append(Node(layer, inputs, tuple(node.outputs[0].shape[1:])))
    return result


def canonical(model: keras.Model) -> keras.Model:
    """A copy of `model`, weights included, with BatchNorm folded and fused activation functions split off.

    Kernel regularizers stay. Layers keep their names; a split activation function is called `<layer>_<function>`.

    Args:
        model: a built functional or sequential float model; it is not changed.

    Raises:
        ModelError: a layer without a quantized form, or a BatchNorm that can't be folded.
    """
    model = functional(model)
    nodes = nodes_of(model)
    for node in nodes:
        check_supported(node.layer)
    folded = _foldable(nodes)
    by_norm = {norm.name: host for host, norm in folded.items()}

    def clone(layer: Any) -> Any:
        config = layer.get_config()
        if class_name(layer) in COMPUTE:
            config["activation"] = "linear"
            config["use_bias"] = config.get("use_bias", True) or layer.name in folded
        return type(layer).from_config(config)

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if layer.name in by_norm:
            return args[0]
        y = layer(*args, **kwargs)
        original = model.get_layer(layer.name)
        if class_name(layer) in COMPUTE and activation_name(original) != "linear":
            name = activation_name(original)
            y = keras.layers.Activation(original.activation, name=f"{layer.name}_{name}")(y)
        return y

    copy = keras.models.clone_model(model, clone_function=clone, call_function=call)
    result = graph(copy, _alone(copy.outputs), name=model.name)
    for node in nodes:
        if class_name(node.layer) in COMPUTE:
            result.get_layer(node.name).set_weights(_folded_weights(node.layer, folded.get(node.name)))
    return result


def graph(model: keras.Model, outputs: Any, name: str | None = None) -> keras.Model:
    """A model from `model`'s inputs to `outputs`, called with a tensor, not a list, where there is one input."""
    return keras.Model(_alone(model.inputs), outputs, name=name)


def _alone(tensors: list[Any]) -> Any:
    return tensors[0] if len(tensors) == 1 else tensors


def has_batch_norm(model: keras.Model) -> bool:
    """Whether a model has a BatchNorm, so that folding changes it."""
    return any(class_name(layer) == NORMALIZATION for layer in model.layers)


def _foldable(nodes: list[Node]) -> Mapping[str, Any]:
    """Compute layer to the BatchNorm behind it; an error for any other BatchNorm."""
    by_name = {node.name: node for node in nodes}
    folded: dict[str, Any] = {}
    for node in nodes:
        if class_name(node.layer) != NORMALIZATION:
            continue
        host = by_name[node.inputs[0]]
        readers = [other.name for other in nodes if host.name in other.inputs]
        axis = node.layer.axis if isinstance(node.layer.axis, int) else node.layer.axis[0]
        if class_name(host.layer) not in COMPUTE:
            reason = f"it follows `{host.name}` ({class_name(host.layer)}), which has no kernel"
        elif activation_name(host.layer) != "linear":
            reason = f"`{host.name}` applies {activation_name(host.layer)} first"
        elif len(readers) > 1:
            reason = f"`{host.name}` is also read by {', '.join(name for name in readers if name != node.name)}"
        elif axis not in (-1, len(node.shape)):
            reason = f"it normalizes axis {axis}, not the channels of `{host.name}`"
        else:
            folded[host.name] = node.layer
            continue
        raise ModelError(
            f"the BatchNormalization `{node.name}` can't be folded: {reason}; put it directly behind a "
            f"{', '.join(COMPUTE)} "
            "without activation, or remove it"
        )
    return folded


def _folded_weights(layer: Any, norm: Any) -> list[np.ndarray]:
    weights = [np.asarray(w) for w in layer.get_weights()]
    if norm is None:
        return weights
    kernel = weights[0].astype(np.float64)
    mean, variance = np.asarray(norm.moving_mean, np.float64), np.asarray(norm.moving_variance, np.float64)
    gamma = np.asarray(norm.gamma, np.float64) if norm.scale else np.ones_like(mean)
    beta = np.asarray(norm.beta, np.float64) if norm.center else np.zeros_like(mean)
    bias = weights[1].astype(np.float64) if layer.use_bias else np.zeros_like(mean)
    factor = gamma / np.sqrt(variance + norm.epsilon)
    kernel = kernel * COMPUTE[class_name(layer)].output_axis(kernel.shape, factor)
    return [kernel.astype(np.float32), (beta + factor * (bias - mean)).astype(np.float32)]
