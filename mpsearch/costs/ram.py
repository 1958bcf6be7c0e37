"""RAM: the feature maps that must be in memory at the same time."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mpsearch.costs.containers import padded_bits, whole_bytes
from mpsearch.costs.model import PerOperation, widest
from mpsearch.costs.specs import Specs
from mpsearch.facts import ModelFacts, OperationFacts


@dataclass(frozen=True)
class _Moment:
    """What is in memory while an operation is executed: numbers of tensors.

    Attributes:
        alive: inputs, outputs, and what later operations still read.
        dying: its inputs that nobody needs any more, where its output can take the memory of one.
        output: its first output.
        states: operation's states, as sites.
    """

    alive: tuple[int, ...]
    dying: tuple[int, ...]
    output: int


class RamBytes(PerOperation):
    """The most bytes of feature maps that are in memory at once.

    Operations are executed in the order of the facts. A feature map is in memory from the operation that makes it to
    the last one that reads it, a model input from the beginning, and a model output to the end. An operation that makes
    each value of the values at its place writes over an input that nobody needs any more: the two then take the memory
    of the larger one. Kernels stay in flash; accumulators, and the buffers that an implementation of a convolution
    takes, are not counted.

    Args:
        facts: of the model.
        packed: whether codes of less than 8 bits lie side by side, without gaps; else each takes a byte at least. Wider
            ones than 8 bits are padded to 16 or 32 where not packed.
    """

    name, unit, about = "ram", "bytes", "feature maps that are in memory at once"
    is_maximum = True

    def __init__(self, facts: ModelFacts, packed: bool = True) -> None:
        super().__init__(facts)
        self.packed = packed

    def operations(self, specs: Specs) -> np.ndarray:
        """Bytes in memory while each operation is executed, float64 (configs, operations)."""
        sizes = self.tensor_bytes(specs)
        found = sizes @ self._alive.T
        for number, moment in enumerate(self._timeline):
            if moment.dying:
                found[:, number] -= np.minimum(sizes[:, moment.dying].max(axis=1), sizes[:, moment.output])
        for number, operation in enumerate(self.facts.operations):
            if operation.states:
                found[:, number] += self._state_bytes(specs, operation)
        return found

    def dependencies(self) -> Sequence[Sequence[str]]:
        sites = [tensor.sites for tensor in self.facts.tensors]
        return [
            [*(site for number in moment.alive for site in sites[number]), *operation.states]
            for moment, operation in zip(self._timeline, self.facts.operations, strict=True)
        ]

    def tensor_bytes(self, specs: Specs) -> np.ndarray:
        """Bytes of each tensor, float64 (configs, tensors)."""
        columns = [
            self._bytes(tensor.elements, widest(specs, tensor.sites, self.columns)) for tensor in self.facts.tensors
        ]
        return np.stack(columns, axis=1).astype(np.float64)

    def _bytes(self, elements: int, widths: np.ndarray) -> np.ndarray:
        return whole_bytes(elements * (widths if self.packed else padded_bits(widths)))

    def _state_bytes(self, specs: Specs, operation: OperationFacts) -> np.ndarray:
        total = np.zeros(len(specs))
        for site in operation.states:
            total += self._bytes(self.facts.by_name[site].elements, widest(specs, (site,), self.columns))
        return total

    @cached_property
    def _timeline(self) -> list[_Moment]:
        number = {tensor.name: n for n, tensor in enumerate(self.facts.tensors)}
        operations, end = self.facts.operations, len(self.facts.operations)
        made = {name: step for step, operation in enumerate(operations) for name in operation.outputs}
        needed = {name: made.get(name, -1) for name in number}
        for step, operation in enumerate(operations):
            needed.update(dict.fromkeys(operation.inputs, step))
        needed.update(dict.fromkeys(self.facts.outputs, end))
        found = []
        for step, operation in enumerate(operations):
            alive = [n for name, n in number.items() if made.get(name, -1) <= step <= needed[name]]
            dying = [number[name] for name in operation.inputs if operation.in_place and needed[name] == step]
            found.append(_Moment(tuple(alive), tuple(dying), number[operation.outputs[0]]))
        return found

    @cached_property
    def _alive(self) -> np.ndarray:
        mask = np.zeros((len(self.facts.operations), len(self.facts.tensors)))
        for step, moment in enumerate(self._timeline):
            mask[step, list(moment.alive)] = 1.0
        return mask
