"""Sounds of machines, some of which are broken: the data of DCASE 2020 task 2, of which MLPerf Tiny takes ToyCar."""

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mpsearch.data import Data, Split
from mpsearch.datasets.audio import (
    JOINED,
    LOG_MEL,
    MEL_BANDS,
    StandardizedFrames,
    joined_frames,
    log_mel,
    read_wav,
)
from mpsearch.datasets.decoded import kept
from mpsearch.datasets.ordering import alternating
from mpsearch.datasets.sources import SOURCES
from mpsearch.errors import DataError, DataMissingError
from mpsearch.folders import find_folder

RATE = 16000  # samples a second
WINDOW, HOP = 1024, 512  # samples: 64 ms and 32 ms
MIDDLE = (50, 250)  # the frames that MLPerf Tiny takes
_FOLDERS = ("", "dev_data", "dcase2020_task2")
_NAME = re.compile(r"(normal|anomaly)_id_(\d+)_\d+\.wav")
_MISSING = (
    "machine sounds need the folder {machine} (looked for {looked}): unpack dev_data_{machine}.zip of "
    "zenodo.org/records/3678171 (ToyADMOS and MIMII, as the development data of DCASE 2020 task 2) into MPSEARCH_DATA; "
    "it has train/normal_id_01_00000000.wav and so on, and test/ with names that begin with normal and anomaly; or "
    f"have ToyCar downloaded: {SOURCES['machine_sounds'].command}"
)
_HELD_OUT = 0.1  # of the training files, for validation


def machine_sounds(
    machine: str = "ToyCar",
    folder: str | None = None,
    subset: int | None = None,
    frames: tuple[int, int] | None = MIDDLE,
    deviation: float = 2.8,
) -> Data:
    """Load recordings of machines as log-mel frames, to be reconstructed; never download them.

    16 kHz, windows of 64 ms every 32 ms, 128 mel bands in dB, 5 neighbouring frames joined to a sample. A tenth of the
    training files, all of them normal, are for validation, the same ones each time; the test files are normal and
    anomalous, so that errors on them are larger. Files alternate between machines and kinds, so that the first n of
    them are as balanced as their numbers allow. By default 4,000 files, as of ToyCar, make about 2 GB of training
    samples; their frames are cached in a fifth of that.

    Args:
        machine: folder of its recordings: ToyCar, ToyConveyor, fan, pump, slider or valve.
        folder: that the machine's folder is in, in a data folder, or its path; default: a data folder itself, or
            `dev_data` or `dcase2020_task2` in it.
        subset: files of each part at most.
        frames: the first frame that is taken, and the first one that isn't any more; None takes all.
        deviation: of each mel band over the training frames after `prepare`; by it reconstruction errors lie around 1,
            where "bounded_mean_squared_error" tells models apart. The default was measured on `fsdd_anomalies`.

    Returns:
        Data with samples of shape (n, 640), float32, in dB, which `prepare` standardizes; `reconstructs` is set, and y
        has the number of the file, in each split from 0, and whether it is anomalous, shape (n, 2), int64.

    Raises:
        DataMissingError: there is no such folder, or it lacks `train` or `test`.
        DataError: a file has another name than those of the data set, isn't a WAV file of 16,000 samples a second in
            one channel, or has another length; a part lacks files that it needs.
        MissingPackageError: librosa or soundfile isn't installed.

    Source: Y. Koizumi et al., Description and Discussion on DCASE2020 Challenge Task 2, DCASE Workshop 2020;
    Y. Koizumi et al., ToyADMOS, WASPAA 2019; H. Purohit et al., MIMII, DCASE Workshop 2019;
    `training/anomaly_detection` of github.com/mlcommons/tiny.
    """
    if subset is not None and subset < 1:
        raise DataError(f"`subset >= 1` must hold, but got {subset}")
    if frames is not None and not 0 <= frames[0] <= frames[1] - JOINED:
        raise DataError(f"`frames` must be (first, end) with at least {JOINED} frames between them, but got {frames}")
    places = [str(Path(place) / machine) for place in (_FOLDERS if folder is None else (folder,))]
    root = find_folder(places, _MISSING.replace("{machine}", machine))
    train, test = _files(root / "train"), _files(root / "test")
    validation = _held_out(train, root)
    held_out = set(validation)
    _check_kinds(train, test, root)
    wanted = {
        "train": _chosen([file for file in train if file not in held_out], subset),
        "validation": _chosen(validation, subset),
        "test": _chosen(test, subset),
    }
    found = {part: _kept_frames(files, root, part, frames) for part, files in wanted.items()}
    prepare = StandardizedFrames.of(found["train"].reshape(-1, MEL_BANDS), deviation)
    splits = {part: _split(files, found[part]) for part, files in wanted.items()}
    return Data(**splits, prepare=prepare, name=machine, reconstructs=True)


