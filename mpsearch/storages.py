"""Storages: what keeps studies, named by URLs: SQLite, journals, PostgreSQL, MySQL and Optuna's gRPC proxy."""

import logging
import os
import random
import re
import threading
import time
import warnings
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning
from optuna.storages import BaseStorage, GrpcStorageProxy, JournalStorage, RDBStorage
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

from mpsearch.addresses import DEFAULT_DATABASE, Address, parse_address, shown
from mpsearch.database import Database
from mpsearch.errors import StudyError
from mpsearch.journal import Journal
from mpsearch.resilience import PATIENCE, ResilientStorage, is_writing

__all__ = [
    "DEFAULT_DATABASE",
    "close",
    "close_storages",
    "database_of",
    "open_storage",
    "open_without_check",
    "rename",
    "runs_folder",
    "shown",
]

VERBOSE = "MPSEARCH_VERBOSE"
"""The variable by which libraries' messages are shown."""
FIRST_PATIENCE = 30.0  # seconds that a process waits for a storage that it has never reached
MAKING_ATTEMPTS = 5  # at making the tables of an empty database that others make as well
BUSY_SECONDS = 60  # that a process waits for others that write to the same SQLite file
_DRIVERS = {
    # kind: modules of drivers, the preferred one first, with SQLAlchemy's names; what installs one
    "postgresql": ({"psycopg": "psycopg", "psycopg2": "psycopg2"}, "pip install 'mpsearch[postgres]'"),
    "mysql": ({"pymysql": "pymysql", "MySQLdb": "mysqldb"}, "pip install 'mpsearch[mysql]'"),
}
# of a server whose machine disappears nothing is heard: without these a process would wait for it for hours
_POSTGRESQL_OPTIONS = {
    "connect_timeout": 10,
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 40_000,
}
_ATTRIBUTES = ("study_user_attributes", "study_system_attributes", "trial_user_attributes", "trial_system_attributes")
_MYSQL_OPTIONS = {"connect_timeout": 10, "read_timeout": 60, "write_timeout": 60}

_shared: dict[tuple[int, str], ResilientStorage] = {}  # by process and URL: connections to servers
_reached: set[str] = set()
_lock = threading.Lock()


def open_storage(
    url: str | None, create: bool = False, patience: float | None = None, fresh: bool = False
) -> ResilientStorage:
    """The storage of a URL; None is SQLite in `studies/mpsearch.db`.

    A process has one connection pool for each server, however often it opens it.

    Args:
        url: `sqlite:///FILE`, `journal:///FILE`, `postgresql://…`, `mysql://…` or `grpc://HOST:PORT`.
        create: make the default database where there is none.
        patience: seconds to wait for a server that is away while opening; default: 30, and 120 for one that this
            process has reached before. Afterwards it is 120 in each case.
        fresh: with connections and a cache of its own, which the caller closes.

    Raises:
        StudyError: it can't be opened, its driver isn't installed, it forgets everything when the process ends, or
            it isn't there.
    """
    if not os.environ.get(VERBOSE):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
    address = parse_address(url)
    key = (os.getpid(), address.url)
    if key in _shared and not fresh:
        return _shared[key]
    if url is None:
        if not DEFAULT_DATABASE.exists() and not create:
            raise StudyError(
                f"there is no {DEFAULT_DATABASE} here: create a study with `mpsearch study create --space "
                "FILE`, or give --storage"
            )
        DEFAULT_DATABASE.parent.mkdir(parents=True, exist_ok=True)
    if address.kind == "sqlite" and address.file is None:
        raise StudyError(
            f"{address.shown} keeps its data in memory, and a study must outlive its process: name a file, as in "
            "--storage sqlite:///studies/mine.db"
        )
    if patience is None:
        patience = PATIENCE if address.url in _reached else FIRST_PATIENCE
    storage = _opened(address, patience)
    storage.patience = PATIENCE
    with _lock:
        _reached.add(address.url)
        if address.kind in _DRIVERS and not fresh:
            storage = _shared.setdefault(key, storage)
    return storage


