"""Split: samples and their targets, as NumPy arrays."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpsearch.errors import DataError

Arrays = Any
"""An array with one entry a sample; a tuple or a dict of them for a model with several inputs or outputs."""

Order = tuple[int, ...]
"""What the order of samples in an epoch depends on: seed and epoch."""


def mapped(function: Callable[[Any], Any], arrays: Arrays) -> Arrays:
    """`function` of an array, or of each array of a tuple or dict."""
    if isinstance(arrays, dict):
        return {name: function(array) for name, array in arrays.items()}
    if isinstance(arrays, (tuple, list)):
        return tuple(function(array) for array in arrays)
    return function(arrays)


def flat(arrays: Arrays) -> list[Any]:
    """The arrays, one after another."""
    if isinstance(arrays, dict):
        return list(arrays.values())
    return list(arrays) if isinstance(arrays, (tuple, list)) else [arrays]


def joined(parts: Sequence[Arrays]) -> Arrays:
    """The samples of several parts, one after another."""
    first = parts[0]
    if isinstance(first, dict):
        return {name: np.concatenate([part[name] for part in parts]) for name in first}
    if isinstance(first, tuple):
        return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return np.concatenate(parts)


@dataclass(frozen=True)
class Split:
    """Samples and their targets.

    Attributes:
        x: samples, shape (n, ...), any dtype (uint8 keeps large image sets small); for a model with several inputs
            a tuple in their order, or a dict by their names.
        y: targets, shape (n,) for class indices or (n, ...) otherwise; for several outputs a tuple in their order,
            or a dict by their names.
    """

    x: Arrays
    y: Arrays

    def __post_init__(self) -> None:
        for name in ("x", "y"):
            for array in flat(getattr(self, name)) or [None]:
                if not isinstance(array, np.ndarray) or array.ndim == 0:
                    raise DataError(
                        f"`{name}` must be an array with one entry a sample, or a tuple or dict of such, but got "
                        f"{type(getattr(self, name)).__name__} of {type(array).__name__}"
                    )
        sizes = [len(array) for array in (*flat(self.x), *flat(self.y))]
        if len(set(sizes)) > 1:
            raise DataError(f"`x` and `y` must have one entry a sample, but got {' and '.join(map(str, sizes))}")
        if sizes[0] == 0:
            raise DataError("a split needs at least one sample, but got none")

    def __len__(self) -> int:
        return len(flat(self.x)[0])

    def take(self, chosen: Any) -> "Split":
        """The samples that an index array or slice chooses."""
        return Split(mapped(lambda a: a[chosen], self.x), mapped(lambda a: a[chosen], self.y))

    def head(self, n: int) -> "Split":
        """The first `n` samples (all, where there are fewer)."""
        return self.take(slice(n))

    def spread(self, n: int) -> "Split":
        """`n` samples evenly spaced from the first to the last (all, where there are fewer).

        Where samples are sorted by class, they are of all classes alike.
        """
        return self if n >= len(self) else self.take(spaced(len(self), n))

    def batches(self, size: int, order: Order | None = None) -> Iterator["Split"]:
        """The samples in batches, the last of which may be smaller.

        Args:
            size: samples a batch.
            order: shuffles them, always alike for the same order; None keeps them as they are.
        """
        indices = np.arange(len(self))
        if order is not None:
            indices = np.random.default_rng(order).permutation(indices)
        for start in range(0, len(self), size):
            yield self.take(indices[start : start + size])


def spaced(total: int, n: int) -> np.ndarray:
    """`n` of the indices below `total`, evenly spaced from the first to the last."""
    return np.linspace(0, total - 1, n).round().astype(np.intp)
