"""Latency: microseconds of one inference, by a roofline or by a table of measured layers."""

from collections.abc import Sequence

import numpy as np

from mpsearch.costs.containers import container_bits, padded_bits, whole_bytes
from mpsearch.costs.measured import Row, shape_text
from mpsearch.costs.model import PerOperation, widest
from mpsearch.costs.profile import Profile
from mpsearch.costs.specs import Specs
from mpsearch.errors import ConfigError
from mpsearch.facts import ModelFacts, OperationFacts


class RooflineLatency(PerOperation):
    """Microseconds by a roofline: an operation takes as long as its arithmetic or its memory, whichever is longer.

    Args:
        facts: of the model.
        profile: of the device; with clock and multiply-accumulates a cycle.

    Raises:
        ConfigError: the profile has no speed.

    Source: S. Williams et al., *Roofline: An Insightful Visual Performance Model for Multicore Architectures*,
    Communications of the ACM 52, 2009.
    """

    name, unit, about = "latency", "µs", "time of one inference"

    def __init__(self, facts: ModelFacts, profile: Profile) -> None:
        super().__init__(facts)
        if profile.clock_mhz is None or profile.macs_per_cycle is None:
            raise ConfigError(
                f"the profile of {profile.name} has no speed (clock_mhz, macs_per_cycle), so there is no latency: give "
                "another profile, or a table of measured layers"
            )
        self.profile = profile
        self._clock, self._macs_per_cycle = profile.clock_mhz, profile.macs_per_cycle

    def operations(self, specs: Specs) -> np.ndarray:
        return np.stack([self._operation(specs, operation) for operation in self.facts.operations], axis=1)

    def _operation(self, specs: Specs, operation: OperationFacts) -> np.ndarray:
        cycles = np.full(len(specs), operation.macs / self._macs_per_cycle)
        if self.profile.bytes_per_cycle is not None:
            cycles = np.maximum(cycles, self._moved(specs, operation) / self.profile.bytes_per_cycle)
        return np.asarray((cycles + self.profile.cycles_per_operation) / self._clock)

    def _moved(self, specs: Specs, operation: OperationFacts) -> np.ndarray:
        """Bytes that an operation reads and writes."""
        tensors = {tensor.name: tensor for tensor in self.facts.tensors}
        found = np.zeros(len(specs))
        for name in (*operation.inputs, *operation.outputs):
            widths = widest(specs, tensors[name].sites, self.columns)
            found += whole_bytes(tensors[name].elements * (widths if self.profile.packed else padded_bits(widths)))
        for site in (*operation.kernels, *operation.biases):
            widths = specs.widths[:, self.columns[site]]
            found += whole_bytes(self.facts.by_name[site].elements * container_bits(widths))
        return found


class TableLatency(PerOperation):
    """Microseconds by a table of measured layers: the first row that fits an operation and its widths counts.

    Args:
        facts: of the model.
        rows: of the table.

    Raises:
        ConfigError: there is an operation that no row fits.
    """

    name, unit, about = "latency", "µs", "time of one inference, by measured layers"
    falls_with_widths = True

    def __init__(self, facts: ModelFacts, rows: Sequence[Row]) -> None:
        super().__init__(facts)
        tensors = {tensor.name: tensor for tensor in facts.tensors}
        self._rows = [
            [row for row in rows if row.is_of(o, tensors[o.inputs[0]], tensors[o.outputs[0]])] for o in facts.operations
        ]
        missing = [o for o, found in zip(facts.operations, self._rows, strict=True) if not found]
        if missing:
            first = missing[0]
            shapes = f"{shape_text(tensors[first.inputs[0]].shape)} to {shape_text(tensors[first.outputs[0]].shape)}"
            raise ConfigError(
                f"the measured layers have no row for {len(missing)} of {len(facts.operations)} operations, first of "
                f"all `{first.name}` ({first.layer_class}, {shapes}): add one, or one with * for all others"
            )

    def operations(self, specs: Specs) -> np.ndarray:
        return np.stack([self._operation(specs, number) for number in range(len(self._rows))], axis=1)

    def dependencies(self) -> None:
        """None: rows needn't be there for all combinations, so that only those that are met can be asked for."""
        return

    def _operation(self, specs: Specs, number: int) -> np.ndarray:
        operation = self.facts.operations[number]
        tensors = {tensor.name: tensor for tensor in self.facts.tensors}
        read = np.max([widest(specs, tensors[name].sites, self.columns) for name in operation.inputs], axis=0)
        kernel = widest(specs, operation.kernels, self.columns) if operation.kernels else np.zeros(len(specs))
        found = np.full(len(specs), np.nan)
        for row in reversed(self._rows[number]):
            fits = np.full(len(specs), True)
            if row.kernel_bits is not None:
                fits &= kernel == row.kernel_bits
            if row.input_bits is not None:
                fits &= read == row.input_bits
            found = np.where(fits, row.us, found)
        if np.isnan(found).any():
            at = int(np.isnan(found).argmax())
            raise ConfigError(
                f"the measured layers have no row for `{operation.name}` ({operation.layer_class}) with a kernel of "
                f"{int(kernel[at])} and an input of {int(read[at])} bits: add one, or take these widths off the menus"
            )
        return found
