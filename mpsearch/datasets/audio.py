"""Audio: WAV files, and the features of speech and of machines; by librosa and soundfile, the extra `audio`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mpsearch.errors import DataError, MissingPackageError

FRAMES, COEFFICIENTS = 49, 10  # of a clip of one second
MFCC = 1  # version of `mfcc`, by which features in a cache are told from others
_MELS, _LOWEST, _HIGHEST = 40, 20.0, 4000.0  # mel bands, and where they begin and end in Hz
_STEP, _FRAMES_STEP = 256, 65536  # clips and frames looked at in one go
_FLOOR = 1e-6  # added to energies before the logarithm
MEL_BANDS, JOINED = 128, 5  # of a frame of a machine's sound; neighbouring frames joined to one sample
LOG_MEL = 1  # version of `log_mel`, as `MFCC`


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


def log_mel(samples: np.ndarray, rate: int, window: int, hop: int) -> np.ndarray:
    """Log-mel frames as DCASE 2020 task 2 and MLPerf Tiny's anomaly detection have them.

    Power spectra under Hann windows, whose centres are `hop` samples apart from the first sample on (the ends are
    mirrored), in 128 mel bands from 0 Hz to rate / 2 (Slaney's scale and areas), in dB: 10·log10(power + 2^-52).

    Args:
        samples: a recording, shape (samples,), float32 in [-1, 1]; longer than half a window.
        rate: samples a second.
        window, hop: in samples.

    Returns:
        Shape (1 + samples // hop, 128), float32.

    Raises:
        DataError: the recording is too short.
        MissingPackageError: librosa isn't installed.

    Source: Y. Koizumi et al., DCASE2020 Challenge Task 2, DCASE Workshop 2020, section 4 (the baseline);
    `training/anomaly_detection/common.py` of github.com/mlcommons/tiny.
    """
    if len(samples) <= window // 2:
        raise DataError(f"a recording must be longer than {window // 2} samples, half a window, but has {len(samples)}")
    power = _package("librosa").feature.melspectrogram(
        y=samples, sr=rate, n_fft=window, hop_length=hop, n_mels=MEL_BANDS, power=2.0, pad_mode="reflect"
    )
    return np.asarray(10 * np.log10(power.T + np.finfo(np.float64).eps), dtype=np.float32)


def joined_frames(frames: np.ndarray) -> np.ndarray:
    """Each 5 neighbouring frames of a recording as one sample, the first one first: shape (n, 128) to (n - 4, 640).

    Args:
        frames: 5 at least.
    """
    windows = np.lib.stride_tricks.sliding_window_view(frames, JOINED, axis=0)  # (n - 4, 128, 5)
    return windows.transpose(0, 2, 1).reshape(len(windows), -1)


@dataclass(frozen=True)
class StandardizedFrames:
    """Brings each mel band of joined frames to mean 0 and one deviation.

    Attributes:
        means, deviations: of the bands before; the deviation of a band that never changes counts as 1.
        deviation: afterwards.
    """

    means: tuple[float, ...]
    deviations: tuple[float, ...]
    deviation: float

    @classmethod
    def of(cls, frames: np.ndarray, deviation: float) -> "StandardizedFrames":
        """By frames of shape (n, bands)."""
        if not deviation > 0:
            raise DataError(f"`deviation` must be positive, but got {deviation!r}")
        means = frames.mean(0, np.float64)
        steps = range(0, len(frames), _FRAMES_STEP)
        squares = sum(np.square(frames[start : start + _FRAMES_STEP] - means).sum(0) for start in steps)
        found = np.sqrt(squares / len(frames))
        return cls(tuple(means.tolist()), tuple(np.where(found > 0, found, 1.0).tolist()), float(deviation))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Shape (n, frames · bands) to the same."""
        means = np.array(self.means, dtype=np.float32)
        factors = np.array(self.deviation / np.array(self.deviations), dtype=np.float32)
        return np.asarray((x.reshape(len(x), -1, len(means)) - means) * factors).reshape(x.shape)


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
