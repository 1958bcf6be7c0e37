"""What shells complete: names of studies, space files and methods; cheap, and silent where there is nothing."""

import os
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

USUAL = "sqlite:///studies/mpsearch.db"


def studies(incomplete: str) -> list[str]:
    """Names of studies of the usual storage, or that of MPSEARCH_STORAGE, where that is an SQLite file."""
    scheme, _, name = (os.environ.get("MPSEARCH_STORAGE") or USUAL).partition(":///")
    file = Path(name.partition("?")[0])
    if scheme != "sqlite" or not file.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=0.5)) as database:
            names = [str(name) for (name,) in database.execute("SELECT study_name FROM studies ORDER BY study_id")]
    except sqlite3.Error:
        return []
    return [name for name in names if name.startswith(incomplete)]


def spaces(incomplete: str) -> list[str]:
    """Names of ready space files, and of Python files here."""
    from mpsearch.spacefile import space_folders

    names = {path.name for folder in (Path(), *space_folders()) for path in folder.glob("*.py")}
    return sorted(name for name in names if name.startswith(incomplete))


def among(names: Iterable[str]) -> Callable[[str], list[str]]:
    """Completes one of `names`."""
    known = tuple(names)

    def complete(incomplete: str) -> list[str]:
        return [name for name in known if name.startswith(incomplete)]

    return complete
