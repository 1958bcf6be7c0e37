"""Functional models as flat lists of nodes, and back.

Nested models are opened: their layers carry the model's name in front (`encoder.conv`). A layer that is applied
several times has a node for each time (`dense`, `dense.2`); the nodes share the layer, and so its weights.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from inspect import signature
from itertools import count
from math import prod
from typing import Any

import keras

from mpsearch.errors import ModelError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Tensor:
    """One output of a node: the node's name and the output's number."""

    node: str
    output: int = 0


@dataclass(frozen=True)
class Node:
    """One application of a layer or operator.

    Attributes:
        name: unique in the graph.
        layer_name: of the layer, with the names of the nested models around it.
        layer: the Keras layer or operator.
        inputs: the tensors that it reads, in order.
        shapes: of its outputs, without the batch dimension.
        arguments: of the call, (args, kwargs), with a `Tensor` in place of each symbolic tensor; a layer's first
            argument is in args, however the call gave it.
        symbolic: its outputs in the Keras model that the graph was made of, or in a model nested there.
    """

    name: str
    layer_name: str
    layer: Any
    inputs: tuple[Tensor, ...]
    shapes: tuple[Shape, ...]
    arguments: tuple[Any, Any]
    symbolic: tuple[Any, ...] = field(compare=False, repr=False)

    @property
    def shape(self) -> Shape:
        """Of the first output."""
        return self.shapes[0]

    @property
    def elements(self) -> int:
        """Values of the first output, batch dimension left out."""
        return prod(self.shape)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Its outputs."""
        return tuple(Tensor(self.name, i) for i in range(len(self.shapes)))

    @property
    def is_input(self) -> bool:
        """Whether it is an input of the model."""
        return isinstance(self.layer, keras.layers.InputLayer)


@dataclass(frozen=True)
class Graph:
    """A functional model, flat.

    Attributes:
        name: of the model.
        nodes: in an order in which they can be computed.
        inputs, outputs: structures (a tensor, a list or a dict) of `Tensor`, as the model takes and gives them.
    """

    name: str
    nodes: tuple[Node, ...]
    inputs: Any
    outputs: Any

    @cached_property
    def by_name(self) -> dict[str, Node]:
        """Node name to node."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def readers(self) -> dict[Tensor, list[Node]]:
        """Tensor to the nodes that read it."""
        found: dict[Tensor, list[Node]] = {tensor: [] for node in self.nodes for tensor in node.tensors}
        for node in self.nodes:
            for tensor in dict.fromkeys(node.inputs):
                found[tensor].append(node)
        return found

    @property
    def output_tensors(self) -> list[Tensor]:
        """The model's outputs, in order."""
        return list(keras.tree.flatten(self.outputs))


def functional(model: Any) -> keras.Model:
    """`model`, if it has a graph of layers; for a Sequential the functional model inside it.

    Raises:
        ModelError: it isn't built, or it is subclassed.
    """
    if not isinstance(model, keras.Model):
        raise ModelError(f"expected a keras.Model, but got {type(model).__name__}")
    if isinstance(model, keras.Sequential):
        if not model.built or getattr(model, "_functional", None) is None:
            raise ModelError(f"the model `{model.name}` isn't built: start it with keras.Input(shape=…)")
        return model._functional
    if not _has_graph(model):
        raise ModelError(
            f"the model `{model.name}` is a subclass of keras.Model without a graph of layers: "
            "build it with the functional API, keras.Model(inputs, outputs)"
        )
    return model


