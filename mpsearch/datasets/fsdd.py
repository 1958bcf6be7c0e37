"""Free Spoken Digit Dataset: 3,000 recordings of the digits 0 to 9 by six speakers."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from mpsearch.data import Data, Split
from mpsearch.datasets.audio import MFCC, Standardized, mfcc, of_length
from mpsearch.datasets.decoded import DAMAGED, kept
from mpsearch.datasets.ordering import alternating
from mpsearch.errors import DataError, DataMissingError
from mpsearch.folders import data_folders, find_file

RATE = 8000  # samples a second
TEST_TAKES, VALIDATION_TAKES = range(5), range(5, 10)
_FILE = "fsdd_8khz.npz"
_ARRAYS = ("pcm", "offsets", "labels", "takes")


def fsdd(train: int | None = None) -> Data:
    """Load spoken digits as MFCC features, from `fsdd_8khz.npz`; never download them.

    Each recording is cut to its first second, or silence is put behind it. Each coefficient is brought to mean 0 and
    deviation 1 over the training recordings, so that one scale suits the whole map. Takes 0 to 4 of each speaker and
    digit are the test split, as the data set has it; takes 5 to 9 are for validation. Classes alternate, so that the
    first n recordings are balanced.

    Args:
        train: number of training recordings, the first ones; None for all 2,400.

    Returns:
        Data with features of shape (n, 49, 10, 1), float32, which `prepare` standardizes, and digits of shape (n,),
        int64.

    Raises:
        DataMissingError: the archive is in no data folder.
        DataError: it is malformed, or has fewer training recordings than asked for.
        MissingPackageError: librosa isn't installed.

    Source: Z. Jackson et al., Free Spoken Digit Dataset, github.com/Jakobovski/free-spoken-digit-dataset,
    CC BY-SA 4.0.
    """
    found = recordings()
    labels = found.labels
    features = kept(f"fsdd-mfcc{MFCC}-{found.digest}", lambda: mfcc(_clips(found), RATE))

    def split(chosen: np.ndarray) -> Split:
        indices = np.flatnonzero(chosen)
        order = indices[alternating(labels[indices])]
        return Split(features[order], labels[order])

    rest = split(found.of("train"))
    prepare = Standardized.of(rest.x)
    if train is not None and not 1 <= train <= len(rest):
        raise DataError(f"`1 <= train <= {len(rest)}` must hold, but got {train}")
    train_split = rest.head(train or len(rest))
    validation, test = split(found.of("validation")), split(found.of("test"))
    return Data(train_split, validation, test, prepare=prepare, name="fsdd")


@dataclass(frozen=True)
class Recordings:
    """The whole data set.

    Attributes:
        pcm: samples of all recordings, one after another, int16.
        offsets: where each begins, and the last one ends; shape (n + 1,).
        labels: digits, int64, shape (n,).
        takes: number of the speaker's recording of the digit, from 0; shape (n,).
    """

    pcm: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    takes: np.ndarray

    @property
    def digest(self) -> str:
        """SHA-256 of the sounds, 16 hex digits."""
        return hashlib.sha256(self.pcm.tobytes() + self.offsets.tobytes()).hexdigest()[:16]

    def of(self, part: str) -> np.ndarray:
        """Which recordings are of a part, "train", "validation" or "test"; shape (n,), bool."""
        test, validation = np.isin(self.takes, TEST_TAKES), np.isin(self.takes, VALIDATION_TAKES)
        return np.asarray({"train": ~(test | validation), "validation": validation, "test": test}[part])

    def sounds(self) -> Iterator[np.ndarray]:
        """Each recording, float32 in [-1, 1]."""
        for start, stop in pairwise(self.offsets):
            yield self.pcm[start:stop].astype(np.float32) / 2**15


def recordings() -> Recordings:
    """The recordings of `fsdd_8khz.npz`.

    Raises:
        DataMissingError: the archive is in no data folder.
        DataError: it is malformed.
    """
    path = find_file(_FILE)
    if path is None:
        looked = ", ".join(str(folder) for folder in data_folders())
        raise DataMissingError(
            f"spoken digits need the file {_FILE}, which is in none of: {looked}. Set MPSEARCH_DATA to its folder; it "
            "holds pcm (int16, all recordings one after another), offsets (int64, n + 1), labels and takes, "
            "made of the WAV files of github.com/Jakobovski/free-spoken-digit-dataset"
        )
    found = _read(path)
    return Recordings(found["pcm"], found["offsets"], found["labels"].astype(np.int64), found["takes"])


def _read(path: Path) -> dict[str, np.ndarray]:
    """The archive's arrays, checked against each other."""
    try:
        with path.open("rb") as stream, np.load(stream) as arrays:
            missing = [name for name in _ARRAYS if name not in arrays]
            if missing:
                raise DataError(f"{path} must hold the arrays {', '.join(_ARRAYS)}, but has no {', '.join(missing)}")
            found = {name: np.asarray(arrays[name]) for name in _ARRAYS}
    except DataError:
        raise
    except DAMAGED as error:
        raise DataError(f"{path} isn't a whole .npz archive ({error}): get it anew") from error
    count, offsets = len(found["labels"]), found["offsets"]
    whole = len(offsets) == count + 1 and len(found["takes"]) == count and offsets[-1] == len(found["pcm"])
    if not whole or (np.diff(offsets) <= 0).any() or not set(np.unique(found["labels"])) <= set(range(10)):
        raise DataError(f"the arrays of {path} don't fit together: get the archive anew")
    return found


def _clips(found: Recordings) -> np.ndarray:
    """Recordings of one second each, shape (n, RATE), float32 in [-1, 1]."""
    return np.stack([of_length(sound, RATE) for sound in found.sounds()])
