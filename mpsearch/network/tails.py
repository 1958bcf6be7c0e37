"""The rest of a network behind a cut, for changes that leave all before the cut as it is.

What comes before is computed once, and its values are kept, for one batch after another. Each rest is traced on its
own, so that cuts pay only where many changes follow them and enough is left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import keras
import numpy as np

from mpsearch.network.graph import Tensor, alone, graph_of

TRACED = 5e7
"""Values of feature maps that are computed in the time that tracing a node takes under TensorFlow: 3e7 on one core,
measured with MobileNetV2 at 96×96 and ResNet-8; more cores compute faster, but trace no faster."""
MOST = 2.5e8
"""Values that may be kept for a cut: 1 GB."""


@dataclass(frozen=True)
class Tail:
    """A network from some node on.

    Attributes:
        start: number of its first node.
        model: from the tensors that it reads to the network's outputs.
        inputs: values of these tensors, for each batch what `model` takes.
    """

    start: int
    model: keras.Model
    inputs: Sequence[Any]

    def outputs(self) -> list[np.ndarray]:
        """Each output of the network, shape (n, ...)."""
        found = [keras.tree.flatten(self.model.predict_on_batch(x)) for x in self.inputs]
        return [np.concatenate([np.asarray(batch) for batch in output]) for output in zip(*found, strict=True)]


class Cuts:
    """Where a network can be cut.

    Args:
        model: a functional one without models in it.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model, self._graph = model, graph_of(model)
        self._nodes = self._graph.nodes
        self._symbolic = {t: s for node in self._nodes for t, s in zip(node.tensors, node.symbolic, strict=True)}

    @cached_property
    def first_nodes(self) -> Mapping[int, int]:
        """The id of each layer, those inside others as well, to the number of the first node that it computes in."""
        found: dict[int, int] = {}
        for number, node in enumerate(self._nodes):
            for layer in node.layer._flatten_layers() if isinstance(node.layer, keras.layers.Layer) else ():
                found.setdefault(id(layer), number)
        return found

    def behind(self, start: int, before: Tail) -> Tail:
        """The network from a node on, for what an earlier rest of it computes now."""
        known = [self._symbolic[t] for t in self._across(before.start)] if before.start else self._model.inputs
        read = [self._symbolic[t] for t in self._across(start)]
        head, rest = (keras.Model(alone(a), alone(b)) for a, b in ((known, read), (read, self._model.outputs)))
        return Tail(start, rest, [head.predict_on_batch(x) for x in before.inputs])

    def chosen(self, changes: Mapping[int, int], samples: int) -> list[int]:
        """The cuts with which a number of changes take the least time; none pay where models aren't traced cheaply.

        Args:
            changes: the number of a node to how often something is changed there.
            samples: that each change is computed for.

        Returns:
            Numbers of nodes, in order; 0, the whole network, is the first.
        """
        if keras.backend.backend() != "tensorflow":
            return [0]
        count, values = len(self._nodes), samples * np.array([node.elements for node in self._nodes], dtype=np.float64)
        left = np.cumsum(values[::-1])[::-1]  # in the rest from each node on
        places = [0, *(place for place in sorted(changes) if place and self._can_be_cut(place, samples))]
        follow = {cut: sum(times for place, times in changes.items() if place >= cut) for cut in places}
        best: dict[int, tuple[float, list[int]]] = {}  # from a cut on: what all changes behind it take, with which cuts
        for cut in reversed(places):
            options = [(left[cut] * follow[cut], [cut])]
            for after, (time, cuts) in best.items():
                own = left[cut] * (follow[cut] - follow[after])
                made = TRACED * (count - cut) + left[cut]  # the part between and the rest, and a pass through both
                options.append((own + made + time, [cut, *cuts]))
            best[cut] = min(options)
        return best[0][1]

    def _can_be_cut(self, start: int, samples: int) -> bool:
        """Whether no output is there before a node, and what must be kept for a cut isn't too much."""
        before = {tensor for node in self._nodes[:start] for tensor in node.tensors}
        kept = sum(prod(self._graph.by_name[t.node].shapes[t.output]) for t in self._across(start))
        return before.isdisjoint(self._graph.output_tensors) and samples * kept <= MOST

    def _across(self, start: int) -> list[Tensor]:
        """The tensors that are there before a node, and that it or a later one reads."""
        made = [t for number, node in enumerate(self._nodes) if number < start or node.is_input for t in node.tensors]
        read = {tensor for node in self._nodes[start:] for tensor in node.inputs}
        return [tensor for tensor in made if tensor in read]
