"""What a device executes for a canonical model, one operation after another, and the feature maps between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import keras

from mpsearch.config import Role
from mpsearch.facts import OperationFacts, ProductFacts, TensorFacts
from mpsearch.network.adapters import Output, activation_name, adapter_of, class_name, is_function
from mpsearch.network.graph import Graph, Node, Tensor

VIEWS = frozenset(("Flatten", "Reshape", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D",
    "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization", "StochasticDepth", "Identity",
    "Masking", "Squeeze", "ExpandDims", "Ravel"))  # fmt: skip
"""Layers and operators whose output is their input, perhaps in another shape."""
ELEMENTWISE = frozenset(("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Maximum", "Minimum", "Power",
    "Average", "BatchNormalization", "LayerScale", "Softmax"))  # fmt: skip
"""Layers and operators, besides activation functions, that make each value of the values at its place."""
RECURRENT = "recurrent_kernel"
_STATES = {"LSTM": 2}


@dataclass(frozen=True)
class Execution:
    """How a model is executed.

    Attributes:
        tensors, operations, outputs: as of `ModelFacts`.
    """

    tensors: tuple[TensorFacts, ...]
    operations: tuple[OperationFacts, ...]
    outputs: tuple[str, ...]


def execution_of(
    graph: Graph,
    owners: Mapping[Tensor, Tensor],
    sources: Mapping[Tensor, tuple[str, ...]],
    states: Mapping[str, str],
) -> Execution:
    """How a canonical model is executed.

    Args:
        graph: of the model.
        owners: tensor that is quantized to the one whose site that is, before functions.
        sources: tensor to the sites whose codes it holds.
        states: recurrent layer to the site of its state.
    """
    made_at_last = {owner: last for last, owner in owners.items()}
    fused = _fused(graph, owners)
    seen_as: dict[Tensor, Tensor] = {}
    tensors: dict[Tensor, TensorFacts] = {}
    operations: list[OperationFacts] = []
    for node in graph.nodes:
        if node.name in fused:
            continue
        if _is_view(node):
            seen_as[node.tensors[0]] = seen_as.get(node.inputs[0], node.inputs[0])
            continue
        finals = [made_at_last.get(tensor, tensor) for tensor in node.tensors]
        for tensor, final in zip(node.tensors, finals, strict=True):
            name = node.name if len(finals) == 1 else f"{node.name}:{tensor.output}"
            shape = graph.by_name[final.node].shapes[final.output]
            tensors[final] = TensorFacts(name, shape, () if _is_float(node) else sources.get(final, ()))
        if not node.is_input:
            read = [tensors[seen_as.get(tensor, tensor)] for tensor in node.inputs]
            ends = tuple(dict.fromkeys(t.name for t in read)), tuple(tensors[final].name for final in finals)
            rescales = any(final in owners for final in finals)
            operations.append(_operation(node, graph, ends, [tensor.sites for tensor in read], rescales, states))
    outputs = [tensors[seen_as.get(tensor, tensor)].name for tensor in graph.output_tensors]
    return Execution(tuple(tensors.values()), tuple(operations), tuple(dict.fromkeys(outputs)))


def _operation(
    node: Node,
    graph: Graph,
    ends: tuple[tuple[str, ...], tuple[str, ...]],
    read: Sequence[tuple[str, ...]],
    rescales: bool,
    states: Mapping[str, str],
) -> OperationFacts:
    """An operation; `ends` are its inputs and outputs, `read` the sites of each input."""
    adapter, kind = adapter_of(node.layer), class_name(node.layer)
    sites: dict[Role, list[str]] = {Role.KERNEL: [], Role.BIAS: []}
    state = states.get(node.layer_name)
    products = _between(node, graph, *read) if kind == "Matmul" else []
    for weight in adapter.weights:
        variable = weight.of(node.layer)
        if variable is None:
            continue
        site = f"{node.layer_name}/{weight.name}"
        sites[weight.role].append(site)
        if weight.role is Role.KERNEL:
            shape = tuple(variable.shape)
            macs = adapter.macs(shape, graph.by_name[node.inputs[0].node].shapes[node.inputs[0].output], node.shape)
            if macs:
                fan_in = _fan_in(node.layer, kind, shape, weight.scales(shape), -(-macs // node.elements))
                recurrent = state is not None and weight.name == RECURRENT
                products.append(ProductFacts(site, (state,) if state and recurrent else read[0], macs, fan_in))
    return OperationFacts(
        node.name,
        kind,
        *ends,
        tuple(sites[Role.KERNEL]),
        tuple(sites[Role.BIAS]),
        tuple(products),
        in_place=kind in ELEMENTWISE or adapter.output is Output.FUNCTION,
        rescales=rescales,
        states=() if state is None else (state,) * _STATES.get(kind, 1),
    )


def _between(node: Node, graph: Graph, first: tuple[str, ...], second: tuple[str, ...]) -> list[ProductFacts]:
    """Products of two feature maps with each other; those of several sites are divided evenly among them.

    Where both are float there is no site, and they are left out.
    """
    left = node.inputs[0]
    fan_in = graph.by_name[left.node].shapes[left.output][-1]
    macs = node.elements * fan_in
    factors, others = (second, first) if second else (first, second)
    shares = [macs // len(factors) + (n < macs % len(factors)) for n in range(len(factors))]
    return [ProductFacts(site, others, share, fan_in) for site, share in zip(factors, shares, strict=True)]


def _fan_in(layer: Any, kind: str, shape: tuple[int, ...], scales: int, mean: int) -> int:
    """Products of a kernel that are summed for one value, at most; `mean` of them on average."""
    if kind.startswith("Depthwise"):
        return prod(shape[:-2])
    if kind.endswith("Transpose"):  # kernel (…, out, in): of its positions each stride-th meets a value
        return prod(-(-size // step) for size, step in zip(shape[:-2], layer.strides, strict=True)) * shape[-1]
    if kind in ("LSTM", "GRU", "SimpleRNN"):
        return shape[0]
    return prod(shape) // scales if scales > 1 else mean


def _fused(graph: Graph, owners: Mapping[Tensor, Tensor]) -> set[str]:
    """Nodes of activation functions that are executed with the layer before."""
    found: set[str] = set()
    for last, owner in owners.items():
        tensor = last
        while tensor != owner:
            found.add(tensor.node)
            tensor = graph.by_name[tensor.node].inputs[0]
    return found


def _is_float(node: Node) -> bool:
    """Whether a layer's output is never quantized, as a softmax's."""
    if node.is_input:
        return False
    adapter = adapter_of(node.layer)
    softmax = adapter.output is Output.FUNCTION and activation_name(node.layer) == "softmax"
    return softmax or adapter.output is Output.FLOAT


def _is_view(node: Node) -> bool:
    if node.is_input or len(node.inputs) != 1 or class_name(node.layer) not in VIEWS:
        return False
    return not isinstance(node.layer, keras.layers.Layer) or not is_function(node.layer) or _is_identity(node.layer)


def _is_identity(layer: Any) -> bool:
    return class_name(layer) == "Identity"
