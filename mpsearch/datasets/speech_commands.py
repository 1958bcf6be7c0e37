"""Speech Commands: spoken words of one second, of which ten are to be told apart from others and from silence."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mpsearch.data import Data, Split
from mpsearch.datasets.audio import MFCC, Standardized, mfcc, of_length, read_wav
from mpsearch.datasets.decoded import kept
from mpsearch.datasets.ordering import alternating
from mpsearch.datasets.sources import SOURCES
from mpsearch.errors import DataError, DataMissingError
from mpsearch.folders import find_folder

RATE = 16000  # samples a second
WORDS = ("down", "go", "left", "no", "off", "on", "right", "stop", "up", "yes")
SPEECH_COMMANDS = (*WORDS, "silence", "unknown")
_SOURCE = SOURCES["speech_commands"]
_NOISE = "_background_noise_"
_LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
_MISSING = (
    "Speech Commands needs its folder (looked for {looked}): unpack speech_commands_v0.02.tar.gz, of "
    f"{_SOURCE.origin}, into one in MPSEARCH_DATA; it has a folder for each word, {_NOISE}, "
    f"{' and '.join(_LISTS.values())}; or have it downloaded: {_SOURCE.command}"
)
_PARTS = ("train", "validation", "test")
_EXTRA = 0.1  # recordings of silence, and of unknown words, for each one of the ten words
_STEP = 1024  # recordings looked at in one go
_SILENCE, _UNKNOWN = len(WORDS), len(WORDS) + 1


def speech_commands(
    subset: int | None = None, noisy: float = 0.8, volume: float = 0.1, folder: str | None = None
) -> Data:
    """Load Speech Commands v2 as MFCC features of 12 classes: ten words, silence and unknown words.

    The parts are those of the data set's lists. For each ten recordings of the ten words there is one of another word,
    chosen at random, and one of background noise. Noise is mixed into training recordings, once. All random choices are
    the same each time. Each coefficient is brought to mean 0 and deviation 1 over the training recordings. Classes
    alternate, so that the first n recordings are as balanced as their numbers allow.

    Args:
        subset: recordings of each part at most.
        noisy: part of the training recordings into which noise is mixed.
        volume: of the noise, drawn from 0 to this.
        folder: name of the folder, in a data folder, or its path; default: `speech_commands_v0.02` or
            `speech_commands`.

    Returns:
        Data with features of shape (n, 49, 10, 1), float32, which `prepare` standardizes, and classes of shape (n,),
        int64, indices into `SPEECH_COMMANDS`.

    Raises:
        DataMissingError: there is no such folder, or it lacks a word, a list or the noise.
        DataError: a list names a file that isn't there, or a file isn't a WAV file of 16,000 samples a second.
        MissingPackageError: librosa or soundfile isn't installed.

    Source: P. Warden, Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition, arXiv:1804.03209.
    """
    if subset is not None and subset < 1:
        raise DataError(f"`subset >= 1` must hold, but got {subset}")
    if not (0 <= noisy <= 1 and volume >= 0):
        raise DataError(f"`0 <= noisy <= 1` and `volume >= 0` must hold, but got {noisy} and {volume}")
    root = find_folder(_SOURCE.roots if folder is None else (folder,), _MISSING)
    parts, noises = _parts(root), _noises(root)
    splits = {}
    for number, part in enumerate(_PARTS):
        clips = _chosen(parts[part], noises, number, subset)
        mixed = (noisy, volume) if part == "train" else (0.0, 0.0)
        wanted = [(clip.label, clip.seed, *_about(clip.path, root)) for clip in clips]
        made_of = repr((wanted, [_about(path, root) for path in noises], mixed))
        name = f"speech-commands-mfcc{MFCC}-{part}-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}"
        features = kept(name, partial(_features, clips, noises, *mixed))
        splits[part] = Split(features, np.array([clip.label for clip in clips], dtype=np.int64))
    prepare = Standardized.of(splits["train"].x)
    return Data(splits["train"], splits["validation"], splits["test"], prepare=prepare, name="speech_commands")


@dataclass(frozen=True)
class _Clip:
    """A recording that is wanted.

    Attributes:
        path: of its file; of a file of noise for silence.
        label: its class.
        seed: of what is drawn for it.
    """

    path: Path
    label: int
    seed: int


def _about(path: Path, root: Path) -> tuple[str, int, int]:
    """What tells a file from another one in its place."""
    return str(path.relative_to(root)), path.stat().st_size, path.stat().st_mtime_ns


def _parts(root: Path) -> dict[str, list[Path]]:
    """All recordings of words by part, in order of names."""
    missing = _SOURCE.missing(root)
    if missing:
        raise DataMissingError(f"{root} has no {', '.join(missing)}: unpack speech_commands_v0.02.tar.gz anew")
    listed = {}
    for part, name in _LISTS.items():
        listed[part] = [root / line for line in (root / name).read_text().split()]
        gone = [path for path in listed[part] if not path.is_file()]
        if gone:
            raise DataError(
                f"{root / name} names {gone[0].relative_to(root)}, which isn't there: unpack the archive anew"
            )
    others = set(listed["validation"]) | set(listed["test"])
    words = (path for path in sorted(root.glob("*/*.wav")) if path.parent.name != _NOISE)
    return {"train": [path for path in words if path not in others], **{part: sorted(listed[part]) for part in _LISTS}}


def _noises(root: Path) -> list[Path]:
    found = sorted((root / _NOISE).glob("*.wav"))
    if not found:
        raise DataMissingError(f"{root / _NOISE} has no WAV files: unpack speech_commands_v0.02.tar.gz anew")
    return found


def _chosen(paths: Sequence[Path], noises: Sequence[Path], number: int, subset: int | None) -> list[_Clip]:
    """The recordings of a part, silence and unknown words among them, classes alternating."""
    rng = np.random.default_rng((0, number))
    known = [path for path in paths if path.parent.name in WORDS]
    unknown = [path for path in paths if path.parent.name not in WORDS]
    if not known or not unknown:
        raise DataError(
            f"a part has {len(known)} recordings of the ten words and {len(unknown)} of others: it needs both"
        )
    count = math.ceil(_EXTRA * len(known))
    some = rng.permutation(len(unknown))[:count]
    clips = [(path, WORDS.index(path.parent.name)) for path in known]
    clips += [(noises[index], _SILENCE) for index in rng.integers(len(noises), size=count).tolist()]
    clips += [(unknown[index], _UNKNOWN) for index in some]
    order = alternating(np.array([label for _, label in clips]))[:subset]
    return [_Clip(clips[index][0], clips[index][1], int(index)) for index in order]


def _features(clips: Sequence[_Clip], noises: Sequence[Path], noisy: float, volume: float) -> np.ndarray:
    """Features of recordings, shape (n, 49, 10, 1)."""
    sounds = {path: read_wav(path, RATE) for path in noises}
    short = [path for path, sound in sounds.items() if len(sound) < RATE]
    if short:
        raise DataError(f"{short[0]} must be a second long at least: unpack speech_commands_v0.02.tar.gz anew")
    parts = []
    for start in range(0, len(clips), _STEP):  # sounds take thirty times the memory of their features
        sound = np.stack([_sound(clip, sounds, noisy, volume) for clip in clips[start : start + _STEP]])
        parts.append(mfcc(sound, RATE))
    return np.concatenate(parts)


def _sound(clip: _Clip, noises: Mapping[Path, np.ndarray], noisy: float, volume: float) -> np.ndarray:
    """One second, float32 in [-1, 1]."""
    rng = np.random.default_rng((1, clip.seed))
    if clip.label == _SILENCE:
        return (_second(noises[clip.path], rng) * rng.uniform(0, 1)).astype(np.float32)
    samples = of_length(read_wav(clip.path, RATE), RATE)
    if rng.uniform() < noisy:
        noise = list(noises.values())[int(rng.integers(len(noises)))]
        samples = (samples + _second(noise, rng) * rng.uniform(0, volume)).astype(np.float32)
    return np.clip(samples, -1, 1)


def _second(sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One second of a longer sound, from anywhere."""
    start = int(rng.integers(len(sound) - RATE + 1))
    return sound[start : start + RATE]
