"""The ends of a model: its first and last layers with kernels."""

from mpsearch.config import Role
from mpsearch.facts import ModelFacts


def end_layers(facts: ModelFacts) -> tuple[str, ...]:
    """Layers with kernels that read no other layer with kernels, or that none reads, in network order.

    A model with several inputs or outputs has as many ends, and so has one whose input several layers read.
    """
    layers = dict.fromkeys(site.layer for site in facts.of(Role.KERNEL))
    behind: set[str] = set()  # activation sites that a kernel has a part in
    ahead: set[str] = set()  # activation sites that a kernel of another layer reads, at once or later
    activations = list(facts.of(Role.ACTIVATION))
    for site in activations:
        if site.layer in layers or behind.intersection(site.producers):
            behind.add(site.name)
    for site in reversed(activations):
        readers = [facts.by_name[name] for name in facts.consumers[site.name]]
        if any(r.name in ahead or (r.role is Role.KERNEL and r.layer != site.layer) for r in readers):
            ahead.add(site.name)
    first = dict.fromkeys(layers, True)
    for site in facts.of(Role.KERNEL):
        foreign = (name for name in site.producers if facts.by_name[name].layer != site.layer)
        if behind.intersection(foreign):
            first[site.layer] = False
    followed = {site.layer for site in activations if site.name in ahead}
    return tuple(layer for layer in layers if first[layer] or layer not in followed)
