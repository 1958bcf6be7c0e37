"""Where quantizers go: the sites of a canonical model, and its facts.

Activation sites are: model inputs (behind a Rescaling that follows); the output of each compute layer and each
merge, behind its activation function; averaged maps; and, on demand, those inputs of merges that other layers
read too (an input that only the merge reads is requantized by its own site). Layers that only move or select
values keep the codes of their input and have no site.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import keras

from mpsearch.config import Role
from mpsearch.facts import LayerFacts, ModelFacts, SiteFacts
from mpsearch.network.adapters import (
    AVERAGING,
    COMPUTE,
    INPUT_FOLLOWERS,
    MERGES,
    NORMALIZATION,
    activation_name,
    can_be_negative,
    class_name,
    is_follower,
)
from mpsearch.network.canonical import Node, canonical, functional, nodes_of


@dataclass(frozen=True)
class Placement:
    """The sites of a canonical model.

    Attributes:
        facts: of all sites, in network order.
        outputs: layer whose output is quantized to the site's name.
        merge_inputs: merge to the sites of its inputs, in order; None for an input without a site of its own.
        tensors: activation site to the layer whose output it quantizes.
    """

    facts: ModelFacts
    outputs: Mapping[str, str]
    merge_inputs: Mapping[str, tuple[str | None, ...]]
    tensors: Mapping[str, str]


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
    nodes = nodes_of(model)
    by_name = {node.name: node for node in nodes}
    readers: dict[str, list[Node]] = {node.name: [] for node in nodes}
    for node in nodes:
        for source in node.inputs:
            readers[source].append(node)

    def last_follower(node: Node) -> Node:
        """The node behind whose output the site of `node` belongs."""
        while len(readers[node.name]) == 1:
            follower = readers[node.name][0]
            moves = class_name(follower.layer) in INPUT_FOLLOWERS if not node.inputs else is_follower(follower.layer)
            if not moves:
                break
            node = follower
        return node

    owners: dict[str, str] = {}  # node whose output is quantized -> layer that names the site
    for node in nodes:
        if not node.inputs or class_name(node.layer) in (*COMPUTE, *MERGES, *AVERAGING):
            owners[last_follower(node).name] = node.name
    for node in nodes:  # activation functions on their own, for instance behind a pooling
        if is_follower(node.layer) and node.name not in owners and not _changes_codes_only_by_clipping(node):
            owners[node.name] = node.name

    negative: dict[str, bool] = {}
    sources: dict[str, tuple[str, ...]] = {}  # node -> activation sites that its output is made of
    sites: list[SiteFacts] = []
    merge_inputs: dict[str, tuple[str | None, ...]] = {}
    tensors: dict[str, str] = {}
    for node in nodes:
        kind = class_name(node.layer)
        read = tuple(dict.fromkeys(site for name in node.inputs for site in sources[name]))
        negative[node.name] = (
            can_be_negative(node.layer, [negative[name] for name in node.inputs])
            if node.inputs
            else not nonnegative_inputs
        )
        if kind in MERGES and requantize_merge_inputs:
            names: list[str | None] = []
            for i, name in enumerate(node.inputs):
                if len(readers[name]) == 1:
                    names.append(None)
                    continue
                site = f"{node.name}/input_{i}"
                sites.append(
                    SiteFacts(
                        site, node.name, kind, Role.ACTIVATION, by_name[name].shape, 0, negative[name], sources[name]
                    )
                )
                names.append(site)
                tensors[site] = name
            merge_inputs[node.name] = tuple(names)
            own = [(sources[name] if site is None else (site,)) for name, site in zip(node.inputs, names, strict=True)]
            read = tuple(dict.fromkeys(site for group in own for site in group))
        sources[node.name] = read
        if kind in COMPUTE:
            for rule in COMPUTE[kind].weights:
                weight = getattr(node.layer, rule.attribute)
                if weight is not None:
                    shape = tuple(weight.shape)
                    macs = COMPUTE[kind].macs(shape, node.shape) if rule.role is Role.KERNEL else 0
                    sites.append(
                        SiteFacts(f"{node.name}/{rule.attribute}", node.name, kind, rule.role, shape, macs, True, read)
                    )
        if node.name in owners:
            layer = owners[node.name]
            site = f"{layer}/activation"
            sites.append(
                SiteFacts(
                    site,
                    layer,
                    class_name(by_name[layer].layer),
                    Role.ACTIVATION,
                    node.shape,
                    0,
                    negative[node.name],
                    read,
                )
            )
            sources[node.name] = (site,)
            tensors[site] = node.name
    outputs = {name: f"{owner}/activation" for name, owner in owners.items()}
    user_model = model if original is None else original
    parts = _parts(owners, by_name, user_model)
    facts = ModelFacts(
        model.name,
        tuple(sites),
        tuple(LayerFacts(layer.name, class_name(layer), parts.get(layer.name)) for layer in user_model.layers),
        input_elements=sum(_elements(node) for node in nodes if not node.inputs),
        softmax_elements=sum(
            _elements(by_name[name])
            for name in _output_names(model)
            if activation_name(by_name[name].layer) == "softmax"
        ),
    )
    return Placement(facts, outputs, merge_inputs, tensors)


def facts_of(model: keras.Model, nonnegative_inputs: bool = False, requantize_merge_inputs: bool = False) -> ModelFacts:
    """Site facts of a float model, as a search and a cost see it: BatchNorm folded. Options as in `place_sites`.

    Raises:
        ModelError: the model can't be quantized.
    """
    return place_sites(canonical(model), model, nonnegative_inputs, requantize_merge_inputs).facts


def _parts(owners: Mapping[str, str], by_name: Mapping[str, Node], user_model: keras.Model) -> dict[str, str]:
    """Layer to the layer in whose sites it is contained: activation functions and folded BatchNorms."""
    parts = {}
    for last, owner in owners.items():
        node = by_name[last]
        while node.name != owner:
            parts[node.name] = owner
            node = by_name[node.inputs[0]]
    for node in nodes_of(functional(user_model)):
        if class_name(node.layer) == NORMALIZATION and node.name not in by_name:
            parts[node.name] = node.inputs[0]
    return parts


def _changes_codes_only_by_clipping(node: Node) -> bool:
    return activation_name(node.layer) in ("relu", "relu6", "linear")


def _elements(node: Node) -> int:
    size = 1
    for n in node.shape:
        size *= n
    return size


def _output_names(model: keras.Model) -> list[str]:
    return [str(tensor._keras_history.operation.name) for tensor in model.outputs]
