"""What writing a file gives, and what runs one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from mpsearch.errors import ExportError


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        payload: bytes of packed kernels and biases, scales and zero-points. Beside these a file holds the graph, and
            constants such as the bounds of a clip.
        layouts: program's quantized tensors to (the file's tensor, whether its channels come first), where these aren't
            the program's own.
        biases: sites of biases that are held in the unit of the sums they are added to, to the values that they have
            there, float64; none where biases are held as they were searched.
        beyond: bytes of the payload that the rule of `costs.containers` doesn't have: upper halves of 64-bit biases.
    """

    payload: int
    layouts: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    biases: Mapping[str, np.ndarray] = field(default_factory=dict)
    beyond: int = 0


class Runtime(Protocol):
    """What runs a file of one format; each format has one.

    Attributes:
        inputs: names and shapes of the model's inputs, without the batch dimension.
    """

    inputs: Sequence[tuple[str, tuple[int, ...]]]

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The model's outputs for inputs, float32 of shape (batch, ...)."""

    def values(self, inputs: Sequence[np.ndarray], tensors: Sequence[str]) -> Mapping[str, np.ndarray]:
        """Values of quantized feature maps by name, float32 (batch, ..., channels)."""


def unreadable(path: Path, kind: str, error: Exception) -> ExportError:
    """The error about a file that isn't there, or that its runtime can't read."""
    if isinstance(error, FileNotFoundError):
        return ExportError(f"there is no file {path}")
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return ExportError(f"{path} can't be read as a {kind} file, it may be cut off or damaged: {reason}")


def channels_last(values: np.ndarray, first: bool) -> np.ndarray:
    """A feature map (batch, ...) with its channels last, which come `first` behind the batch or are last already."""
    return np.moveaxis(values, 1, -1) if first else values
