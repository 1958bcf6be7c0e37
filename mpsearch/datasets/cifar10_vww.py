"""Animals against vehicles in CIFAR-10: a stand-in for Visual Wake Words."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np

from mpsearch.data import Data, Samples, Split
from mpsearch.datasets.cifar10 import CIFAR10_CLASSES, cifar10, unit_range
from mpsearch.errors import DataError

_ANIMALS = ("bird", "cat", "deer", "dog", "frog", "horse")


def cifar10_vww(
    train: int | None = None,
    validation: int = 2000,
    size: int = 96,
    *,
    validation_from: Literal["train", "test"] = "train",
) -> Data:
    """Load CIFAR-10 as a two-class task: animals (1, 60 % of the images) against vehicles (0).

    This is a stand-in, not Visual Wake Words: that dataset asks whether a person is in a photo
    of COCO. Of it, only the shape is kept: two classes, images of `size` x `size`. The images
    are enlarged from 32x32, so they hold no finer detail, and the task is easier. Accuracies
    can't be compared with published ones of Visual Wake Words.

    Args:
        train: number of training images, the first ones; None for all that validation leaves.
        validation: number of validation images.
        size: height and width of the model's inputs, at least 32.
        validation_from: where the validation images come from, as for `cifar10`.

    Returns:
        Data with images of shape (n, 32, 32, 3), uint8, which `prepare` enlarges to
        (n, size, size, 3) in [0, 1], and classes of shape (n,), int64.

    Raises:
        DataError: `size` is below 32; and all that `cifar10` raises.

    Source: the images, A. Krizhevsky, 2009 (see `cifar10`); the task it stands in for,
    A. Chowdhery et al., Visual Wake Words Dataset, arXiv:1906.05721.
    """
    prepare = Enlarge(size)
    data = cifar10(train, validation, validation_from=validation_from)
    animal = np.array([name in _ANIMALS for name in CIFAR10_CLASSES], dtype=np.int64)

    def relabel(split: Samples | None) -> Split:
        assert isinstance(split, Split)
        return Split(split.x, animal[split.y])

    return replace(
        data,
        train=relabel(data.train),
        validation=relabel(data.validation),
        test=relabel(data.test),
        prepare=prepare,
        name="cifar10_vww",
    )


@dataclass(frozen=True)
class Enlarge:
    """Enlarges square images bilinearly and scales their pixels to [0, 1].

    Pixel centres are at half-integers and the border repeats, as in `tf.image.resize`.

    Attributes:
        size: height and width of the result, in pixels.
    """

    size: int

    def __post_init__(self) -> None:
        if self.size < 32:
            raise DataError(f"`size >= 32` must hold, images are only enlarged, but got {self.size}")

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Shape (n, side, side, channels), uint8, to (n, size, size, channels), float32."""
        n, side, _, channels = x.shape
        below, weight = _taps(side, self.size)
        columns = (below[:, None] * channels + np.arange(channels)).reshape(-1)
        column_weight, row_weight = weight.repeat(channels), weight[:, None]
        rows = unit_range(x).reshape(n, side, side * channels)
        steps = rows[:, :, channels:] - rows[:, :, :-channels]
        enlarged = np.empty((n, self.size, self.size * channels), dtype=np.float32)
        # Image by image, which stays in the processor's cache. Products with a matrix of weights
        # were as fast on idle cores, but took 500 ms a batch where BLAS had to share them.
        for image, step, result in zip(rows, steps, enlarged, strict=True):
            wide = image.take(columns, axis=1, mode="clip")
            wide += step.take(columns, axis=1, mode="clip") * column_weight
            rise = (wide[1:] - wide[:-1]).take(below, axis=0, mode="clip")
            rise *= row_weight
            wide.take(below, axis=0, mode="clip", out=result)
            result += rise
        return enlarged.reshape(n, self.size, self.size, channels)


@lru_cache
def _taps(side: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """For each of `size` pixels the index of the source pixel below it, and the next one's weight."""
    centres = np.clip((np.arange(size) + 0.5) * side / size - 0.5, 0, side - 1)
    below = np.minimum(centres.astype(np.intp), side - 2)
    return below, (centres - below).astype(np.float32)
