"""Errors that nobody expected: one line that says what, where and what to do."""

import sys
import sysconfig
import traceback
from pathlib import Path
from types import TracebackType

import typer

from mpsearch.errors import MpsearchError

HANDLED: tuple[type[BaseException], ...] = (typer.Exit, typer.Abort, typer.BadParameter.__mro__[2])
"""What the command line's own library ends a command by; the last one is the root of its usage errors."""
PACKAGE = Path(__file__).resolve().parents[1]
_INSTALLED = tuple(str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "purelib", "platlib"))


class UnexpectedError(MpsearchError):
    """An error that wasn't raised on purpose."""


def unexpected(error: Exception, debug: bool) -> str:
    """What to say of an error: its kind and text, whose it is, and how to see more.

    Args:
        error: that ended a command.
        debug: whether its traceback was shown.
    """
    said = (str(error).strip().splitlines() or [""])[0]
    what = f"{type(error).__name__}: {said}" if said else type(error).__name__
    place = users_code(error.__traceback__)
    if place is None:
        whose = "this is a defect of mpsearch, or of a package that it uses; please report it"
        more = ", with what stands above" if debug else ", with what `mpsearch --debug …` shows"
    else:
        whose = f"it arose from {place}"
        more = "" if debug else "; `mpsearch --debug …` shows how"
    return f"{what}; {whose}{more}"


def users_code(trace: TracebackType | None) -> str | None:
    """The last place in a file that belongs to no package: a space file, or a module beside it; None: there is none."""
    found = None
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if not name.startswith("<") and not Path(name).name.startswith("__autograph") and _is_users(Path(name)):
            found = f"{name}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return found


def _is_users(path: Path) -> bool:
    whole = path.resolve()
    return not whole.is_relative_to(PACKAGE) and not str(whole).startswith(_INSTALLED)


def show_traceback(asked: bool) -> None:
    """Print the traceback of the error that is being handled, where it was asked for."""
    if asked:
        traceback.print_exc(file=sys.stderr)
