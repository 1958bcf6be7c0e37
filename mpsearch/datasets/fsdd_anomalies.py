"""Spoken digits as sounds of a machine: some digits are normal, the others anomalies. A stand-in for machine sounds."""

from collections.abc import Collection

import numpy as np

from mpsearch.data import Data, Split
from mpsearch.datasets.audio import JOINED, LOG_MEL, MEL_BANDS, StandardizedFrames, joined_frames, log_mel
from mpsearch.datasets.decoded import kept
from mpsearch.datasets.fsdd import RATE, Recordings, recordings
from mpsearch.errors import DataError

WINDOW, HOP = 512, 128  # samples: 64 ms, as DCASE 2020 task 2 has it, and a quarter, for words are short
SHORTEST = (JOINED - 1) * HOP  # samples of a recording that make one sample of joined frames


def fsdd_anomalies(anomalous: Collection[int] = (7, 8, 9), deviation: float = 2.8) -> Data:
    """Load spoken digits as log-mel frames, some digits as anomalies, from `fsdd_8khz.npz`; never download them.

    This is a stand-in for sounds of machines (`machine_sounds`), for trying the whole way where these aren't at hand: a
    digit is no machine, and figures on it say nothing about anomaly detection elsewhere. Frames of 64 ms every 16 ms in
    128 mel bands, 5 neighbouring ones joined to a sample. Training and validation hold the normal digits of their takes
    (see `fsdd`), the test split all digits of its takes: errors on it are larger, for anomalies are among its samples.

    Args:
        anomalous: digits that count as anomalies.
        deviation: of each mel band over the training frames after `prepare`; by it reconstruction errors lie around
            1, where "bounded_mean_squared_error" tells models apart. With the default and `spaces/fc_autoencoder.py` it
            was 0.92 for the float model, 0.92 with 8 and 0.22 with 4 bits everywhere (validation split, five epochs).

    Returns:
        Data with samples of shape (n, 640), float32, in dB, which `prepare` standardizes; `reconstructs` is set, and y
        has the number of the recording and whether its digit is anomalous, shape (n, 2), int64.

    Raises:
        DataMissingError: the archive is in no data folder.
        DataError: it is malformed; or no digit would be normal, or none anomalous.
        MissingPackageError: librosa isn't installed.

    Source: Z. Jackson et al., Free Spoken Digit Dataset, github.com/Jakobovski/free-spoken-digit-dataset,
    CC BY-SA 4.0; features as in `machine_sounds`.
    """
    digits = set(anomalous)
    if not digits or not digits < set(range(10)):
        raise DataError(f"`anomalous` must be some of the digits 0 to 9, and not all, but got {sorted(digits)}")
    found = recordings()
    lengths = np.diff(found.offsets)
    if lengths.min() < SHORTEST:
        raise DataError(
            f"recording {lengths.argmin()} of fsdd_8khz.npz has {lengths.min()} samples, but needs {SHORTEST}: get the "
            "archive anew"
        )
    frames = kept(f"fsdd-logmel{LOG_MEL}-{WINDOW}-{HOP}-{found.digest}", lambda: _frames(found))
    ends = np.cumsum(1 + lengths // HOP)
    parts = np.split(frames, ends[:-1])
    odd = np.isin(found.labels, sorted(digits))

    def split(chosen: np.ndarray) -> Split:
        samples = {int(index): joined_frames(parts[index]) for index in np.flatnonzero(chosen)}
        y = np.concatenate([np.tile([index, odd[index]], (len(some), 1)) for index, some in samples.items()])
        return Split(np.concatenate(list(samples.values())), y.astype(np.int64))

    train = found.of("train") & ~odd
    prepare = StandardizedFrames.of(np.concatenate([parts[index] for index in np.flatnonzero(train)]), deviation)
    return Data(
        split(train),
        split(found.of("validation") & ~odd),
        split(found.of("test")),
        prepare=prepare,
        name="fsdd_anomalies",
        reconstructs=True,
    )


def _frames(found: Recordings) -> np.ndarray:
    """The frames of all recordings, one after another, shape (n, 128)."""
    frames = [log_mel(sound, RATE, WINDOW, HOP) for sound in found.sounds()]
    return np.concatenate(frames).reshape(-1, MEL_BANDS)
