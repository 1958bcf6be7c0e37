"""Faults: which errors of a storage pass if one waits, and which never do."""

import errno
import re
import sqlite3
import sys
from dataclasses import dataclass

import sqlalchemy.exc
from optuna.exceptions import StorageInternalError

_PASSING_CODES = frozenset((errno.ESTALE, errno.EAGAIN, errno.ETIMEDOUT, errno.EINTR, errno.EBUSY, errno.EHOSTDOWN))
# SQLSTATE: connection exceptions, operator intervention (shutdown, start-up), too many connections, a lock that was
# not to be had, serialization failures and deadlocks
_PASSING_STATES = re.compile(r"08...|57P0[1235]|53300|55P03|40001|40P01|57014|25006")
# MySQL's numbers of the same; 2006 and 2013 are lost connections, 2002 and 2003 ones that were not made
_PASSING_NUMBERS = frozenset((0, 1040, 1053, 1158, 1159, 1160, 1161, 1205, 1213, 2002, 2003, 2006, 2013, 2055))
# libpq has no SQLSTATE for a connection that wasn't made; these reasons stay
_LASTING_REASONS = re.compile(
    r"authentication failed|no password supplied|does not exist|no pg_hba\.conf entry|is not permitted|"
    r"is not currently accepting|permission denied|server does not support|certificate|invalid|unsupported"
)
_PASSING_RPC = ("UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED")
_FULL = re.compile(r"disk is full|disk full|no space left|could not extend file|quota exceeded", re.IGNORECASE)
_READ_ONLY = re.compile(r"readonly database|read-only file system|permission denied", re.IGNORECASE)


@dataclass(frozen=True)
class Fault:
    """What is wrong with a storage.

    Attributes:
        passes: whether the same operation may succeed after a while.
        text: the reason, in the words of the driver or of the system; it may hold a password.
        cause: `full` disk, `readonly` file or folder, or another.
    """

    passes: bool
    text: str
    cause: str = "other"


def diagnose(error: BaseException) -> Fault | None:
    """The fault behind an error; None where the storage isn't at fault, but for instance the caller."""
    if isinstance(error, StorageInternalError):
        return Fault(False, str(error)) if error.__cause__ is None else diagnose(error.__cause__)
    if isinstance(error, sqlalchemy.exc.IntegrityError):
        return None
    if isinstance(error, sqlalchemy.exc.TimeoutError):  # all connections of the pool are in use
        return Fault(True, str(error))
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        driver = error.orig if error.orig is not None else error
        return _named(_passes(driver, error.connection_invalidated), str(driver))
    if isinstance(error, sqlalchemy.exc.SQLAlchemyError):
        return Fault(False, str(error))
    if _is_rpc_error(error):
        return Fault(error.code().name in _PASSING_RPC, str(error.details()))  # type: ignore[attr-defined]
    if isinstance(error, (ConnectionError, TimeoutError)):
        return Fault(True, f"{type(error).__name__}: {error}")
    if isinstance(error, OSError):
        return _named(
            error.errno in _PASSING_CODES, f"{error.strerror}: {error.filename}" if error.filename else str(error)
        )
    if isinstance(error, RuntimeError) and "did not possess lock" in str(error):
        return Fault(True, "another process took the journal's lock over")
    return None


def _passes(driver: BaseException, connection_lost: bool) -> bool:
    if isinstance(driver, sqlite3.Error):
        return "locked" in str(driver) or "busy" in str(driver)
    if connection_lost:
        return True
    state = getattr(driver, "sqlstate", None) or getattr(driver, "pgcode", None)  # of psycopg, of psycopg2
    if state is not None:
        return _PASSING_STATES.fullmatch(state) is not None
    number = driver.args[0] if driver.args else None
    if isinstance(number, int):
        return number in _PASSING_NUMBERS
    return type(driver).__name__ in ("OperationalError", "InterfaceError") and not _LASTING_REASONS.search(str(driver))


def _named(passes: bool, text: str) -> Fault:
    if _FULL.search(text):
        return Fault(False, text, "full")
    if _READ_ONLY.search(text) and not passes:
        return Fault(False, text, "readonly")
    return Fault(passes, text)


def _is_rpc_error(error: BaseException) -> bool:
    grpc = sys.modules.get("grpc")  # an error of a module that wasn't imported can't be raised
    return grpc is not None and isinstance(error, grpc.RpcError)
