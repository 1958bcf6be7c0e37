"""Bring a float model into the form that hardware runs: BatchNorm folded, activation functions on their own.

Folding follows B. Jacob et al., *Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference*, CVPR 2018, section 3.2: with g = γ/√(σ² + ε), the kernel becomes g·w and the
bias β + g·(b - μ). It is exact for inference and computed in float64. A BatchNorm that can't be folded becomes the
same scale and shift per channel, y = γ'·x + β' with γ' = g and β' = β - g·μ.
"""

import warnings
from collections.abc import Mapping
from types import FunctionType
from typing import Any

import keras
import numpy as np

from mpsearch.errors import ModelError
from mpsearch.network.adapters import (
    LAYERS,
    SPLIT,
    activation_name,
    adapter_of,
    check_precision,
    class_name,
    splits_activation,
)
from mpsearch.network.graph import Graph, Node, functional, graph_of, rebuild

NORMALIZATION = "BatchNormalization"


def canonical(model: keras.Model, keep_batch_norm: bool = True) -> keras.Model:
    """A flat copy of `model`, weights included, with BatchNorm folded and fused activation functions split off.

    Kernel regularizers stay. Layers keep their names, those of nested models have the model's name in front; a
    split activation function is called `<layer>_<function>`; separable convolutions become `<layer>_depthwise`
    and `<layer>_pointwise`; a Conv2D with a group for each channel becomes a DepthwiseConv2D.

    Args:
        model: a built functional or sequential float model; it is not changed.
        keep_batch_norm: whether a BatchNorm that can't be folded becomes a scale and shift of its own.

    Raises:
        ModelError: a layer without a quantized form, or, unless `keep_batch_norm`, a BatchNorm that can't be folded.
    """
    functional(model)
    graph = graph_of(model)
    for node in graph.nodes:
        check_precision(node.layer, node.layer_name)
        if class_name(node.layer) not in SPLIT:
            adapter_of(node.layer, node.layer_name)
    folded = _foldable(graph, keep_batch_norm)
    by_norm = {norm.layer_name for norm in folded.values()}
    copies: dict[str, Any] = {}
    weights: list[tuple[Any, list[np.ndarray]]] = []

    def copy_of(node: Node) -> list[Any]:
        """The copied layer, or the two that it becomes."""
        if node.layer_name not in copies:
            made, arrays = _copies(node, folded.get(node.layer_name))
            copies[node.layer_name] = made
            weights.extend(zip(made, arrays, strict=True))
        return copies[node.layer_name]

    def call(node: Node, args: Any, kwargs: Any) -> Any:
        layer = node.layer
        if not isinstance(layer, keras.layers.Layer):
            return layer(*args, **kwargs)
        if node.layer_name in by_norm:
            return args[0]
        if class_name(layer) == NORMALIZATION:
            return copy_of(node)[0](args[0], training=False)
        if class_name(layer) in SPLIT:
            first, second = copy_of(node)
            y = second(first(args[0]))
        else:
            y = copy_of(node)[0](*args, **kwargs)
        if class_name(layer) in SPLIT or splits_activation(layer):
            name = activation_name(layer)
            if name != "linear":
                y = keras.layers.Activation(layer.activation, name=f"{node.name}_{name}")(y)
        return y

    result = rebuild(graph, call)
    for layer, arrays in weights:
        layer.set_weights(arrays)
        if class_name(layer) == "Normalization":
            layer.finalize_state()
    return result


def has_batch_norm(model: keras.Model) -> bool:
    """Whether a model has a BatchNorm, so that folding changes it."""
    return any(class_name(node.layer) == NORMALIZATION for node in graph_of(model).nodes)