def open_without_check(url: str | None) -> ResilientStorage:
    """An SQL database of any version, only to look at it and to upgrade it; the caller closes it.

    Raises:
        StudyError: it can't be opened.
    """
    return _opened(parse_address(url), 0.0, check=False)


def close_storages() -> None:
    """Close this process's connections to database servers; they are made anew when a storage is opened."""
    with _lock:
        for storage in _shared.values():
            close(storage)
        _shared.clear()


def close(storage: ResilientStorage) -> None:
    """Close a storage's connections to its server."""
    database = database_of(storage)
    if database is not None:
        database.remove_session()
        database.engine.dispose()
    elif isinstance(storage.inner, GrpcStorageProxy):
        storage.inner.close()


def database_of(storage: ResilientStorage) -> RDBStorage | None:
    """Optuna's storage of an SQL database; None for journals and proxies."""
    backend = getattr(storage.inner, "_backend", None)
    return backend if isinstance(backend, RDBStorage) else None


def rename(storage: ResilientStorage, name: str, new: str) -> None:
    """Give a study another name, in place.

    Raises:
        StudyError: the storage is a journal or a proxy, which can't.
    """
    database = database_of(storage)
    if database is None:
        raise StudyError(
            f"{storage.address.shown} can't rename a study: make a copy with `mpsearch study copy {name} {new}`, then "
            f"`mpsearch study delete {name}`"
        )
    engine = database.engine
    statement = sqlalchemy.text("UPDATE studies SET study_name = :new WHERE study_name = :old")

    def update(_: int) -> None:
        with engine.begin() as connection:
            connection.execute(statement, {"new": new, "old": name})

    storage.attempt(update, writes=True)


def runs_folder(url: str | None) -> Path:
    """Where the files of a storage's studies go: `runs` beside an SQLite file or journal, else `studies/runs`."""
    return (parse_address(url).file or DEFAULT_DATABASE).parent / "runs"


def _opened(address: Address, patience: float, check: bool = True) -> ResilientStorage:
    connect = {"journal": _journal, "grpc": _proxy}.get(address.kind, partial(_database, check=check))
    tokens = address.kind != "sqlite"  # its answers can't be lost on the way
    try:
        return ResilientStorage(lambda: connect(address), address, patience, tokens)
    except StudyError:
        raise
    except Exception as error:  # SQLAlchemy, its drivers and Optuna raise errors of many kinds here
        raise StudyError(f"can't open the storage {address.shown}: {_reason(address, error)}") from (
            None if address.gives_away(error) else error
        )


def _reason(address: Address, error: Exception) -> str:
    text = str(error)
    if "upgrade" in text and "schema" in text:
        return (
            f"its tables are of an older Optuna ({_version(text)}): end all that use it, then run `mpsearch storage "
            f"upgrade --storage {address.shown}`"
        )
    if "schema" in text:
        return f"its tables are of a later Optuna ({_version(text)}): pip install -U optuna"
    return f"{type(error).__name__}: {address.redacted(text)}"


def _version(text: str) -> str:
    found = re.search(r"set up by optuna ([^)]+)\)", text)
    return found[1] if found else "unknown"