def graph_of(model: keras.Model) -> Graph:
    """A model's graph.

    Raises:
        ModelError: the model isn't a functional one, or a shape is open.
    """
    opened = functional(model)
    nodes: list[Node] = []
    owners: dict[str, Any] = {}  # layer name -> layer
    applied: dict[str, int] = {}  # layer name -> number of nodes

    def named(layer: Any, layer_name: str) -> str:
        if owners.setdefault(layer_name, layer) is not layer:
            raise ModelError(f"two layers of `{model.name}` are called `{layer_name}`: rename one")
        applied[layer_name] = applied.get(layer_name, 0) + 1
        return layer_name if applied[layer_name] == 1 else f"{layer_name}.{applied[layer_name]}"

    def walk(part: Any, bound: dict[int, Tensor], prefix: str) -> None:
        for node in _in_order(part):
            layer = node.operation
            if all(id(tensor) in bound for tensor in node.outputs):
                continue  # an input of a nested model
            args, kwargs = keras.tree.map_structure(
                lambda leaf: bound[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf,
                _first_in_front(layer, node.arguments.args, node.arguments.kwargs),
            )
            if _is_model(layer):
                inner = functional(layer)
                given = [leaf for leaf in keras.tree.flatten((args, kwargs)) if isinstance(leaf, Tensor)]
                if len(given) != len(inner.inputs):
                    raise ModelError(
                        f"the nested model `{prefix}{layer.name}` has {len(inner.inputs)} inputs, but is "
                        f"called with {len(given)} tensors"
                    )
                inside = {id(tensor): source for tensor, source in zip(inner.inputs, given, strict=True)}
                walk(inner, inside, f"{prefix}{layer.name}.")
                for outer, tensor in zip(node.outputs, inner.outputs, strict=True):
                    bound[id(outer)] = inside[id(tensor)]
                continue
            layer_name = f"{prefix}{layer.name}"
            name = named(layer, layer_name)
            shapes = tuple(tuple(tensor.shape[1:]) for tensor in node.outputs)
            for shape, tensor in zip(shapes, node.outputs, strict=True):
                if any(size is None for size in shape):
                    raise ModelError(
                        f"layer `{layer_name}` has an output of open shape {tensor.shape}: give keras.Input a full "
                        "shape"
                    )
            inputs = tuple(leaf for leaf in keras.tree.flatten((args, kwargs)) if isinstance(leaf, Tensor))
            made = Node(name, layer_name, layer, inputs, shapes, (args, kwargs), tuple(node.outputs))
            bound.update(zip((id(tensor) for tensor in node.outputs), made.tensors, strict=True))
            nodes.append(made)

    bound: dict[int, Tensor] = {}
    walk(opened, bound, "")
    inputs, outputs = (
        keras.tree.map_structure(lambda tensor: bound[id(tensor)], structure)
        for structure in (opened._inputs_struct, opened._outputs_struct)
    )
    return Graph(model.name, tuple(nodes), inputs, outputs)


def rebuild(
    graph: Graph,
    call: Callable[[Node, Any, Any], Any],
    after: Callable[[Tensor, Any], Any] = lambda tensor, value: value,
) -> keras.Model:
    """A new functional model of a graph.

    Args:
        graph: of another model.
        call: (node, args, kwargs) to its outputs: a symbolic tensor, or several in any structure.
        after: (tensor, its symbolic value) to what its readers get; the model's own inputs are asked for too.
    """
    values: dict[Tensor, Any] = {}
    raw: dict[Tensor, Any] = {}
    for node in graph.nodes:
        if node.is_input:
            batch_shape = (None, *node.layer.batch_shape[1:])
            found = [keras.Input(batch_shape=batch_shape, dtype=node.layer.dtype, name=node.name)]
            raw[node.tensors[0]] = found[0]
        else:
            args, kwargs = keras.tree.map_structure(
                lambda leaf: values[leaf] if isinstance(leaf, Tensor) else leaf, node.arguments
            )
            found = keras.tree.flatten(call(node, args, kwargs))
        for tensor, value in zip(node.tensors, found, strict=True):
            values[tensor] = after(tensor, value)
    inputs = keras.tree.map_structure(lambda tensor: raw[tensor], graph.inputs)
    outputs = keras.tree.map_structure(lambda tensor: values[tensor], graph.outputs)
    return keras.Model(inputs, outputs, name=graph.name)


def map_tensors(arguments: Any, change: Callable[[int, Any], Any]) -> Any:
    """Arguments of a call with each symbolic tensor changed by (its number among them, itself)."""
    numbers = count()
    return keras.tree.map_structure(
        lambda leaf: change(next(numbers), leaf) if isinstance(leaf, keras.KerasTensor) else leaf, arguments
    )


def submodel(model: keras.Model, outputs: Any) -> keras.Model:
    """A functional model from `model`'s inputs, structure kept, to some of its symbolic tensors."""
    return keras.Model(functional(model)._inputs_struct, outputs)


def alone(tensors: list[Any]) -> Any:
    """Inputs or outputs as models with one, or with several, take and give them."""
    return tensors[0] if len(tensors) == 1 else tensors


def _in_order(part: Any) -> Iterator[Any]:
    for depth in sorted(part._nodes_by_depth, reverse=True):
        yield from part._nodes_by_depth[depth]


def _first_in_front(layer: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Arguments of a call, with a layer's first one in args where the call gave it by its name."""
    if args or not kwargs or not isinstance(layer, keras.layers.Layer):
        return args, kwargs
    first = next(iter(signature(layer.call).parameters))
    if first not in kwargs:
        return args, kwargs
    return (kwargs[first],), {name: value for name, value in kwargs.items() if name != first}


def _has_graph(model: Any) -> bool:
    return bool(getattr(model, "inputs", None)) and bool(getattr(model, "_nodes_by_depth", None))


def _is_model(layer: Any) -> bool:
    return isinstance(layer, keras.Sequential) or (isinstance(layer, keras.Model) and _has_graph(layer))
