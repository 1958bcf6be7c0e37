"""Data: the train, validation and test splits of a task."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mpsearch.errors import DataError
from mpsearch.split import Arrays, Split, flat, mapped
from mpsearch.stream import Stream, update

__all__ = ["Data", "Samples", "Split", "Stream"]

Samples = Split | Stream
_STEP = 1024  # samples looked at in one go


@dataclass(frozen=True)
class Data:
    """What a task is trained, chosen and finally judged on.

    Attributes:
        train: samples for training and calibration: a Split of arrays or a Stream. A `tf.data.Dataset`, a
            `keras.utils.PyDataset` and a function that makes an iterator of batches become a Stream.
        validation: samples that score the trials of a search.
        test: samples that the search never touches; fine-tuned models are judged on them. With None nothing can be
            fine-tuned.
        prepare: turns a batch of stored samples into model inputs (float32), shape (n, ...)
            to (n, ...); None where the stored samples are the inputs. Must be deterministic. Several inputs come and
            go as a tuple or dict.
        name: short name for tables and the study's provenance.
        reconstructs: whether the targets are the model's inputs. `y` then says of each sample which file it comes
            from, and whether that file is anomalous (0 or 1): shape (n, 2), integers.

    Raises:
        DataError: samples of another kind, a stream that can't be read again and again, or a `y` that isn't as
            `reconstructs` needs it.
    """

    train: Samples
    validation: Samples
    test: Samples | None
    prepare: Callable[[Arrays], Arrays] | None = None
    name: str = "data"
    reconstructs: bool = False

    def __post_init__(self) -> None:
        for part in ("train", "validation", "test"):
            samples: Any = getattr(self, part)
            if not isinstance(samples, (Split, Stream)) and (part, samples) != ("test", None):
                object.__setattr__(self, part, Stream(samples, f"{self.name} {part}"))
            elif self.reconstructs and isinstance(samples, Split):
                checked_files(samples.y)

    def inputs(self, x: Arrays) -> Arrays:
        """Model inputs, float32, for stored samples `x` of shape (n, ...)."""
        return mapped(lambda a: np.asarray(a, dtype=np.float32), x if self.prepare is None else self.prepare(x))

    def targets(self, batch: Split, inputs: Arrays) -> Arrays:
        """What a model is to make of a batch, whose inputs are given: these where it `reconstructs`, else `y`."""
        if not self.reconstructs:
            return batch.y
        checked_files(batch.y)
        return inputs

    def part(self, samples: Samples) -> str:
        """What messages call one of the splits."""
        return next((part for part in ("train", "validation", "test") if getattr(self, part) is samples), "given")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all splits (shapes, dtypes, bytes) and one prepared sample, 16 hex digits.

        Of a stream, its name, the number of its samples and the first 8 batches stand for the whole.
        """
        digest = hashlib.sha256()
        for samples in (self.train, self.validation, self.test):
            if isinstance(samples, Stream):
                digest.update(samples.fingerprint.encode())
            elif samples is not None:
                update(digest, samples)
        for array in flat(self.inputs(self.train.head(1).x)):
            digest.update(array.tobytes())
        if self.reconstructs:
            digest.update(b"reconstructs")
        return digest.hexdigest()[:16]

    @cached_property
    def nonnegative_inputs(self) -> bool:
        """Whether no model input of the training split is below zero."""
        return all(
            float(array.min()) >= 0.0 for batch in self.train.batches(_STEP) for array in flat(self.inputs(batch.x))
        )


def checked_files(y: Arrays) -> np.ndarray:
    """Numbers of files and whether they are anomalous, shape (n, 2), as they are.

    Raises:
        DataError: they aren't such.
    """
    if not isinstance(y, np.ndarray) or y.ndim != 2 or y.shape[1] != 2 or y.dtype.kind not in "iu":
        found = f"{y.dtype} of shape {y.shape}" if isinstance(y, np.ndarray) else type(y).__name__
        raise DataError(
            "where data `reconstructs`, `y` must hold integers of shape (n, 2), the number of each sample's file and "
            f"whether that file is anomalous, but got {found}"
        )
    if not np.isin(y[:, 1], (0, 1)).all():
        wrong = y[~np.isin(y[:, 1], (0, 1)), 1][0]
        raise DataError(f"the second column of `y` says 1 of an anomalous file, 0 of a normal one, but has {wrong}")
    return y
