"""CIFAR-10: 60,000 images of 32x32 pixels in 10 classes."""

import os
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from mpsearch.data import Data, Split
from mpsearch.datasets.jpeg_archive import JpegArchive
from mpsearch.datasets.ordering import alternating
from mpsearch.errors import DataError, DataMissingError
from mpsearch.folders import cache_folder, data_folders, find_file, keras_folder

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip

_FILE = "cifar10_jpeg.npz"


def cifar10(
    train: int | None = None,
    validation: int = 2000,
    *,
    validation_from: Literal["train", "test"] = "train",
) -> Data:
    """Load CIFAR-10, from `cifar10_jpeg.npz` or from Keras's download cache; never download it.

    The archive is looked for in `$MPSEARCH_DATA`, in `$MPSEARCH_DATA/data` and in
    `~/.cache/mpsearch`. JPEG is lossy: on its images, accuracies are a few points below those
    on the original ones that Keras downloads. Classes alternate, so the first n images are balanced.

    Args:
        train: number of training images, the first ones; None for all that validation leaves.
        validation: number of validation images.
        validation_from: "train" takes the last training images for validation and all test
            images for test. "test" takes the first test images for validation and the others
            for test, for weights that have seen all training images.

    Returns:
        Data with images of shape (n, 32, 32, 3), uint8, which `prepare` scales to [0, 1], and
        classes of shape (n,), int64, indices into `CIFAR10_CLASSES`.

    Raises:
        DataMissingError: neither source is there.
        DataError: the archive is malformed or damaged, or the sizes don't fit.

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical
    report, University of Toronto, 2009, chapter 3.
    """
    source = _source()
    total = {"train": len(source.labels("train")), "test": len(source.labels("test"))}
    if validation_from not in total:
        raise DataError(f'`validation_from` must be "train" or "test", but got {validation_from!r}')
    if not 1 <= validation < total[validation_from]:
        raise DataError(
            f"`1 <= validation < {total[validation_from]}` must hold with "
            f'validation_from="{validation_from}", but got {validation}'
        )
    last = total["train"] - validation if validation_from == "train" else total["train"]
    train = last if train is None else train
    if not 1 <= train <= last:
        raise DataError(f"`1 <= train <= {last}` must hold beside the validation images, but got {train}")

    def split(name: str, start: int, stop: int) -> Split:
        return Split(source.images(name, start, stop), source.labels(name)[start:stop])

    if validation_from == "train":
        held_out, rest = split("train", last, total["train"]), split("test", 0, total["test"])
    else:
        held_out, rest = split("test", 0, validation), split("test", validation, total["test"])
    return Data(split("train", 0, train), held_out, rest, prepare=unit_range, name="cifar10")


def unit_range(x: np.ndarray) -> np.ndarray:
    """Scale uint8 pixels of any shape to [0, 1], float32."""
    return x.astype(np.float32) / np.float32(255.0)


class _Source(Protocol):
    """Images and their classes, with alternating classes; `split` is "train" or "test"."""

    def labels(self, split: str) -> np.ndarray: ...

    def images(self, split: str, start: int, stop: int) -> np.ndarray: ...


class _KerasCache:
    """The original images from Keras's download cache, reordered so that classes alternate."""

    def __init__(self) -> None:
        import keras

        splits = zip(("train", "test"), keras.datasets.cifar10.load_data(), strict=True)
        self._splits = {}
        for name, (x, y) in splits:
            labels = y.reshape(-1).astype(np.int64)
            order = alternating(labels)
            self._splits[name] = x[order], labels[order]

    def labels(self, split: str) -> np.ndarray:
        return self._splits[split][1]

    def images(self, split: str, start: int, stop: int) -> np.ndarray:
        return self._splits[split][0][start:stop]


def _source() -> _Source:
    path = find_file(_FILE)
    if path is not None:
        return JpegArchive(path, (32, 32, 3), cache_folder())
    keras_archive = _keras_archive()
    # Keras downloads what isn't there, and looks elsewhere where it may not write.
    if keras_archive.is_file() and os.access(keras_archive.parent.parent, os.W_OK):
        return _KerasCache()
    looked = ", ".join(str(folder) for folder in data_folders())
    raise DataMissingError(
        f"CIFAR-10 needs the file {_FILE}, which is in none of: {looked}; nor has Keras downloaded "
        f"{keras_archive}. Mend it by one of: set MPSEARCH_DATA to the folder that holds {_FILE}; put "
        f"{_FILE} into {cache_folder()} (arrays train_jpeg, train_offsets, train_labels and the same for "
        "test, as the docstring of mpsearch.datasets.jpeg_archive.JpegArchive says); or let Keras download "
        "the original images, 170 MB from https://www.cs.toronto.edu/~kriz/cifar.html: "
        "python -c 'import keras; keras.datasets.cifar10.load_data()'"
    )


def _keras_archive() -> Path:
    """Where `keras.datasets.cifar10.load_data` keeps its download."""
    return keras_folder() / "cifar-10-batches-py-target_archive"
