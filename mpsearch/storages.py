"""Storages: the databases that keep studies, named by SQLAlchemy URLs."""

from pathlib import Path

import optuna
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool

from mpsearch.errors import StudyError

DEFAULT_DATABASE = Path("studies") / "mpsearch.db"


def open_storage(url: str | None, create: bool = False) -> optuna.storages.RDBStorage:
    """The storage of a URL; None is SQLite in `studies/mpsearch.db`.

    Args:
        url: an SQLAlchemy URL.
        create: make the default database where there is none.

    Raises:
        StudyError: it can't be opened, forgets everything when the process ends, or isn't there.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if url is None:
        if not DEFAULT_DATABASE.exists() and not create:
            raise StudyError(
                f"there is no {DEFAULT_DATABASE} here: create a study with `mpsearch study create --space "
                "FILE`, or give --storage"
            )
        DEFAULT_DATABASE.parent.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{DEFAULT_DATABASE}"
    if _is_sqlite(url) and _database_file(url) is None:
        raise StudyError(
            f"{url} keeps its data in memory, and a study must outlive its process: name a file, as in "
            "--storage sqlite:///studies/mine.db"
        )
    # a connection for each transaction: an SQLite file is left open by nobody, and costs next to nothing to open
    options = {"connect_args": {"timeout": 60}, "poolclass": NullPool} if _is_sqlite(url) else None
    try:
        return optuna.storages.RDBStorage(url, engine_kwargs=options)
    except Exception as error:  # SQLAlchemy, its drivers and Optuna raise errors of many kinds here
        first_line = (str(error).splitlines() or [""])[0]
        raise StudyError(f"can't open the storage {shown(url)}: {type(error).__name__}: {first_line}") from error


def shown(url: str | None) -> str:
    """A storage's URL without its password."""
    if url is None:
        return str(DEFAULT_DATABASE)
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "given by --storage"


def runs_folder(url: str | None) -> Path:
    """Where the files of a storage's studies go: `runs` beside an SQLite file, else `studies/runs`."""
    file = _database_file(url) if url is not None and _is_sqlite(url) else None
    return (DEFAULT_DATABASE if file is None else file).parent / "runs"


def _is_sqlite(url: str) -> bool:
    return url.partition(":")[0].partition("+")[0] == "sqlite"


def _database_file(url: str) -> Path | None:
    """The file of an SQLite URL; None where it has none."""
    parsed = make_url(url)
    name = parsed.database or ""
    if name in ("", ":memory:") or ":memory:" in name or parsed.query.get("mode") == "memory" or "mode=memory" in name:
        return None
    return Path(name.removeprefix("file:"))
