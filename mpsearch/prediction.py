"""Use an exported file: predict with it, and measure how long that takes and how often it is right."""

import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mpsearch import datasets
from mpsearch.data import Data
from mpsearch.errors import ConfigError, DataError, ExportError, MissingPackageError
from mpsearch.export.decisions import decisions, middle_of
from mpsearch.export.runtime import Runtime
from mpsearch.split import Split, flat

BATCH = 64
CODE = "for code that runs it see *Files for a device* in the documentation"
WARM_UP = 10
TIMED = 200
READY = ("cifar10", "cifar10_vww", "digits", "fashion_mnist", "fsdd", "mnist", "speech_commands", "visual_wake_words")
"""Datasets that are loaded by their names alone."""


@dataclass(frozen=True)
class Latency:
    """How long one sample takes, alone in its batch.

    Attributes:
        runs: that were measured, after some that weren't.
        median_ms, p95_ms: milliseconds.
    """

    runs: int
    median_ms: float
    p95_ms: float

    @property
    def frames_per_second(self) -> float:
        """One after another."""
        return 1000.0 / self.median_ms


def inputs_from(text: str, shape: Sequence[int], part: str, count: int) -> Split:
    """Samples as model inputs, with their targets where these are known.

    Args:
        text: an `.npz` file with `x` and perhaps `y`, a space file, a folder of images with a folder for each class, or
            the name of a dataset.
        shape: of one model input.
        part: "train", "validation" or "test"; an `.npz` file is taken whole.
        count: of samples at most, spread evenly.

    Returns:
        `x` float32 of shape (n, *shape); `y` NaN where there are no targets.

    Raises:
        ConfigError: there is no such file, folder, dataset or part.
        DataError: the samples don't fit the model.
    """
    if part not in ("train", "validation", "test"):
        raise ConfigError(f"--split must be train, validation or test, but got {part!r}")
    path = Path(text)
    if path.suffix == ".npz":
        split = _arrays(path).spread(count)
    else:
        data = _data(text, path, shape)
        samples = getattr(data, part)
        if samples is None:
            raise DataError(f"{text} has no {part} split: give another --split")
        split = samples.spread(count)
        split = Split(data.inputs(split.x), split.y)
    if len(flat(split.x)) != 1:
        raise DataError(f"files with several inputs can't be run from the command line: {CODE}")
    x = np.asarray(flat(split.x)[0], np.float32)
    if x.shape[1:] != tuple(shape):
        raise DataError(f"the file takes samples of shape {tuple(shape)}, but {text} has {x.shape[1:]}")
    return Split(x, split.y)


def _data(text: str, path: Path, shape: Sequence[int]) -> Data:
    if path.suffix == ".py":
        from mpsearch.spacefile import find_space_file, load_space_file

        return load_space_file(find_space_file(text)).task.data()
    if path.is_dir():
        return datasets.image_folder(str(path.resolve()), size=int(shape[0]))
    if text not in READY:
        raise ConfigError(
            f"--data must be an .npz file, a space file, a folder of images or one of {', '.join(READY)}, but got "
            f"{text!r}"
        )
    made = getattr(datasets, text)()
    assert isinstance(made, Data)
    return made


def _arrays(path: Path) -> Split:
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            if "x" not in arrays:
                raise DataError(f"{path} needs an array `x` of samples, but has {', '.join(arrays) or 'none'}")
            x = arrays["x"]
            y = arrays["y"] if "y" in arrays else np.full(len(x), np.nan)
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} can't be read as an .npz file of arrays: {error}") from error
    return Split(x, y)


def predict(runtime: Runtime, x: np.ndarray) -> np.ndarray:
    """The first output for all samples, float32 (n, ...)."""
    batches = [runtime([x[start : start + BATCH]])[0] for start in range(0, len(x), BATCH)]
    return np.concatenate(batches)


def accuracy(outputs: np.ndarray, y: Any) -> float | None:
    """Share of samples whose largest output is their class; None where the targets are no classes of these outputs."""
    if not isinstance(y, np.ndarray) or y.dtype.kind not in "biuf" or outputs.ndim != 2:
        return None
    classes = y.argmax(axis=1) if y.ndim == 2 and y.shape[1] == outputs.shape[1] > 1 else y.reshape(len(y), -1)[:, 0]
    if y.size not in (len(y), outputs.size) or not np.array_equal(classes, np.round(classes)):
        return None
    return float(np.mean(decisions(outputs, middle_of(outputs)) == classes))


def latency(runtime: Runtime, x: np.ndarray, runs: int = TIMED) -> Latency:
    """Time single samples, one after another.

    Args:
        runtime: of the file.
        x: samples, (n, ...), used in turn.
        runs: to measure.
    """
    seconds = []
    for number in range(WARM_UP + runs):
        sample = x[number % len(x)][None]
        started = time.perf_counter()
        runtime([sample])
        seconds.append(time.perf_counter() - started)
    measured = 1000.0 * np.array(seconds[WARM_UP:])
    return Latency(runs, float(np.median(measured)), float(np.percentile(measured, 95)))


@dataclass(frozen=True)
class Seen:
    """What a file made of a camera's picture.

    Attributes:
        frame: number of the picture, from 0.
        best: the class with the largest output; of a single output 1 where it is above the middle, else 0.
        output: the largest one.
        milliseconds: that the file took.
    """

    frame: int
    best: int
    output: float
    milliseconds: float


def watch(
    runtime: Runtime, shape: Sequence[int], source: str, stop: Callable[[int], bool] = lambda frame: False
) -> Iterator[Seen]:
    """Predict on pictures of a camera or a video file, one after another.

    The largest square in the middle is scaled to the model's input, pixels between 0 and 1.

    Args:
        runtime: of the file.
        shape: of the model's input: height, width and channels (3: RGB, 1: grey).
        source: number of a camera, or a video file.
        stop: told the number of each picture before it is taken; True ends.

    Raises:
        MissingPackageError: OpenCV isn't installed.
        ConfigError: there is no such camera or file.
        ExportError: the model takes no pictures.
    """
    if len(shape) != 3 or shape[2] not in (1, 3):
        raise ExportError(
            f"--camera needs a model of pictures (height, width, 1 or 3 channels), but got {tuple(shape)}"
        )
    try:
        import cv2
    except ImportError as error:
        raise MissingPackageError("--camera needs OpenCV: pip install 'mpsearch[camera]'") from error
    capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
    if not capture.isOpened():
        raise ConfigError(f"there is no camera or video {source}: give a camera's number, such as 0, or a video file")
    try:
        frame = 0
        while not stop(frame):
            there, picture = capture.read()
            if not there:
                return
            height, width = picture.shape[:2]
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            square = cv2.resize(picture[top : top + side, left : left + side], (shape[1], shape[0]))
            turned = cv2.cvtColor(square, cv2.COLOR_BGR2RGB if shape[2] == 3 else cv2.COLOR_BGR2GRAY)
            x = (turned.astype(np.float32) / 255.0).reshape(1, *shape)
            started = time.perf_counter()
            scores = runtime([x])[0].reshape(-1)
            middle = middle_of(scores)
            best = int(decisions(scores[None], middle)[0])
            yield Seen(frame, best, float(scores[min(best, len(scores) - 1)]), 1000.0 * (time.perf_counter() - started))
            frame += 1
    finally:
        capture.release()
