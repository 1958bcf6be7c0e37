"""Options that several commands share, and the examples at the end of a command's help."""

import math
from typing import Annotated

import typer

from mpsearch.cli.completion import studies


def examples(*commands: str) -> str:
    """The end of a command's help: commands to copy, a line each.

    Args:
        commands: without `mpsearch`; one that is wider than a terminal goes on after a backslash.
    """
    return "\b\nExamples:\n" + "\n".join(f"  mpsearch {command}" for command in commands)  # \b: not wrapped


def nonempty_name(name: str | None) -> str | None:
    """A name for a study, None where none was given.

    Raises:
        typer.BadParameter: it is empty.
    """
    if name is not None and not name.strip():
        raise typer.BadParameter("a study needs a name that isn't empty")
    return name


def finite(number: float | None) -> float | None:
    """A number that a score can reach, None where none was given.

    Raises:
        typer.BadParameter: it is infinite, or no number.
    """
    if number is not None and not math.isfinite(number):
        raise typer.BadParameter(f"it must be a finite number, but got {number}")
    return number


Storage = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Where studies are kept, for instance sqlite:///other.db; see `mpsearch storage --help`.",
        envvar="MPSEARCH_STORAGE",
        show_default="sqlite:///studies/mpsearch.db",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
StudyName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the study.", autocompletion=studies)]
ABOUT_SPACE = "Space file: a path, or the name of a ready one."
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
AcceptChange = Annotated[
    bool,
    typer.Option(
        "--accept-change", help="Go on although the space file, data or float weights changed; see `study run --help`."
    ),
]
