"""JPEG archive: an .npz of labelled JPEG images, decoded piece by piece into a cache."""

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np

from mpsearch.datasets.decoded import DAMAGED, keep
from mpsearch.errors import DataError

_CHUNK = 1000  # images a cache file


class JpegArchive:
    """Labelled images of one size, in splits; only what is asked for is decoded.

    For each split, "train" for instance, the .npz holds `train_jpeg` (uint8, all files one
    after another), `train_offsets` (int64, n + 1: where each file starts, and the end) and
    `train_labels` (n). Decoded images are kept as .npy files of 1,000 images each in
    `<cache>/decoded/<name>-<fingerprint>/`, never beside the archive.

    Attributes:
        path: the .npz file.
        shape: height, width and channels of each image; 3 channels, RGB.
        cache: folder for decoded images. Where it can't be written, a warning is logged
            and the images are decoded anew each time.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int], cache: Path) -> None:
        self.path = path
        self.shape = shape
        self.cache = cache
        self._labels: dict[str, np.ndarray] = {}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the name, size and CRC-32 of every array, 16 hex digits; reads no array."""
        with self._reading(), zipfile.ZipFile(self.path) as archive:
            members = sorted((info.filename, info.file_size, info.CRC) for info in archive.infolist())
        return sha256(repr(members).encode()).hexdigest()[:16]

    def labels(self, split: str) -> np.ndarray:
        """Classes of the images of `split`, shape (n,), int64."""
        if split not in self._labels:
            self._labels[split] = self._array(f"{split}_labels").astype(np.int64)
        return self._labels[split]

    def images(self, split: str, start: int, stop: int) -> np.ndarray:
        """Images `start` to `stop` (excluded) of `split`, shape (stop - start, *shape), uint8.

        Raises:
            DataError: the archive is malformed, an image can't be decoded, or a cache file is damaged.
        """
        total = len(self.labels(split))
        if not 0 <= start < stop <= total:
            raise DataError(
                f"`0 <= start < stop <= {total}` must hold for `{split}` in {self.path}, "
                f"but got (start={start}, stop={stop})"
            )
        first = start // _CHUNK * _CHUNK
        folder = self.cache / "decoded" / f"{self.path.stem}-{self.fingerprint}"
        files = [folder / f"{split}-{begin:06d}.npy" for begin in range(first, stop, _CHUNK)]
        jpeg: tuple[np.ndarray, np.ndarray] | None = None
        chunks = []
        for begin, file in zip(range(first, stop, _CHUNK), files, strict=True):
            end = min(begin + _CHUNK, total)
            if file.is_file():
                chunks.append(self._load(file, end - begin))
                continue
            jpeg = self._jpeg(split) if jpeg is None else jpeg
            chunks.append(np.stack([self._decode(split, *jpeg, index) for index in range(begin, end)]))
            keep(file, chunks[-1])
        return np.concatenate(chunks)[start - first : stop - first]

    def _array(self, name: str) -> np.ndarray:
        # Opened here, as np.load leaves the file open where it isn't an archive.
        with self._reading(), self.path.open("rb") as stream, np.load(stream) as arrays:
            if name not in arrays:
                raise DataError(
                    f"{self.path} must hold the array `{name}`, but holds {sorted(arrays)}: "
                    "get the file anew, or write it in the layout of mpsearch.datasets.jpeg_archive"
                )
            return np.asarray(arrays[name])

    def _jpeg(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Bytes and offsets of `split`, checked against each other and against the labels."""
        jpeg, offsets = self._array(f"{split}_jpeg"), self._array(f"{split}_offsets")
        if jpeg.dtype != np.uint8 or jpeg.ndim != 1:
            raise DataError(f"`{split}_jpeg` in {self.path} must be flat uint8, but is {jpeg.dtype} {jpeg.shape}")
        total = len(self.labels(split))
        if offsets.shape != (total + 1,) or not np.issubdtype(offsets.dtype, np.integer):
            raise DataError(
                f"`{split}_offsets` in {self.path} must hold {total + 1} integers, one more than there "
                f"are labels, but is {offsets.dtype} {offsets.shape}"
            )
        if offsets[0] != 0 or offsets[-1] != len(jpeg) or (np.diff(offsets) <= 0).any():
            raise DataError(
                f"`{split}_offsets` in {self.path} must rise from 0 to {len(jpeg)}, the length of "
                f"`{split}_jpeg`, but goes from {offsets[0]} to {offsets[-1]} or stands still on its way"
            )
        return jpeg, offsets

    def _decode(self, split: str, jpeg: np.ndarray, offsets: np.ndarray, index: int) -> np.ndarray:
        from PIL import Image

        content = io.BytesIO(jpeg[offsets[index] : offsets[index + 1]].tobytes())
        try:
            with Image.open(content, formats=["JPEG"]) as image:
                pixels = np.asarray(image)
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(
                f"image {index} of `{split}` in {self.path} isn't a whole JPEG file ({error}): get the archive anew"
            ) from error
        if pixels.shape != self.shape or pixels.dtype != np.uint8:
            raise DataError(
                f"image {index} of `{split}` in {self.path} must be uint8 {self.shape}, "
                f"but is {pixels.dtype} {pixels.shape}"
            )
        return pixels

    def _load(self, file: Path, count: int) -> np.ndarray:
        try:
            images = np.load(file)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"the cache file {file} can't be read ({error}): delete it") from error
        if images.shape != (count, *self.shape) or images.dtype != np.uint8:
            raise DataError(
                f"the cache file {file} must be uint8 {(count, *self.shape)}, "
                f"but is {images.dtype} {images.shape}: delete it"
            )
        return np.asarray(images)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except DataError:
            raise
        except DAMAGED as error:
            raise DataError(f"{self.path} isn't a whole .npz archive ({error}): get it anew") from error
