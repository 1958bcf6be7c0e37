"""Where quantizers go: the sites of a canonical model, and its facts.

Activation sites are: model inputs (behind the change of unit that follows); the output of each layer that computes
new values, behind its activation function; functions applied on their own; and, on demand, those inputs of merges
that other layers read too (an input that only the merge reads is requantized by its own site). Layers that only
move or select values keep the codes of their input and have no site. A site is called after the layer that computes
the values: `conv_0/activation`, for a layer's second application `conv_0.2/activation`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras

from mpsearch.config import Role
from mpsearch.facts import LayerFacts, ModelFacts, SiteFacts
from mpsearch.network.adapters import (
    INPUT_UNITS,
    SPLIT,
    Output,
    activation_name,
    adapter_of,
    can_be_negative,
    class_name,
    is_clipping,
    is_function,
)
from mpsearch.network.canonical import NORMALIZATION, canonical
from mpsearch.network.graph import Graph, Node, Tensor, graph_of, map_tensors, rebuild
from mpsearch.network.operations import execution_of

STATE = "state"


@dataclass(frozen=True)
class Placement:
    """The sites of a canonical model.

    Attributes:
        graph: of the canonical model.
        facts: of all sites, in network order.
        outputs: tensor that is quantized to its site's name.
        merge_inputs: merging node to the sites of its inputs, in order; None for an input without a site of its own.
        states: recurrent layer to the site of its state.
        tensors: activation site to the tensor that it quantizes.
    """

    graph: Graph
    facts: ModelFacts
    outputs: Mapping[Tensor, str]
    merge_inputs: Mapping[str, tuple[str | None, ...]]
    states: Mapping[str, str]
    tensors: Mapping[str, Tensor]


def place_sites(
    model: keras.Model,
    original: keras.Model | None = None,
    nonnegative_inputs: bool = False,
    requantize_merge_inputs: bool = False,
) -> Placement:
    """Find the sites of a canonical model.

    Args:
        model: the result of `canonical`.
        original: the user's model, whose layers patterns may name; default: `model`.
        nonnegative_inputs: whether the model's inputs can't be below zero.
        requantize_merge_inputs: whether inputs of merges that other layers read too are sites.
    """
    graph = graph_of(model)
    user_graph = graph if original is None else graph_of(original)
    readers = graph.readers
    owners = _owners(graph)
    user_layers = _user_layers(graph, user_graph)
    negative: dict[Tensor, bool] = {}
    sources: dict[Tensor, tuple[str, ...]] = {}  # tensor -> activation sites that it is made of
    sites: dict[str, SiteFacts] = {}
    merge_inputs: dict[str, tuple[str | None, ...]] = {}
    states: dict[str, str] = {}
    tensors: dict[str, Tensor] = {}

    def add(
        name: str,
        node: Node,
        role: Role,
        shape: tuple[int, ...],
        macs: int,
        below: bool,
        read: tuple[str, ...],
        scales: int = 1,
    ) -> None:
        if name in sites:  # of a layer that is applied again
            known = sites[name]
            joined = tuple(dict.fromkeys((*known.producers, *read)))
            sites[name] = replace(known, macs=known.macs + macs, producers=joined)
            return
        layer, layer_class = user_layers.get(node.layer_name, (node.layer_name, class_name(node.layer)))
        sites[name] = SiteFacts(name, layer, layer_class, role, shape, macs, below, read, scales)

    for node in graph.nodes:
        below = [negative[tensor] for tensor in node.inputs]
        negative.update(
            dict.fromkeys(node.tensors, not nonnegative_inputs if node.is_input else can_be_negative(node.layer, below))
        )
        adapter = adapter_of(node.layer)
        read = tuple(dict.fromkeys(site for tensor in node.inputs for site in sources[tensor]))
        if adapter.merges and requantize_merge_inputs and len(node.inputs) > 1:
            names: list[str | None] = []
            for i, tensor in enumerate(node.inputs):
                if len(readers[tensor]) == 1:
                    names.append(None)
                    continue
                site = f"{node.name}/input_{i}"
                shape = graph.by_name[tensor.node].shapes[tensor.output]
                add(site, node, Role.ACTIVATION, shape, 0, negative[tensor], sources[tensor])
                names.append(site)
                tensors[site] = tensor
            merge_inputs[node.name] = tuple(names)
            own = [sources[t] if site is None else (site,) for t, site in zip(node.inputs, names, strict=True)]
            read = tuple(dict.fromkeys(site for group in own for site in group))
        for weight in adapter.weights:
            variable = weight.of(node.layer)
            if variable is not None:
                shape = tuple(variable.shape)
                inputs = graph.by_name[node.inputs[0].node].shapes[node.inputs[0].output]
                macs = adapter.macs(shape, inputs, node.shape) if weight.role is Role.KERNEL else 0
                site, scales = f"{node.layer_name}/{weight.name}", weight.scales(shape)
                add(site, node, weight.role, shape, macs, True, read, scales)
        if adapter.recurrent:
            site = states[node.layer_name] = f"{node.layer_name}/{STATE}"
            add(site, node, Role.ACTIVATION, (node.layer.units,), 0, True, read)
        sources.update(dict.fromkeys(node.tensors, read))
        for tensor in node.tensors:
            if tensor in owners:
                owner = graph.by_name[owners[tensor].node]
                number = owners[tensor].output
                site = f"{owner.name}/activation" + (f"_{number}" if number else "")
                add(site, owner, Role.ACTIVATION, node.shapes[tensor.output], 0, negative[tensor], read)
                sources[tensor] = (site,)
                tensors[site] = tensor
    parts = _parts(owners, graph, user_graph)
    layers = {node.layer_name: class_name(node.layer) for node in user_graph.nodes}
    execution = execution_of(graph, owners, sources, states)
    facts = ModelFacts(
        model.name if original is None else original.name,
        tuple(sites.values()),
        tuple(LayerFacts(name, kind, parts.get(name)) for name, kind in layers.items()),
        input_elements=sum(node.elements for node in graph.nodes if node.is_input),
        softmax_elements=sum(
            user_graph.by_name[tensor.node].elements
            for tensor in user_graph.output_tensors
            if _is_softmax_of_its_own(user_graph.by_name[tensor.node])
        ),
        tensors=execution.tensors,
        operations=execution.operations,
        outputs=execution.outputs,
    )
    outputs = {tensor: site for site, tensor in tensors.items() if not _is_merge_input(site, merge_inputs)}
    return Placement(graph, facts, outputs, merge_inputs, states, tensors)


def with_quantizers(
    placement: Placement, feature_map: Callable[[str, Any], Any], copy: Callable[[Node], Any]
) -> keras.Model:
    """A new model of a canonical one, with something put at each activation site and in place of each layer.

    Args:
        placement: of the canonical model.
        feature_map: (activation site, symbolic tensor) to what its readers get.
        copy: a layer's node to the layer that takes its place; asked once for each layer, however often applied.
    """
    copies: dict[str, Any] = {}

    def at(site: str | None, value: Any) -> Any:
        return value if site is None else feature_map(site, value)

    def call(node: Node, args: Any, kwargs: Any) -> Any:
        if node.name in placement.merge_inputs:
            sites = placement.merge_inputs[node.name]
            args, kwargs = map_tensors((args, kwargs), lambda i, x: at(sites[i], x))
        if not isinstance(node.layer, keras.layers.Layer):
            return node.layer(*args, **kwargs)
        if node.layer_name not in copies:
            copies[node.layer_name] = copy(node)
        return copies[node.layer_name](*args, **kwargs)

    return rebuild(placement.graph, call, lambda tensor, value: at(placement.outputs.get(tensor), value))


def facts_of(
    model: keras.Model,
    nonnegative_inputs: bool = False,
    requantize_merge_inputs: bool = False,
    keep_batch_norm: bool = True,
) -> ModelFacts:
    """Site facts of a float model, as a search and a cost see it: BatchNorm folded.

    Options as in `place_sites` and `canonical`.

    Raises:
        ModelError: the model can't be quantized.
    """
    form = canonical(model, keep_batch_norm)
    return place_sites(form, model, nonnegative_inputs, requantize_merge_inputs).facts


def _owners(graph: Graph) -> dict[Tensor, Tensor]:
    """Tensor that is quantized to the tensor whose site that is: the same one, or one before functions.

    A tensor that nothing reads has none, such as the sequence of a recurrent layer of which only the states are used.
    """
    readers = graph.readers
    results = set(graph.output_tensors)

    def behind(tensor: Tensor, moves: Callable[[Node], bool]) -> list[Node]:
        """The chain of functions, one behind the other, that alone read a tensor."""
        chain: list[Node] = []
        while len(readers[tensor]) == 1 and tensor not in results:
            follower = readers[tensor][0]
            if not moves(follower):
                break
            chain.append(follower)
            tensor = follower.tensors[0]
        return chain

    def function(node: Node) -> bool:
        return len(node.inputs) == 1 and is_function(node.layer)

    def unit(node: Node) -> bool:
        arithmetic = not isinstance(node.layer, keras.layers.Layer)
        return function(node) and (
            class_name(node.layer) in INPUT_UNITS or (arithmetic and not is_clipping(node.layer))
        )

    owners: dict[Tensor, Tensor] = {}
    covered: set[str] = set()
    for node in graph.nodes:
        if node.is_input:
            if not keras.backend.is_float_dtype(node.layer.dtype):
                continue  # indices, not values
            chain = behind(node.tensors[0], unit)
            covered.update(follower.name for follower in chain)
            owners[chain[-1].tensors[0] if chain else node.tensors[0]] = node.tensors[0]
        elif adapter_of(node.layer).output is Output.QUANTIZED:
            for tensor in node.tensors:
                chain = behind(tensor, function)
                covered.update(follower.name for follower in chain)
                owners[chain[-1].tensors[0] if chain else tensor] = tensor
        elif function(node) and node.name not in covered:
            # functions on their own, for instance behind a tensor that others read as well
            chain = [node, *behind(node.tensors[0], function)]
            covered.update(follower.name for follower in chain)
            if not all(is_clipping(follower.layer) for follower in chain):
                named = next((n for n in chain if isinstance(n.layer, keras.layers.Layer)), node)
                owners[chain[-1].tensors[0]] = named.tensors[0]
    return {tensor: owner for tensor, owner in owners.items() if readers[tensor] or tensor in results}


def _user_layers(graph: Graph, user_graph: Graph) -> dict[str, tuple[str, str]]:
    """Layer of the canonical model to (name, class) of the user's layer that it is a part of."""
    found = {node.layer_name: (node.layer_name, class_name(node.layer)) for node in user_graph.nodes}
    for node in user_graph.nodes:
        if class_name(node.layer) in SPLIT:
            for part in ("depthwise", "pointwise"):
                found[f"{node.layer_name}_{part}"] = (node.layer_name, class_name(node.layer))
    return found


