"""Data: the train, validation and test splits of a task, as NumPy arrays."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mpsearch.errors import DataError


@dataclass(frozen=True)
class Split:
    """Samples and their targets.

    Attributes:
        x: samples, shape (n, ...), any dtype (uint8 keeps large image sets small).
        y: targets, shape (n,) for class indices or (n, ...) otherwise.
    """

    x: np.ndarray
    y: np.ndarray

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y):
            raise DataError(f"`x` and `y` must have one entry a sample, but got {len(self.x)} and {len(self.y)}")
        if len(self.x) == 0:
            raise DataError("a split needs at least one sample, but got none")

    def __len__(self) -> int:
        return len(self.x)

    def head(self, n: int) -> "Split":
        """The first `n` samples (all, where there are fewer)."""
        return Split(self.x[:n], self.y[:n])

    def spread(self, n: int) -> "Split":
        """`n` samples evenly spaced from the first to the last (all, where there are fewer).

        Where samples are sorted by class, they are of all classes alike.
        """
        if n >= len(self):
            return self
        chosen = np.linspace(0, len(self) - 1, n).round().astype(np.intp)
        return Split(self.x[chosen], self.y[chosen])


@dataclass(frozen=True)
class Data:
    """What a task is trained, chosen and finally judged on.

    Attributes:
        train: samples for training and calibration.
        validation: samples that score the trials of a search.
        test: samples that the search never touches; fine-tuned models are judged on them.
        prepare: turns a batch of stored samples into model inputs (float32), shape (n, ...)
            to (n, ...); None where the stored samples are the inputs. Must be deterministic.
        name: short name for tables and the study's provenance.
    """

    train: Split
    validation: Split
    test: Split
    prepare: Callable[[np.ndarray], np.ndarray] | None = None
    name: str = "data"

    def inputs(self, x: np.ndarray) -> np.ndarray:
        """Model inputs, float32, for stored samples `x` of shape (n, ...)."""
        return np.asarray(x if self.prepare is None else self.prepare(x), dtype=np.float32)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all splits (shapes, dtypes, bytes) and one prepared sample, 16 hex digits."""
        digest = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
            for array in (split.x, split.y):
                digest.update(f"{array.shape}{array.dtype}".encode())
                digest.update(np.ascontiguousarray(array).data)
        digest.update(self.inputs(self.train.x[:1]).tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def nonnegative_inputs(self) -> bool:
        """Whether no model input of the training split is below zero."""
        step = 1024
        return all(float(self.inputs(self.train.x[i : i + step]).min()) >= 0.0 for i in range(0, len(self.train), step))
