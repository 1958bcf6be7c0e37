"""Audio: WAV files, and the features of speech and of machines; by librosa and soundfile, the extra `audio`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mpsearch.errors import DataError, MissingPackageError

FRAMES, COEFFICIENTS = 49, 10  # of a clip of one second
MFCC = 1  # version of `mfcc`, by which features in a cache are told from others
_MELS, _LOWEST, _HIGHEST = 40, 20.0, 4000.0  # mel bands, and where they begin and end in Hz
_STEP = 256  # clips looked at in one go
_FLOOR = 1e-6  # added to energies before the logarithm


def mfcc(clips: np.ndarray, rate: int) -> np.ndarray:
    """Mel-frequency cepstral coefficients as MLPerf Tiny's keyword spotting has them.

    Windows of 30 ms every 20 ms, magnitudes in 40 mel bands from 20 Hz to 4 kHz, the first 10 coefficients. They are
    those of `tf.signal`, with which MLPerf Tiny makes them, but for the first one, which is larger there by the root
    of 2.

    Args:
        clips: one second each, shape (n, rate), float32 in [-1, 1].
        rate: samples a second, 8,000 at least.

    Returns:
        Shape (n, 49, 10, 1), float32.

    Raises:
        DataError: the clips have another length.
        MissingPackageError: librosa isn't installed.

    Source: P. Warden, Speech Commands, arXiv:1804.03209; `training/keyword_spotting/get_dataset.py` of
    github.com/mlcommons/tiny.
    """
    if clips.ndim != 2 or clips.shape[1] != rate:
        raise DataError(f"clips must be of one second, shape (n, {rate}), but have shape {clips.shape}")
    librosa = _package("librosa")
    window, hop = rate * 30 // 1000, rate * 20 // 1000
    transform = 1 << (window - 1).bit_length()  # the next power of two
    before = (transform - window) // 2  # librosa puts a window into the middle of its transform
    bands = librosa.filters.mel(
        sr=rate, n_fft=transform, n_mels=_MELS, fmin=_LOWEST, fmax=_HIGHEST, htk=True, norm=None
    )
    features = np.empty((len(clips), FRAMES, COEFFICIENTS, 1), dtype=np.float32)
    for start in range(0, len(clips), _STEP):
        some = np.pad(clips[start : start + _STEP], ((0, 0), (before, transform - window - before)))
        spectra = np.abs(librosa.stft(some, n_fft=transform, hop_length=hop, win_length=window, center=False))
        energies = np.log(bands @ spectra + _FLOOR)
        found = librosa.feature.mfcc(S=energies, n_mfcc=COEFFICIENTS, dct_type=2, norm="ortho")
        features[start : start + _STEP, ..., 0] = found.transpose(0, 2, 1)[:, :FRAMES]
    return features


@dataclass(frozen=True)
class Standardized:
    """Brings each cepstral coefficient to mean 0 and deviation 1.

    Attributes:
        means, deviations: of the coefficients before.
    """

    means: tuple[float, ...]
    deviations: tuple[float, ...]

    @classmethod
    def of(cls, features: np.ndarray) -> "Standardized":
        """By features of shape (n, frames, coefficients, 1)."""
        means, deviations = features.mean((0, 1, 3), np.float64), features.std((0, 1, 3), np.float64)
        return cls(tuple(means.tolist()), tuple(deviations.tolist()))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Shape (n, frames, coefficients, 1) to the same."""
        means, deviations = (np.array(values, dtype=np.float32) for values in (self.means, self.deviations))
        return np.asarray((x - means[:, np.newaxis]) / deviations[:, np.newaxis])


def read_wav(path: Path, rate: int) -> np.ndarray:
    """The samples of a WAV file of one channel, float32 in [-1, 1].

    Raises:
        DataError: it isn't a whole WAV file, or has another rate or several channels.
        MissingPackageError: soundfile isn't installed.
    """
    soundfile = _package("soundfile")
    try:
        samples, found = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise DataError(f"{path} isn't a whole WAV file ({error}): get it anew") from error
    if found != rate or samples.shape[1] != 1:
        raise DataError(
            f"{path} must have {rate} samples a second in 1 channel, but has {found} in {samples.shape[1]}: convert "
            f"it, for instance with `sox {path.name} -r {rate} -c 1 converted.wav`"
        )
    if not len(samples):
        raise DataError(f"{path} is empty: get it anew")
    return np.asarray(samples[:, 0])


def of_length(samples: np.ndarray, length: int) -> np.ndarray:
    """The first `length` samples, with silence behind them where there are fewer; shape (length,)."""
    return np.pad(samples[:length], (0, max(0, length - len(samples))))


def _package(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError as error:
        raise MissingPackageError(f"audio data needs {name}: pip install 'mpsearch[audio]'") from error
