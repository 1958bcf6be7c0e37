"""Images in folders, one folder for each class."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mpsearch.data import Data, Split
from mpsearch.datasets.cifar10 import unit_range
from mpsearch.datasets.decoded import kept
from mpsearch.datasets.ordering import alternating
from mpsearch.errors import DataError, DataMissingError
from mpsearch.folders import find_folder

KINDS = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".webp")
_PARTS = ("train", "validation", "test")
_MISSING = (
    "there is no folder of images `NAME` (looked for {looked}); it holds a folder for each class, or train, validation "
    "and test with these; MPSEARCH_DATA may name the folder around it"
)


def image_folder(
    name: str,
    size: int = 224,
    *,
    classes: Sequence[str] | None = None,
    subset: int | None = None,
    validation: float = 0.1,
    test: float = 0.1,
) -> Data:
    """Load images from a folder that has a folder for each class, or `train`, `validation` and `test` with such ones.

    Images are scaled to `size` x `size` with antialiasing, whatever their shape was. Where there are no folders for the
    parts, each class is divided by the names of its files: the last ones are for test, those before for validation.
    Classes alternate, so that the first n images are balanced.

    Args:
        name: of the folder: absolute, in the present folder or in a data folder.
        size: height and width of the model's inputs, in pixels.
        classes: names of the classes' folders, in the order of their indices; default: all, in alphabetical order.
        subset: images of each part at most, balanced; a search on few images, for instance.
        validation, test: parts of each class, where there are no folders for them.

    Returns:
        Data with images of shape (n, size, size, 3), uint8, which `prepare` scales to [0, 1], and classes, (n,), int64.

    Raises:
        DataMissingError: there is no such folder, or it lacks a class.
        DataError: a class has no images, a file isn't a whole image, or a folder holds something else.
    """
    if subset is not None and subset < 1:
        raise DataError(f"`subset >= 1` must hold, but got {subset}")
    root = find_folder((name,), _MISSING.replace("NAME", name))
    parts = _PARTS if (root / "train").is_dir() else ("",)
    found = {part: _files(root / part, classes) for part in parts}
    names = list(found[parts[0]])
    for part, files in found.items():
        if list(files) != names:
            raise DataError(
                f"{root / part} has the classes {', '.join(files)}, but {root / 'train'} {', '.join(names)}"
            )
    if parts == ("",):
        found = _divided(found[""], validation, test)

    def split(part: str) -> Split:
        paths = [path for files in found[part].values() for path in files]
        labels = np.repeat(np.arange(len(names)), [len(files) for files in found[part].values()])
        order = alternating(labels)[:subset]
        chosen = [paths[index] for index in order]
        return Split(_decoded(f"{root.name}-{part}", chosen, size), labels[order].astype(np.int64))

    train, held_out, rest = (split(part) for part in _PARTS)
    return Data(train, held_out, rest, prepare=unit_range, name=root.name)


def _files(folder: Path, classes: Sequence[str] | None) -> dict[str, list[Path]]:
    """Classes to their files, in order of names.

    Raises:
        DataError: a class is empty, or something else is among its images.
    """
    there = (
        sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
        if folder.is_dir()
        else []
    )
    names = there if classes is None else list(classes)
    missing = [name for name in names if name not in there]
    if missing or len(names) < 2:
        expected = f"the classes {', '.join(names)}" if missing else "at least two classes"
        raise DataMissingError(
            f"{folder} must hold a folder for each of {expected}, but has {', '.join(there) or 'none'}"
        )
    found = {}
    for name in names:
        files = sorted(path for path in (folder / name).rglob("*") if path.is_file() and path.name[0] != ".")
        others = [path for path in files if path.suffix.lower() not in KINDS]
        if others:
            raise DataError(f"{others[0]} is no image ({', '.join(KINDS)}): move it away")
        if not files:
            raise DataError(f"the class `{name}` has no images in {folder / name}")
        found[name] = files
    return found


def _divided(files: dict[str, list[Path]], validation: float, test: float) -> dict[str, dict[str, list[Path]]]:
    """The files of each class in three parts."""
    if not (0 < validation < 1 and 0 < test < 1 and validation + test < 1):
        raise DataError(f"`validation` and `test` must be parts of a whole, but got {validation} and {test}")
    found: dict[str, dict[str, list[Path]]] = {part: {} for part in _PARTS}
    for name, paths in files.items():
        last, middle = max(1, round(len(paths) * test)), max(1, round(len(paths) * validation))
        cut = len(paths) - last - middle
        if cut < 1:
            raise DataError(f"the class `{name}` has {len(paths)} images, too few for three parts: it needs 3 at least")
        pieces = paths[:cut], paths[cut : cut + middle], paths[cut + middle :]
        for part, piece in zip(_PARTS, pieces, strict=True):
            found[part][name] = piece
    return found


def _decoded(name: str, paths: Sequence[Path], size: int) -> np.ndarray:
    """Images of shape (n, size, size, 3), uint8; kept in the cache by their files' names, sizes and times."""
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    digest = hashlib.sha256(repr((stats, size)).encode()).hexdigest()[:16]
    return kept(f"{name}-{size}-{digest}", lambda: np.stack([_image(path, size) for path in paths]))


def _image(path: Path, size: int) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):  # Pillow would cut their values off at 255
                raise DataError(f"{path} must have 8 bits a channel, but is of Pillow's mode {image.mode}: convert it")
            return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
    except DataError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} isn't a whole image ({error}): get it anew or move it away") from error
