"""Cross-layer equalization: neighbouring layers' kernels get like ranges, and the network computes what it did.

Source: M. Nagel et al., *Data-Free Quantization Through Weight Equalization and Bias Correction*, ICCV 2019,
sections 4.1.1 and 4.1.2.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from mpsearch.network.adapters import activation_name, class_name, is_clipping, is_own_function
from mpsearch.network.graph import Graph, Node, Tensor

Weights = Mapping[str, list[np.ndarray]]
"""Layer name to its weights, in Keras's order."""

_DEPTHWISE = ("DepthwiseConv1D", "DepthwiseConv2D")
_LAYERS = ("Dense", "Conv1D", "Conv2D", "Conv3D", *_DEPTHWISE)
_BY_CHANNEL = frozenset(
    {"Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "Identity", "Flatten", "Reshape"}
    | {f"{kind}{n}D" for n in (1, 2, 3) for kind in ("ZeroPadding", "Cropping", "UpSampling", "MaxPooling")}
    | {f"{kind}{n}D" for n in (1, 2, 3) for kind in ("AveragePooling", "GlobalAveragePooling", "GlobalMaxPooling")}
)
"""Layers through which a positive factor of a channel goes; of those that move values see `_keeps_channels`."""
_ROUNDS = 100
_CLOSE = 1e-4  # the rounds end when no factor is further from 1


@dataclass(frozen=True)
class Pair:
    """Two layers with nothing between them but what a positive factor of a channel goes through.

    Attributes:
        first, second: names of the layers.
    """

    first: str
    second: str


def pairs_of(graph: Graph) -> list[Pair]:
    """The pairs of a canonical model's layers that can be equalized, in network order."""
    applied: dict[str, int] = {}
    for node in graph.nodes:
        applied[node.layer_name] = applied.get(node.layer_name, 0) + 1

    def usable(node: Node) -> bool:
        known = class_name(node.layer) in _LAYERS and isinstance(node.layer, keras.layers.Layer)
        return known and applied[node.layer_name] == 1 and getattr(node.layer, "groups", 1) == 1

    found = []
    for node in graph.nodes:
        if usable(node):
            second = _reader(graph, node.tensors[0])
            if second is not None and usable(second) and _channels(second, node.layer) is not None:
                found.append(Pair(node.layer_name, second.layer_name))
    return found


def equalized(graph: Graph) -> tuple[Weights, list[Pair]]:
    """Weights of a canonical model's layers after equalization, and the pairs that were equalized.

    For each channel i between two layers whose kernels have the largest magnitudes r₁ and r₂ there, the first layer's
    kernel and bias are divided by s = √(r₁ / r₂) and the second layer's kernel is multiplied by it, so that both
    become √(r₁ · r₂); again and again, until chains of layers have settled.
    """
    pairs = pairs_of(graph)
    layers = {node.layer_name: node.layer for node in graph.nodes}
    weights = {
        name: [np.asarray(w, dtype=np.float64) for w in layers[name].get_weights()]
        for pair in pairs
        for name in (pair.first, pair.second)
    }
    for _ in range(_ROUNDS):
        furthest = 0.0
        for pair in pairs:
            first, second = layers[pair.first], layers[pair.second]
            factors = _factors(first, weights[pair.first][0], second, weights[pair.second][0])
            furthest = max(furthest, float(np.abs(factors - 1.0).max()))
            _divide(first, weights[pair.first], factors)
            weights[pair.second][0] = _by_input(second, weights[pair.second][0], factors)
        if furthest < _CLOSE:
            break
    return {name: [w.astype(np.float32) for w in arrays] for name, arrays in weights.items()}, pairs


def _factors(first: Any, kernel: np.ndarray, second: Any, reader: np.ndarray) -> np.ndarray:
    """s of each channel, (channels,); 1 where one of the kernels is zero."""
    out = kernel.reshape(*kernel.shape[:-2], 1, -1) if class_name(first) in _DEPTHWISE else kernel
    ours = np.abs(out).reshape(-1, out.shape[-1]).max(axis=0)
    count = len(ours)
    theirs = np.abs(_inputs_last(second, reader, count)).reshape(-1, count).max(axis=0)
    usable = (ours > 0) & (theirs > 0)
    return np.where(usable, np.sqrt(np.where(usable, ours, 1.0) / np.where(usable, theirs, 1.0)), 1.0)


def _divide(layer: Any, weights: list[np.ndarray], factors: np.ndarray) -> None:
    """Divide the output channels of a layer's kernel and bias."""
    kernel = weights[0]
    by = factors.reshape(kernel.shape[-2:]) if class_name(layer) in _DEPTHWISE else factors
    weights[0] = kernel / by
    if len(weights) > 1:
        weights[1] = weights[1] / factors


def _inputs_last(layer: Any, kernel: np.ndarray, count: int) -> np.ndarray:
    """A kernel with the channels that it reads as last axis, of `count` entries."""
    if class_name(layer) in _DEPTHWISE:
        return np.swapaxes(kernel, -1, -2)
    if class_name(layer) == "Dense":  # behind a Flatten the channels come again and again
        return np.swapaxes(kernel.reshape(-1, count, kernel.shape[-1]), -1, -2)
    return np.swapaxes(kernel, -1, -2)


def _by_input(layer: Any, kernel: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """A kernel with each channel that it reads multiplied."""
    if class_name(layer) == "Dense":
        return np.asarray((kernel.reshape(-1, len(factors), kernel.shape[-1]) * factors[:, None]).reshape(kernel.shape))
    return np.asarray(kernel * factors[:, None])


def _channels(second: Node, first: Any) -> int | None:
    """Channels between two layers; None where the second reads something else."""
    made = int(first.kernel.shape[-1] * (first.kernel.shape[-2] if class_name(first) in _DEPTHWISE else 1))
    axis = -2 if class_name(second.layer) != "Dense" else 0
    read = int(second.layer.kernel.shape[axis])
    return made if read == made or (class_name(second.layer) == "Dense" and read % made == 0) else None


def _reader(graph: Graph, tensor: Tensor) -> Node | None:
    """The layer with a kernel that alone reads a tensor, through what keeps factors; None where there is none."""
    results = set(graph.output_tensors)
    while tensor not in results and len(graph.readers[tensor]) == 1:
        node = graph.readers[tensor][0]
        if class_name(node.layer) in _LAYERS:
            return node
        if len(node.inputs) != 1 or not _keeps_factors(node, graph):
            return None
        tensor = node.tensors[0]
    return None


def _keeps_factors(node: Node, graph: Graph) -> bool:
    """Whether f(s · x) = s · f(x) for a positive factor s of each channel."""
    layer, kind = node.layer, class_name(node.layer)
    if kind in ("Flatten", "Reshape"):
        before = graph.by_name[node.inputs[0].node].shapes[node.inputs[0].output]
        return node.shape[-1] % before[-1] == 0 if kind == "Flatten" else node.shape[-1] == before[-1]
    if kind in _BY_CHANNEL and isinstance(layer, keras.layers.Layer):
        return getattr(layer, "data_format", "channels_last") == "channels_last"
    if kind == "LeakyReLU":
        return True
    if kind == "Activation" and not is_own_function(layer):
        return activation_name(layer) in ("linear", "relu", "leaky_relu")
    return is_clipping(layer) or (kind == "ReLU" and layer.max_value is None and not layer.threshold)
