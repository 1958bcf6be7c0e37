"""Batches of samples for Keras, in an order and with augmentation that depend on the seed alone."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

from mpsearch.augmentations import Photos
from mpsearch.data import Data, Samples
from mpsearch.errors import ConfigError, DataError
from mpsearch.network.graph import functional
from mpsearch.seeds import seed_generators
from mpsearch.split import Arrays, Split, mapped

Augment = Callable[[Arrays, np.random.Generator], Arrays]


@dataclass(frozen=True)
class Ends:
    """Names of a model's inputs and outputs, by which arrays are put into its order.

    Attributes:
        inputs, outputs: names, in the model's order.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, model: keras.Model) -> "Ends":
        """The keys of inputs and outputs that are dicts, else the names of the layers that make them.

        Where a layer makes several, they are called `dense`, `dense.2` and so on.
        """

        def names(structure: Any, tensors: Sequence[Any]) -> tuple[str, ...]:
            if isinstance(structure, dict) and not any(
                isinstance(value, (dict, list, tuple)) for value in structure.values()
            ):
                return tuple(keras.tree.flatten({key: key for key in structure}))
            found: list[str] = []
            for tensor in tensors:
                name, count = str(tensor._keras_history.operation.name), 1
                unique = name
                while unique in found:
                    count += 1
                    unique = f"{name}.{count}"
                found.append(unique)
            return tuple(found)

        built = functional(model)
        return cls(names(built._inputs_struct, built.inputs), names(built._outputs_struct, built.outputs))

    def arrange_inputs(self, x: Arrays) -> Any:
        """`x` as Keras takes it: an array, or a tuple of arrays in the model's order."""
        return _arranged(x, self.inputs, "x", "inputs")

    def arrange_targets(self, y: Arrays) -> Any:
        """`y` likewise, for the outputs."""
        return _arranged(y, self.outputs, "y", "outputs")


def _arranged(arrays: Arrays, names: tuple[str, ...], what: str, ends: str) -> Any:
    if isinstance(arrays, dict):
        if set(arrays) != set(names):
            raise DataError(f"`{what}` has arrays for {sorted(arrays)}, but the model's {ends} are {list(names)}")
        found = tuple(arrays[name] for name in names)
    else:
        found = arrays if isinstance(arrays, tuple) else (arrays,)
        if len(found) != len(names):
            raise DataError(f"`{what}` has {len(found)} arrays, but the model's {ends} are {list(names)}")
    return found[0] if len(found) == 1 else found


