"""Check a storage: whether it can be used, how fast it is, and of which version its tables are."""

import logging
import secrets
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy

from mpsearch.addresses import parse_address
from mpsearch.errors import StudyError
from mpsearch.resilience import ResilientStorage
from mpsearch.storages import close, database_of, open_storage, open_without_check

REPETITIONS = 5  # of a write and of a read, of which the median is taken
_WRITERS = {
    "sqlite": "of this machine, on a disk of its own",
    "journal": "of all machines that mount its folder",
    "postgresql": "of all machines that reach it",
    "mysql": "of all machines that reach it",
    "grpc": "of all machines that reach it",
}


@dataclass(frozen=True)
class StorageCheck:
    """What is known of a storage that can be used.

    Attributes:
        kind: `sqlite`, `journal`, `postgresql`, `mysql` or `grpc`.
        address: its URL without a password.
        schema: version of its tables; None where it has none, or where they are another process's.
        optuna_schema: version that the installed Optuna writes.
        studies, trials: numbers.
        write_ms, read_ms: milliseconds to set an attribute of a study, and to read it; medians of 5.
        writers: which processes may write to it at the same time.
    """

    kind: str
    address: str
    schema: str | None
    optuna_schema: str | None
    studies: int
    trials: int
    write_ms: float
    read_ms: float
    writers: str


def check_storage(url: str | None) -> StorageCheck:
    """Open a storage, write to it and read from it; what is written is a study that is deleted at once.

    Raises:
        StudyError: it isn't there or can't be used; servers are not waited for.
    """
    _need_file(url)
    storage = open_storage(url, patience=0, fresh=True)
    storage.patience = 0
    try:
        return _checked(storage)
    finally:
        close(storage)


def _checked(storage: ResilientStorage) -> StorageCheck:
    database = database_of(storage)
    studies = storage.get_all_studies()
    trials = storage.attempt(lambda _: _count(database, storage, studies))
    write, read = _times(storage)
    return StorageCheck(
        kind=storage.address.kind,
        address=storage.address.shown,
        schema=None if database is None else storage.attempt(lambda _: database.get_current_version()),
        optuna_schema=None if database is None else database.get_head_version(),
        studies=len(studies),
        trials=trials,
        write_ms=write,
        read_ms=read,
        writers=_WRITERS[storage.address.kind],
    )


def upgrade_storage(url: str | None) -> tuple[str, str] | None:
    """Bring the tables of a database to the version of the installed Optuna.

    Returns:
        The version before and after, equal where nothing was to be done; None where the storage has no tables.

    Raises:
        StudyError: it isn't there, can't be opened, or is of a later version.
    """
    if parse_address(url).kind in ("journal", "grpc"):
        return None
    _need_file(url)
    storage = open_without_check(url)
    database = database_of(storage)
    assert database is not None
    try:
        before = storage.attempt(lambda _: database.get_current_version())
        after = database.get_head_version()
        if before not in database.get_all_versions():
            raise StudyError(
                f"the tables of {storage.address.shown} have version {before}, which the installed Optuna doesn't "
                "know: pip install -U optuna"
            )
        if before != after:
            if not logging.getLogger().handlers:
                logging.getLogger().addHandler(logging.NullHandler())  # or Alembic would set up the whole logging
            storage.attempt(lambda _: database.upgrade())
    finally:
        close(storage)
    return before, after


def _need_file(url: str | None) -> None:
    address = parse_address(url)
    if address.file is not None and not address.file.exists():
        option = "" if url is None else f" --storage {address.shown}"
        raise StudyError(f"there is no {address.file}: `mpsearch study create --space FILE{option}` makes it")


def _times(storage: ResilientStorage) -> tuple[float, float]:
    """Milliseconds of a write and of a read."""
    name = f"mpsearch storage check {secrets.token_hex(4)}"
    study_id = storage.create_new_study([StudyDirection.MAXIMIZE], name)
    try:
        write = _median_ms(lambda: storage.set_study_user_attr(study_id, "check", time.time()))
        return write, _median_ms(lambda: storage.get_study_user_attrs(study_id))
    finally:
        storage.delete_study(study_id)


def _median_ms(operation: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPETITIONS):
        begun = time.perf_counter()
        operation()
        seconds.append(time.perf_counter() - begun)
    return round(statistics.median(seconds) * 1000, 1)


def _count(database: RDBStorage | None, storage: ResilientStorage, studies: Sequence[FrozenStudy]) -> int:
    if database is None:
        return sum(storage.get_n_trials(study._study_id) for study in studies)
    with database.engine.connect() as connection:
        return int(connection.execute(sqlalchemy.text("SELECT COUNT(*) FROM trials")).scalar_one())