def _database(address: Address, check: bool) -> BaseStorage:
    """Optuna's storage of an SQL database, with its cache.

    Args:
        address: of the database.
        check: refuse tables of another version than the installed Optuna's.
    """
    url = _with_driver(address)
    with_password = url.render_as_string(hide_password=False)
    options: dict[str, Any] = {}
    if address.kind == "sqlite":
        # a connection for each transaction: the file is left open by nobody, and costs next to nothing to open;
        # isolation_level: the transactions begin as `_begin` says, not as the module sqlite3 guesses
        connection: dict[str, Any] = {"timeout": BUSY_SECONDS, "isolation_level": None}
        options = {"poolclass": NullPool}
    else:
        # apart from the URL, which Optuna takes for a template, and which errors might repeat
        connection = {} if url.password is None else {"password": str(url.password)}
        url = URL.create(url.drivername, url.username, None, url.host, url.port, url.database, url.query)
        if url.get_dialect().driver in ("psycopg", "psycopg2"):
            connection |= {key: value for key, value in _POSTGRESQL_OPTIONS.items() if key not in url.query}
        else:
            connection |= {key: value for key, value in _MYSQL_OPTIONS.items() if key not in url.query}
        options = {"pool_pre_ping": True}
    text = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
    options |= {"connect_args": connection}
    made = _made(text, options, check)
    made._version_manager.url = with_password  # by which Alembic connects
    if address.kind == "sqlite":
        sqlalchemy.event.listen(made.engine, "begin", _begin)
    if address.kind == "mysql":
        _widen(made.engine)
    return optuna.storages.get_storage(made)


def _made(url: str, options: dict[str, Any], check: bool) -> Database:
    """Optuna's storage of a database, whose tables another process may be making at the same time."""
    for _ in range(MAKING_ATTEMPTS):
        try:
            return Database(url, options, skip_compatibility_check=not check, skip_table_creation=not check)
        except sqlalchemy.exc.DBAPIError as error:
            if not isinstance(error, sqlalchemy.exc.IntegrityError) and "already exists" not in str(error):
                raise
            time.sleep(random.uniform(0.05, 0.3))
    return Database(url, options)


def _widen(engine: sqlalchemy.Engine) -> None:
    """Let MySQL's tables hold attributes of more than 64 KiB: configs of large networks, texts of space files."""
    narrow = sqlalchemy.text(
        "SELECT table_name FROM information_schema.columns "
        "WHERE table_schema = DATABASE() AND column_name = 'value_json' AND data_type = 'text'"
    )
    with engine.begin() as connection:
        for (table,) in connection.execute(narrow).all():
            if table in _ATTRIBUTES:
                with suppress(sqlalchemy.exc.OperationalError):  # not this user's right: then what is longer is refused
                    connection.exec_driver_sql(f"ALTER TABLE {table} MODIFY value_json LONGTEXT")


def _with_driver(address: Address) -> URL:
    """An address with a driver that is installed."""
    url = make_url(address.url)
    if address.kind == "sqlite":
        return url
    modules, install = _DRIVERS[address.kind]
    if "+" in url.drivername:
        wanted = url.drivername.partition("+")[2]
        modules = {module: name for module, name in modules.items() if name == wanted}
        if not modules:
            known = " and ".join(f"{address.kind}+{name}" for name in _DRIVERS[address.kind][0].values())
            raise StudyError(f"mpsearch knows no driver `{url.drivername}`; it knows {known}")
    for module, name in modules.items():
        if find_spec(module) is not None:
            return url.set(drivername=f"{address.kind}+{name}")
    raise StudyError(f"{address.kind} needs a driver, and {' or '.join(modules)} isn't installed: {install}")


def _begin(connection: sqlalchemy.Connection) -> None:
    # a transaction that reads and then writes must have the right to write from its beginning: two that began by
    # reading could otherwise both start the same queued trial, or fail without waiting for each other
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing() else "BEGIN")


def _journal(address: Address) -> BaseStorage:
    assert address.file is not None
    address.file.parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(Journal(address.file))


def _proxy(address: Address) -> BaseStorage:
    if find_spec("grpc") is None or find_spec("google.protobuf") is None:
        raise StudyError("gRPC isn't installed: pip install 'mpsearch[grpc]'")
    assert address.port is not None
    from mpsearch.proxyclient import ProxyClient

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return ProxyClient(host=address.host, port=address.port)


class _NoRepetition(logging.Filter):
    """Drops what Optuna logs of a failing query, which is many lines of SQL; the error itself is raised."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "Caught an error from sqlalchemy" not in record.getMessage()


logging.getLogger("optuna.storages._rdb.storage").addFilter(_NoRepetition())
logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)  # connections that were lost while nobody used them