class Batches(keras.utils.PyDataset):
    """Batches of a split, shuffled anew each epoch by (seed, epoch) alone, so that runs repeat.

    Where the data `reconstructs`, targets are the inputs before augmentation.

    Args:
        data: for `prepare`.
        samples: what is read, one batch after another.
        batch_size: samples a batch; the last batch may be smaller.
        seed: of shuffling and augmentation; None keeps the order.
        ends: the model's inputs and outputs; default: one of each.
        augment: changes model inputs.
        weigh: targets to the weights of their samples in the loss.
    """

    def __init__(
        self,
        data: Data,
        samples: Samples,
        batch_size: int,
        seed: int | None = None,
        ends: Ends | None = None,
        augment: Augment | None = None,
        weigh: Callable[[Any], np.ndarray] | None = None,
    ) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self._data, self._samples, self._batch_size, self._seed = data, samples, batch_size, seed
        self._ends = ends or Ends(("x",), ("y",))
        self._augment, self._weigh = augment, weigh
        self.start(0)

    def start(self, epoch: int) -> None:
        """Begin an epoch; `on_epoch_end` won't do, Keras calls it more often on some backends."""
        self._epoch, self._next = epoch, 0
        self._iterator: Iterator[Split] = iter(())

    @property
    def num_batches(self) -> int:
        return math.ceil(len(self._samples) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        if index == 0:  # Keras looks at the first batches before it begins
            self._iterator = self._samples.batches(
                self._batch_size, None if self._seed is None else (self._seed, self._epoch)
            )
        elif index != self._next:
            raise IndexError(f"batches are read one after another: expected {self._next}, but got {index}")
        self._next = index + 1
        batch = next(self._iterator)
        x = self._data.inputs(batch.x)
        y = self._ends.arrange_targets(self._data.targets(batch, self._ends.arrange_inputs(x)))
        if self._augment is not None:
            x = self._augmented(x, np.random.default_rng((self._seed or 0, self._epoch, index)))
        arranged = self._ends.arrange_inputs(x)
        return (arranged, y) if self._weigh is None else (arranged, y, self._weigh(y))

    def _augmented(self, x: Arrays, rng: np.random.Generator) -> Arrays:
        assert self._augment is not None
        shape = str(mapped(lambda a: a.shape, x))
        try:
            made = self._augment(mapped(np.copy, x) if self._data.reconstructs else x, rng)
        except MemoryError:
            raise
        except Exception as error:
            raise DataError(f"augmentation failed: {type(error).__name__}: {error}") from error
        changed = mapped(lambda a: np.asarray(a, dtype=np.float32), made)
        if str(mapped(lambda a: a.shape, changed)) != shape:
            raise DataError(
                f"augmentation must keep the inputs' shape, but made {mapped(lambda a: a.shape, changed)} of {shape}"
            )
        return changed


class Feed(PyDatasetAdapter):
    """Batches as `fit` and `evaluate` read them, without TensorFlow's tuning of input pipelines.

    That has a thread that sleeps ever longer, and the end of each epoch waits until it wakes: for up to seconds.
    """

    def get_tf_dataset(self) -> Any:
        """The batches as a tf.data.Dataset."""
        import tensorflow as tf

        options = tf.data.Options()
        options.autotune.enabled = False
        return super().get_tf_dataset().with_options(options)


def augmenter(augmentation: Any) -> Augment | None:
    """`Training.augmentation` as a function of inputs and a generator.

    Raises:
        ConfigError: it is neither a function of two arguments nor Keras layers.
    """
    if augmentation is None:
        return None
    if isinstance(augmentation, Photos):
        augmentation = augmentation.layers()
    layers = list(augmentation) if isinstance(augmentation, Sequence) else [augmentation]
    if layers and all(isinstance(layer, keras.layers.Layer) for layer in layers):
        return _by_layers(layers)
    if not callable(augmentation):
        raise ConfigError(
            f"`augmentation` must be a function (x, rng) or Keras preprocessing layers, but got {augmentation!r}"
        )
    try:
        inspect.signature(augmentation).bind(None, None)
    except TypeError as error:
        raise ConfigError(
            "`augmentation` must be a function of the inputs and a NumPy generator, def augment(x, rng), so that the "
            f"seed decides on everything random in it ({error})"
        ) from error
    return augmentation


def _by_layers(layers: Sequence[Any]) -> Augment:
    seeds = [generator.state for layer in layers for generator in seed_generators(layer)]

    def augment(x: Arrays, rng: np.random.Generator) -> Arrays:
        for state in seeds:
            state.assign(rng.integers(0, 2**32, 2, dtype=np.uint32))
        for layer in layers:
            x = layer(x, training=True)
        return mapped(keras.ops.convert_to_numpy, x)

    return augment


def weigher(weights: Mapping[int, float] | str | None, data: Data) -> Callable[[Any], np.ndarray] | None:
    """`Training.class_weights` as a function from targets to weights of samples.

    Raises:
        ConfigError: targets aren't classes, or a class has no weight.
    """
    if weights is None:
        return None
    if data.reconstructs:
        raise ConfigError("`class_weights` weighs classes, but the data `reconstructs`: leave it out")
    if weights == "balanced":
        counts: dict[int, int] = {}
        for batch in data.train.batches(1024):
            for label, count in zip(*np.unique(_classes(batch.y), return_counts=True), strict=True):
                counts[int(label)] = counts.get(int(label), 0) + int(count)
        total = sum(counts.values())
        weights = {label: total / (len(counts) * count) for label, count in counts.items()}
    assert isinstance(weights, Mapping)
    table = np.full(max(weights) + 1, np.nan, dtype=np.float32)
    for label, weight in weights.items():
        table[label] = weight

    def weigh(y: Any) -> np.ndarray:
        classes = _classes(y)
        found = table[np.minimum(classes, len(table) - 1)]
        missing = np.unique(classes[np.isnan(found) | (classes >= len(table))])
        if len(missing):
            raise ConfigError(f"`class_weights` has no weight for class {missing[0]}: give one for each class")
        return found

    return weigh


def _classes(y: Any) -> np.ndarray:
    """Class indices, shape (n,), of indices or one-hot rows."""
    if isinstance(y, np.ndarray):
        if y.ndim == 2 and y.shape[1] > 1:
            return y.argmax(axis=1)
        if y.size == len(y):
            classes = y.reshape(-1).astype(np.int64)
            if np.array_equal(classes, y.reshape(-1)) and classes.min() >= 0:
                return classes
    raise ConfigError("`class_weights` needs one output, with class indices or one-hot rows as targets")
