"""Folders: where the files of datasets are looked for, and where decoded arrays are kept."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/mpsearch`, or `~/.cache/mpsearch` where that variable isn't set."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "mpsearch"


def data_folders() -> list[Path]:
    """Folders that may hold data files: `$MPSEARCH_DATA` and its `data/`, then the cache folder."""
    given = os.environ.get("MPSEARCH_DATA")
    return ([Path(given), Path(given) / "data"] if given else []) + [cache_folder()]


def find_file(name: str) -> Path | None:
    """The first file called `name` in the data folders, None where there is none."""
    return next((path for folder in data_folders() if (path := folder / name).is_file()), None)