def _parts(owners: Mapping[Tensor, Tensor], graph: Graph, user_graph: Graph) -> dict[str, str]:
    """Layer to the layer in whose sites it is contained: activation functions and folded BatchNorms."""
    parts: dict[str, str] = {}
    by_name, user_names = graph.by_name, {node.layer_name for node in user_graph.nodes}
    for last, first in owners.items():
        tensor = last
        chain: list[str] = []
        while tensor != first and by_name[tensor.node].inputs:
            node = by_name[tensor.node]
            chain.append(node.layer_name)
            tensor = node.inputs[0]
        owner = by_name[first.node].layer_name
        if tensor == first:
            parts.update({name: owner for name in chain if name != owner and name in user_names})
    for node in user_graph.nodes:
        if class_name(node.layer) == NORMALIZATION and node.layer_name not in {n.layer_name for n in graph.nodes}:
            parts[node.layer_name] = user_graph.by_name[node.inputs[0].node].layer_name
    return parts


def _is_softmax_of_its_own(node: Node) -> bool:
    return class_name(node.layer) in ("Softmax", "Activation") and activation_name(node.layer) == "softmax"


def _is_merge_input(site: str, merge_inputs: Mapping[str, tuple[str | None, ...]]) -> bool:
    return any(site in names for names in merge_inputs.values())
