"""Decoded arrays, kept in the cache folder so that they are decoded once."""

import logging
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mpsearch.errors import DataError
from mpsearch.folders import cache_folder

DAMAGED = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged archive or compressed file raises."""
_logger = logging.getLogger(__name__)


def kept(name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array called `name` in the cache; made, and kept, where it isn't there.

    Args:
        name: says what the array is and of which files it was made: with a fingerprint of them.
        make: makes it.

    Raises:
        DataError: the cache file is damaged.
    """
    file = cache_folder() / "decoded" / f"{name}.npy"
    if not file.is_file():
        array = make()
        keep(file, array)
        return array
    try:
        return np.asarray(np.load(file))
    except DAMAGED as error:
        raise DataError(f"the cache file {file} can't be read ({error}): delete it") from error


def keep(file: Path, array: np.ndarray) -> None:
    """Write `array` to `file` so that no reader ever sees a part of it; log a warning where that can't be done."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=file.parent, suffix=".tmp")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                np.save(stream, array)
            os.replace(temporary, file)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        _logger.warning("can't keep decoded arrays in %s (%s): they are decoded anew each time", file, error)
