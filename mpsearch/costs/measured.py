"""A user's measurements of layers: the rows of a table, as a file has them."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mpsearch.errors import ConfigError

if TYPE_CHECKING:  # the command line knows rows at its start, and needs neither facts nor NumPy for them
    from mpsearch.facts import OperationFacts, TensorFacts

COLUMNS = ("layer", "input", "output", "kernel_bits", "input_bits", "us")
ANY = "*"


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
        shapes = (self.input in (ANY, shape_text(first.shape))) and (self.output in (ANY, shape_text(made.shape)))
        return shapes and self.layer in (operation.name, operation.layer_class, ANY)


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


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as tables have it, as in "32x32x16"."""
    return "x".join(map(str, shape))
