"""Stream: samples that are read batch by batch, and needn't fit into memory."""

import hashlib
import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any

import numpy as np

from mpsearch.errors import DataError
from mpsearch.split import Order, Split, flat, joined, mapped, spaced

COMPARED_BATCHES = 8  # of which the fingerprint is made, and which must read alike twice
SHUFFLED_SAMPLES = 2048


class Stream:
    """Samples from a `tf.data.Dataset`, a `keras.utils.PyDataset` or a function that makes an iterator.

    Args:
        source: gives batches (x, y) of arrays, of any size and finite in number, in the same order each time that it
            is read: mpsearch does the shuffling, so that runs repeat. x and y are as in a `Split`.
        name: of the samples, part of the fingerprint, for instance "cifar10 v2".
        shuffled: samples that are held in memory and shuffled among each other in training.

    Raises:
        DataError: the source can be read only once, has no end, or doesn't repeat.
    """

    def __init__(self, source: Any, name: str = "stream", shuffled: int = SHUFFLED_SAMPLES) -> None:
        if shuffled < 1:
            raise DataError(f"`shuffled` must be a positive number of samples, but got {shuffled}")
        self._read = _reader(source)
        self.name = name
        self._shuffled = shuffled

    def __iter__(self) -> Iterator[Split]:
        """The source's own batches, in its order."""
        for item in self._read():
            if not isinstance(item, (tuple, list)) or len(item) != 2:
                size = len(item) if isinstance(item, (tuple, list)) else type(item).__name__
                raise DataError(
                    f"each item of `{self.name}` must be a pair (x, y) of a batch, but got {size}: sample weights "
                    "are not read; give class weights in Training(class_weights=…)"
                )
            x, y = (mapped(np.asarray, part) for part in item)
            if any(array.ndim == 0 for array in (*flat(x), *flat(y))):
                raise DataError(f"`{self.name}` gives single samples: let it give batches, as with dataset.batch(32)")
            yield Split(x, y)

    @cached_property
    def _length(self) -> int:
        return sum(len(batch) for batch in self)

    def __len__(self) -> int:
        """Number of samples; reads them all the first time."""
        return self._length

    def head(self, n: int) -> Split:
        """The first `n` samples (all, where there are fewer), as arrays."""
        return next(self.batches(n))

    def spread(self, n: int) -> Split:
        """`n` samples evenly spaced from the first to the last (all, where there are fewer), as arrays."""
        wanted = spaced(len(self), min(n, len(self)))
        parts, start = [], 0
        for batch in self:
            inside = wanted[(wanted >= start) & (wanted < start + len(batch))]
            if len(inside):
                parts.append(batch.take(inside - start))
            start += len(batch)
        return _joined(parts)

    def batches(self, size: int, order: Order | None = None) -> Iterator[Split]:
        """The samples in batches of another size, the last of which may be smaller.

        Args:
            size: samples a batch.
            order: shuffles them within windows of `shuffled` samples, always alike for the same order; None keeps
                them as they are.
        """
        window = size if order is None else -(-self._shuffled // size) * size
        for number, held in enumerate(self._windows(window)):
            yield from held.batches(size, None if order is None else (*order, number))

    def _windows(self, size: int) -> Iterator[Split]:
        """The samples in parts of exactly `size`, the last of which may be smaller."""
        held: list[Split] = []
        count = 0
        for batch in self:
            held.append(batch)
            count += len(batch)
            while count >= size:
                whole = _joined(held)
                yield whole.head(size)
                count -= size
                held = [whole.take(slice(size, None))] if count else []
        if count:
            yield _joined(held)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the name, the number of samples and the first 8 batches, 16 hex digits.

        Raises:
            DataError: these batches aren't the same when they are read again.
        """
        first, second = (self._digest() for _ in range(2))
        if first != second:
            raise DataError(
                f"`{self.name}` gives other samples when it is read again, so that no run could be repeated: leave "
                "shuffling to mpsearch and augmentation to Training(augmentation=…), or fix their seeds (for "
                "tf.data: shuffle(…, seed=0, reshuffle_each_iteration=False))"
            )
        return hashlib.sha256(f"{self.name} {len(self)} {first}".encode()).hexdigest()[:16]

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for batch in itertools.islice(self, COMPARED_BATCHES):
            update(digest, batch)
        return digest.hexdigest()


def update(digest: Any, split: Split) -> None:
    """Take the arrays of a split into a hash: names, shapes, dtypes and bytes."""
    for arrays in (split.x, split.y):
        if isinstance(arrays, dict):
            digest.update(repr(list(arrays)).encode())
        for array in flat(arrays):
            digest.update(f"{array.shape}{array.dtype}".encode())
            digest.update(np.ascontiguousarray(array).data)


def _joined(parts: list[Split]) -> Split:
    if not parts:
        raise DataError("a stream needs at least one sample, but got none")
    return parts[0] if len(parts) == 1 else Split(joined([p.x for p in parts]), joined([p.y for p in parts]))


def _reader(source: Any) -> Callable[[], Iterable[Any]]:
    """A function that reads a source from its beginning."""
    kinds = {kind.__name__ for kind in type(source).__mro__}
    if "PyDataset" in kinds:  # told by name, so that Keras needn't be imported here
        if source.num_batches is None:
            raise DataError("a PyDataset without an end can't be searched with: let num_batches be a number")
        return lambda: (source[index] for index in range(source.num_batches))
    if "DatasetV2" in kinds:
        if int(source.cardinality()) == -1:
            raise DataError("a tf.data.Dataset without an end can't be searched with: leave out repeat()")
        return lambda: source.as_numpy_iterator()
    if isinstance(source, Iterator):
        raise DataError("a generator can be read only once: give the function that makes it, without calling it")
    if callable(source):
        required = [
            parameter.name
            for parameter in inspect.signature(source).parameters.values()
            if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
            if parameter.kind is not parameter.VAR_POSITIONAL
        ]
        if required:
            raise DataError(f"the function of a stream is called without arguments, but needs {', '.join(required)}")
        return lambda: _opened(source())
    raise DataError(
        "expected a Split, a tf.data.Dataset, a keras.utils.PyDataset or a function that makes an iterator, but got "
        f"{type(source).__name__}"
    )


def _opened(source: Any) -> Iterable[Any]:
    """What a function gave, to be read once: an iterator, or a data set."""
    return source if isinstance(source, (Iterator, list, tuple)) else _reader(source)()