def copied(layer: Any, name: str, **changes: Any) -> Any:
    """A new layer of the same class and options; plain functions among them, such as a lambda, are handed over."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The object being serialized includes a `lambda`", UserWarning)
        try:
            given = layer.get_config()
        except OSError:  # Keras looks for a lambda's source
            raise ModelError(
                f"layer `{name}` has a lambda without a source file: decorate a function of its own with "
                "keras.saving.register_keras_serializable() and give that"
            ) from None
    functions = {
        option: getattr(layer, option)
        for option, value in given.items()
        if isinstance(value, dict) and isinstance(getattr(layer, option, None), FunctionType)
    }
    return type(layer).from_config({**given, "name": name, **functions, **changes})


def _copies(node: Node, norm: Node | None) -> tuple[list[Any], list[list[np.ndarray]]]:
    """The layers that a layer becomes, and their weights."""
    layer, kind = node.layer, class_name(node.layer)
    if kind in SPLIT:
        return _separated(node, norm)
    if kind == NORMALIZATION:
        made = keras.layers.BatchNormalization(axis=layer.axis, epsilon=0.0, name=node.layer_name, trainable=True)
        scale, shift = _scale_and_shift(layer)
        return [made], [[a.astype(np.float32) for a in (scale, shift, np.zeros_like(scale), np.ones_like(scale))]]
    changes: dict[str, Any] = {}
    if splits_activation(layer):
        changes["activation"] = "linear"
    if norm is not None:
        changes["use_bias"] = True
    depthwise = _is_depthwise(layer)
    make = _depthwise if depthwise else copied
    made = make(layer, node.layer_name, **changes)
    arrays = [np.asarray(w) for w in layer.get_weights()]
    if norm is not None:
        kernel, bias = _folded(arrays[0], arrays[1] if layer.use_bias else None, norm.layer, LAYERS[kind].channels)
        arrays = [kernel, bias]
    if depthwise:
        arrays[0] = np.swapaxes(arrays[0], 2, 3)
    return [made], [arrays]


def _is_depthwise(layer: Any) -> bool:
    """Whether a Conv2D has a group of its own for each channel, as ConvNeXt writes its depthwise convolutions.

    TensorFlow has no grouped convolution on a CPU, so Keras compiles each with XLA, outside a graph at every call.
    """
    if type(layer) is not keras.layers.Conv2D or layer.data_format != "channels_last" or layer.kernel_constraint:
        return False
    # TensorFlow's depthwise convolution has one stride for both directions
    return layer.groups > 1 and layer.kernel.shape[2:] == (1, layer.groups) and len(set(layer.strides)) == 1


def _depthwise(layer: Any, name: str, use_bias: bool | None = None, activation: str = "linear") -> Any:
    """The DepthwiseConv2D that computes what a Conv2D with a group for each channel does, without its weights."""
    return keras.layers.DepthwiseConv2D(
        layer.kernel_size,
        strides=layer.strides,
        padding=layer.padding,
        dilation_rate=layer.dilation_rate,
        data_format=layer.data_format,
        activation=activation,
        use_bias=layer.use_bias if use_bias is None else use_bias,
        depthwise_regularizer=layer.kernel_regularizer,
        bias_regularizer=layer.bias_regularizer,
        activity_regularizer=layer.activity_regularizer,
        bias_constraint=layer.bias_constraint,
        name=name,
        trainable=layer.trainable,
    )


def _separated(node: Node, norm: Node | None) -> tuple[list[Any], list[list[np.ndarray]]]:
    """A separable convolution as a depthwise and a pointwise one."""
    layer = node.layer
    one = class_name(layer) == "SeparableConv1D"
    depthwise, pointwise = (
        (keras.layers.DepthwiseConv1D, keras.layers.Conv1D)
        if one
        else (keras.layers.DepthwiseConv2D, keras.layers.Conv2D)
    )
    first = depthwise(
        layer.kernel_size,
        strides=layer.strides,
        padding=layer.padding,
        depth_multiplier=layer.depth_multiplier,
        dilation_rate=layer.dilation_rate,
        data_format=layer.data_format,
        use_bias=False,
        depthwise_regularizer=layer.depthwise_regularizer,
        name=f"{node.layer_name}_depthwise",
    )
    second = pointwise(
        layer.filters,
        1,
        data_format=layer.data_format,
        use_bias=layer.use_bias or norm is not None,
        kernel_regularizer=layer.pointwise_regularizer,
        bias_regularizer=layer.bias_regularizer,
        name=f"{node.layer_name}_pointwise",
    )
    arrays = [np.asarray(w) for w in layer.get_weights()]
    last = arrays[1:]
    if norm is not None:
        last = _folded(arrays[1], arrays[2] if layer.use_bias else None, norm.layer, LAYERS["Conv2D"].channels)
    return [first, second], [arrays[:1], last]


def _foldable(graph: Graph, keep: bool) -> Mapping[str, Node]:
    """Layer name to the BatchNorm behind it that is folded into it; unless `keep`, an error for any other."""
    by_name, readers = graph.by_name, graph.readers
    times: dict[str, int] = {}
    for node in graph.nodes:
        times[node.layer_name] = times.get(node.layer_name, 0) + 1
    folded: dict[str, Node] = {}
    for node in graph.nodes:
        if class_name(node.layer) != NORMALIZATION:
            continue
        host = by_name[node.inputs[0].node]
        others = [other.name for other in readers[node.inputs[0]] if other is not node]
        axis = node.layer.axis if isinstance(node.layer.axis, int) else node.layer.axis[0]
        split = class_name(host.layer) in SPLIT
        if not split and (not isinstance(host.layer, keras.layers.Layer) or adapter_of(host.layer).channels is None):
            reason = f"it follows `{host.name}` ({class_name(host.layer)}), which has no kernel to fold it into"
        elif activation_name(host.layer) != "linear":
            reason = f"`{host.name}` applies {activation_name(host.layer)} first"
        elif others or node.inputs[0] in graph.output_tensors:
            reason = f"`{host.name}` is also read by {', '.join(others) or 'the model as an output'}"
        elif max(times[host.layer_name], times[node.layer_name]) > 1:
            reason = f"`{host.layer_name}` or `{node.layer_name}` is applied more than once"
        elif axis not in (-1, len(node.shape)):
            reason = f"it normalizes axis {axis}, not the channels of `{host.name}`"
        else:
            folded[host.layer_name] = node
            continue
        if keep:
            continue
        raise ModelError(
            f"the BatchNormalization `{node.name}` can't be folded: {reason}; keep it as a scale and shift of its own "
            'with Space(…, batch_norm="keep"), or put it directly behind a convolution or Dense without activation'
        )
    return folded


def _scale_and_shift(norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """A BatchNorm's g and β - g·μ, float64."""
    mean, variance = np.asarray(norm.moving_mean, np.float64), np.asarray(norm.moving_variance, np.float64)
    gamma = np.asarray(norm.gamma, np.float64) if norm.scale else np.ones_like(mean)
    beta = np.asarray(norm.beta, np.float64) if norm.center else np.zeros_like(mean)
    factor = gamma / np.sqrt(variance + norm.epsilon)
    return factor, beta - factor * mean


def _folded(kernel: np.ndarray, bias: np.ndarray | None, norm: Any, channels: Any) -> list[np.ndarray]:
    factor, shift = _scale_and_shift(norm)
    wide = kernel.astype(np.float64) * channels(kernel.shape, factor)
    moved = shift if bias is None else shift + factor * bias.astype(np.float64)
    return [wide.astype(np.float32), moved.astype(np.float32)]
