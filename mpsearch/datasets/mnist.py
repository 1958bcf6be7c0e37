"""MNIST and Fashion-MNIST: 70,000 grey images of 28x28 pixels in 10 classes, in their IDX files."""

import gzip
import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mpsearch.data import Data, Split
from mpsearch.datasets.cifar10 import unit_range
from mpsearch.datasets.decoded import DAMAGED
from mpsearch.datasets.ordering import alternating
from mpsearch.datasets.sources import SOURCES
from mpsearch.errors import DataError, DataMissingError

FASHION_CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
_UNSIGNED_BYTES = 8  # the element type in an IDX file's first four bytes


def mnist(train: int | None = None, validation: int = 5000, size: int = 28, channels: int = 1) -> Data:
    """Load MNIST, handwritten digits, from the IDX files in a folder `mnist`; never download them.

    Args:
        train, validation, size, channels: as for `fashion_mnist`.

    Returns:
        Data as `fashion_mnist` gives them.

    Raises:
        DataMissingError, DataError: as `fashion_mnist`.

    Source: Y. LeCun et al., Gradient-Based Learning Applied to Document Recognition, Proceedings of the IEEE 86, 1998.
    """
    return _loaded("mnist", train, validation, Framed(size, channels))


def fashion_mnist(train: int | None = None, validation: int = 5000, size: int = 28, channels: int = 1) -> Data:
    """Load Fashion-MNIST from the IDX files in a folder `fashion-mnist`; never download them.

    The folder is looked for in the data folders; it holds `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
    `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, each as it is or compressed (`.gz`). Keras's download,
    `~/.keras/datasets/fashion-mnist`, is found as well. Classes alternate, so that the first n images are balanced.

    Args:
        train: number of training images, the first ones; None for all that validation leaves.
        validation: number of validation images, the last of the training images.
        size: height and width of the model's inputs, at least 28; images are put into the middle of zeros.
        channels: of the model's inputs; the grey values stand in each.

    Returns:
        Data with images of shape (n, 28, 28), uint8, which `prepare` turns into (n, size, size, channels) in [0, 1],
        and classes of shape (n,), int64, indices into `FASHION_CLASSES`.

    Raises:
        DataMissingError: a file is in no data folder.
        DataError: a file is damaged or of another kind, or the sizes don't fit.

    Source: H. Xiao et al., Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms,
    arXiv:1708.07747.
    """
    return _loaded("fashion-mnist", train, validation, Framed(size, channels))


@dataclass(frozen=True)
class Framed:
    """Puts grey images into the middle of larger ones, and scales their pixels to [0, 1].

    Attributes:
        size: height and width of the result, in pixels.
        channels: of the result, all the same.
    """

    size: int = 28
    channels: int = 1

    def __post_init__(self) -> None:
        if self.size < 28 or self.channels < 1:
            raise DataError(f"`size >= 28` and `channels >= 1` must hold, but got {self.size} and {self.channels}")

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Shape (n, 28, 28), uint8, to (n, size, size, channels), float32."""
        before = (self.size - x.shape[1]) // 2
        after = self.size - x.shape[1] - before
        framed = np.pad(unit_range(x), ((0, 0), (before, after), (before, after)))
        return np.repeat(framed[..., np.newaxis], self.channels, axis=-1)


def _loaded(name: str, train: int | None, validation: int, prepare: Framed) -> Data:
    x, y = _split(name, "train")
    test_x, test_y = _split(name, "t10k")
    if not 1 <= validation < len(y):
        raise DataError(f"`1 <= validation < {len(y)}` must hold, but got {validation}")
    last = len(y) - validation
    train = last if train is None else train
    if not 1 <= train <= last:
        raise DataError(f"`1 <= train <= {last}` must hold beside the validation images, but got {train}")
    held_out = Split(x[last:], y[last:])
    return Data(Split(x[:train], y[:train]), held_out, Split(test_x, test_y), prepare=prepare, name=name)


def _split(name: str, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images, shape (n, 28, 28), and their classes, alternating."""
    images, labels = _idx(name, f"{part}-images-idx3-ubyte"), _idx(name, f"{part}-labels-idx1-ubyte")
    if images.ndim != 3 or images.shape[1:] != (28, 28) or labels.shape != images.shape[:1] or (labels > 9).any():
        raise DataError(
            f"the files {part}-… of {name} must hold images of 28x28 and as many classes from 0 to 9, but hold shapes "
            f"{images.shape} and {labels.shape}: get them anew"
        )
    order = alternating(labels)
    return images[order], labels[order].astype(np.int64)


def _idx(name: str, file: str) -> np.ndarray:
    """The array of an IDX file."""
    source = SOURCES[name.replace("-", "_")]
    folders = source.candidates()
    for path in (folder / form for folder in folders for form in (file, f"{file}.gz")):
        if path.is_file():
            return read_idx(path)
    looked = ", ".join(str(folder) for folder in folders)
    raise DataMissingError(
        f"{name} needs the file {file} or {file}.gz, which is in none of: {looked}. Put its four files, of "
        f"{source.origin}, into the folder `{name}` in MPSEARCH_DATA, or have them downloaded: {source.command}"
    )


def read_idx(path: Path) -> np.ndarray:
    """The bytes of an IDX file, compressed where its name ends in `.gz`, as an array.

    Raises:
        DataError: it isn't a whole IDX file of unsigned bytes.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except DAMAGED as error:
        raise DataError(f"{path} can't be read ({error}): get it anew") from error
    if len(content) < 4 or content[:3] != bytes((0, 0, _UNSIGNED_BYTES)):
        raise DataError(f"{path} isn't an IDX file of unsigned bytes: it begins with {content[:4].hex()}")
    dimensions = content[3]
    head = 4 + 4 * dimensions
    if len(content) < head:
        raise DataError(f"{path} ends within its head: get it anew")
    shape = struct.unpack(f">{dimensions}I", content[4:head])
    if len(content) - head != math.prod(shape):
        raise DataError(
            f"{path} must hold {math.prod(shape):,} bytes behind its head, but holds {len(content) - head:,}"
        )
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)
