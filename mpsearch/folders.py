"""Folders: where the files of datasets are looked for, and where decoded arrays are kept."""

import os
from collections.abc import Sequence
from pathlib import Path

from mpsearch.errors import DataMissingError


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/mpsearch`, or `~/.cache/mpsearch` where that variable isn't set."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "mpsearch"


def data_folders() -> list[Path]:
    """Folders that may hold data files: `$MPSEARCH_DATA` and its `data/`, then the cache folder."""
    given = os.environ.get("MPSEARCH_DATA")
    return ([Path(given), Path(given) / "data"] if given else []) + [cache_folder()]


def keras_folder() -> Path:
    """Where Keras keeps the datasets that it downloads."""
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "datasets"


def find_file(name: str) -> Path | None:
    """The first file called `name` in the data folders, None where there is none."""
    return next((path for folder in data_folders() if (path := folder / name).is_file()), None)


def find_folder(names: Sequence[str], missing: str) -> Path:
    """The first folder of one of these names: as given, else in the data folders.

    Args:
        names: of the folder; one may be a path.
        missing: what to say where there is none, with `{looked}` for where it was looked for.

    Raises:
        DataMissingError: there is none.
    """
    candidates = [place / name for place in (Path(), *data_folders()) for name in names]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise DataMissingError(missing.replace("{looked}", ", ".join(str(candidate) for candidate in candidates)))
