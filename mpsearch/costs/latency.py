"""Latency: microseconds of one inference, by a roofline or by a table of measured layers."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mpsearch.costs.containers import container_bits, padded_bits, whole_bytes
from mpsearch.costs.model import Cost, widest
from mpsearch.costs.profile import Profile
from mpsearch.costs.specs import Specs
from mpsearch.errors import ConfigError
from mpsearch.facts import ModelFacts, OperationFacts, TensorFacts

COLUMNS = ("layer", "input", "output", "kernel_bits", "input_bits", "us")
ANY = "*"


class RooflineLatency(Cost):
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

    def batch(self, specs: Specs) -> np.ndarray:
        return self._operations(specs).sum(axis=1)

    def parts(self, specs: Specs) -> tuple[Sequence[str], np.ndarray]:
        return [operation.name for operation in self.facts.operations], self._operations(specs)

    def _operations(self, specs: Specs) -> np.ndarray:
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


@dataclass(frozen=True)
class Row:
    """A measured layer; a text that is "*" and a width that is None stand for all.

    Attributes:
        layer: name of the layer, or its class.
        input, output: shapes of its first input and output, as in "32x32x16".
        kernel_bits, input_bits: widths of its kernel, and of its widest input.
        us: microseconds.
    """

    layer: str
    input: str
    output: str
    kernel_bits: int | None
    input_bits: int | None
    us: float

    def is_of(self, operation: OperationFacts, first: TensorFacts, made: TensorFacts) -> bool:
        """Whether it is a measurement of an operation, at some widths."""
        shapes = (self.input in (ANY, _text(first.shape))) and (self.output in (ANY, _text(made.shape)))
        return shapes and self.layer in (operation.name, operation.layer_class, ANY)


class TableLatency(Cost):
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
            shapes = f"{_text(tensors[first.inputs[0]].shape)} to {_text(tensors[first.outputs[0]].shape)}"
            raise ConfigError(
                f"the measured layers have no row for {len(missing)} of {len(facts.operations)} operations, first of "
                f"all `{first.name}` ({first.layer_class}, {shapes}): add one, or one with * for all others"
            )

    def batch(self, specs: Specs) -> np.ndarray:
        return self._operations(specs).sum(axis=1)

    def parts(self, specs: Specs) -> tuple[Sequence[str], np.ndarray]:
        return [operation.name for operation in self.facts.operations], self._operations(specs)

    def _operations(self, specs: Specs) -> np.ndarray:
        return np.stack([self._operation(specs, number) for number in range(len(self._rows))], axis=1)

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


def read_table(path: Path) -> list[Row]:
    """The rows of a table of measured layers.

    Args:
        path: CSV with the columns `layer` (a layer's name, or its class), `input`, `output` (shapes, as in 32x32x16),
            `kernel_bits`, `input_bits` and `us`; "*" stands for all.

    Raises:
        ConfigError: the file can't be read, or isn't such a table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            lines = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"the table of measured layers {path} can't be read: {error}") from error
    if not lines or set(lines[0]) != set(COLUMNS):
        raise ConfigError(f"{path} must be a CSV file with the columns {', '.join(COLUMNS)}, and rows below them")
    return [_row(line, path, number) for number, line in enumerate(lines, 2)]


def _row(line: dict[str, str], path: Path, number: int) -> Row:
    try:
        kernel, read = (None if line[n].strip() == ANY else int(line[n]) for n in ("kernel_bits", "input_bits"))
        us = float(line["us"])
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}, line {number}: widths and `us` must be numbers, but it has {line}") from error
    if not us >= 0:
        raise ConfigError(f"{path}, line {number}: `us` must be at least 0, but is {us}")
    return Row(line["layer"].strip(), line["input"].strip(), line["output"].strip(), kernel, read, us)


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