@dataclass(frozen=True)
class _File:
    """A recording.

    Attributes:
        path: of its file.
        machine: number of the machine that is heard.
        anomalous: whether it is broken, 0 or 1.
    """

    path: Path
    machine: int
    anomalous: int


def _files(folder: Path) -> list[_File]:
    """The recordings of a folder, in order of names; what is hidden is no recording."""
    if not folder.is_dir():
        raise DataMissingError(
            f"{folder.parent} has no folder {folder.name}: unpack the archive of zenodo.org/records/3678171 anew"
        )
    found = []
    for path in sorted(folder.iterdir()):
        match = _NAME.fullmatch(path.name)
        if match is not None:
            found.append(_File(path, int(match[2]), int(match[1] == "anomaly")))
        elif not path.name.startswith("."):
            raise DataError(
                f"{path} isn't called like a recording, normal_id_01_00000000.wav or anomaly_id_01_00000000.wav: what "
                "it is of can't be told; move it elsewhere"
            )
    return found


def _held_out(files: Sequence[_File], root: Path) -> list[_File]:
    """A tenth of the training files, drawn the same each time, at least one."""
    if len(files) < 2:
        raise DataError(f"{root / 'train'} has {len(files)} recordings, but 2 are needed: one of them validates")
    order = np.random.default_rng(0).permutation(len(files))
    return [files[index] for index in sorted(order[: math.ceil(_HELD_OUT * len(files))])]


def _check_kinds(train: Sequence[_File], test: Sequence[_File], root: Path) -> None:
    anomalous = [file.path for file in train if file.anomalous]
    if anomalous:
        raise DataError(f"{anomalous[0]} is anomalous, but all training files must be normal: move it elsewhere")
    counts = [sum(file.anomalous == kind for file in test) for kind in (0, 1)]
    if not all(counts):
        raise DataError(f"{root / 'test'} has {counts[0]} normal and {counts[1]} anomalous recordings: it needs both")


def _chosen(files: Sequence[_File], subset: int | None) -> list[_File]:
    """The first files in an order in which kinds, and within them machines, alternate."""
    within = alternating(np.array([file.machine for file in files]))
    by_kind = alternating(np.array([files[index].anomalous for index in within]))
    return [files[within[index]] for index in by_kind[:subset]]


def _kept_frames(files: Sequence[_File], root: Path, part: str, frames: tuple[int, int] | None) -> np.ndarray:
    """Frames of files, from the cache where they are there; shape (files, frames, 128)."""
    stats = [(file.path, file.path.stat()) for file in files]
    made_of = repr([(str(path.relative_to(root)), stat.st_size, stat.st_mtime_ns) for path, stat in stats])
    digest = hashlib.sha256(f"{made_of} {frames}".encode()).hexdigest()[:16]
    name = f"machine-{root.name}-logmel{LOG_MEL}-{part}-{digest}"
    return kept(name, partial(_frames, [file.path for file in files], frames))


def _frames(paths: Sequence[Path], frames: tuple[int, int] | None) -> np.ndarray:
    """Frames of files, shape (files, frames, 128)."""
    found: list[np.ndarray] = []
    for path in paths:
        samples = read_wav(path, RATE)
        least, count = JOINED if frames is None else frames[1], 1 + len(samples) // HOP
        if count < least:
            raise DataError(
                f"{path} is too short: it has {count} frames ({len(samples)} samples), but {least} are needed; get it "
                "anew, or give other `frames`"
            )
        some = log_mel(samples, RATE, WINDOW, HOP)[slice(*(frames or (None,)))]
        if found and len(some) != len(found[0]):
            raise DataError(
                f"{path} has {len(some)} frames, but {paths[0].name} has {len(found[0])}: all must be alike, or give "
                "`frames` that all have"
            )
        found.append(some)
    return np.stack(found)


def _split(files: Sequence[_File], frames: np.ndarray) -> Split:
    """Samples of files, file by file; made in place, since they take five times the memory of their frames."""
    each = frames.shape[1] - JOINED + 1
    x = np.empty((len(files) * each, JOINED * MEL_BANDS), dtype=np.float32)
    for number, some in enumerate(frames):
        x[number * each : (number + 1) * each] = joined_frames(some)
    anomalous = [file.anomalous for file in files]
    y = np.stack([np.repeat(np.arange(len(files)), each), np.repeat(anomalous, each)], axis=1)
    return Split(x, y.astype(np.int64))
