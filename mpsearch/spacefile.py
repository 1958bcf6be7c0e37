"""Space files: Python files that define a `task` and a `space`."""

import difflib
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpsearch.costs.bits import ReferenceBits
from mpsearch.errors import DataMissingError, MpsearchError, SpaceError
from mpsearch.objective import ForgivingFactor
from mpsearch.space import Space
from mpsearch.task import Task


@dataclass(frozen=True)
class SpaceFile:
    """A space file, read and executed.

    Attributes:
        path: where it was found.
        text: its text.
        task: model, data, recipes, metric.
        space: what is searched.
        forgiving: how much metric a saving is worth.
        reference: widths that costs are compared with.
    """

    path: Path
    text: str
    task: Task
    space: Space
    forgiving: ForgivingFactor = field(default_factory=ForgivingFactor)
    reference: ReferenceBits = field(default_factory=ReferenceBits)

    @property
    def hash(self) -> str:
        """SHA-256 of the text, 16 hex digits."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]


def space_folders() -> tuple[Path, ...]:
    """Folders in which space files are looked up by name: `./spaces`, then those shipped with the package."""
    package = Path(__file__).resolve().parent
    shipped = package / "_spaces"
    return Path("spaces"), shipped if shipped.is_dir() else package.parent / "spaces"


def find_space_file(name: str) -> Path:
    """The file called `name`: as given, then in `./spaces`, then among the shipped ones; `.py` may be left out.

    Raises:
        DataMissingError: there is none; the message says where it was looked for.
    """
    names = [name] if name.endswith(".py") else [name, f"{name}.py"]
    places = [Path(), *space_folders()]
    for place in places:
        for candidate in names:
            if (place / candidate).is_file():
                return place / candidate
    known = sorted({path.name for folder in places for path in folder.glob("*.py") if folder != Path()})
    close = difflib.get_close_matches(names[-1], known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"ready ones: {', '.join(known) or 'none'}"
    looked = ", ".join(str(place / names[-1]) for place in places)
    raise DataMissingError(f"there is no space file `{name}` (looked for {looked}); {hint}")


def recorded_path(path: Path) -> str:
    """How a study remembers where its space file is: by name where it is a shipped one, else relative to here."""
    if path.resolve().parent == space_folders()[1].resolve():
        return path.name
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def load_space_file(path: Path, text: str | None = None) -> SpaceFile:
    """Execute a space file.

    Args:
        path: the file; relative imports and `__file__` refer to it.
        text: its text, where it is not to be read from the file.

    Raises:
        SpaceError: it can't be executed, or lacks `task` or `space`.
    """
    text = path.read_text() if text is None else text
    names: dict[str, Any] = {"__name__": f"mpsearch_space_{path.stem}", "__file__": str(path)}
    try:
        exec(compile(text, str(path), "exec"), names)
    except MpsearchError as error:
        raise type(error)(f"{path}{_line_of(error, path)}: {error}") from error
    except Exception as error:
        raise SpaceError(f"{path}{_line_of(error, path)}: {type(error).__name__}: {error}") from error
    found: dict[str, Any] = {}
    for name, kind in (("task", Task), ("space", Space), ("forgiving", ForgivingFactor), ("reference", ReferenceBits)):
        if name in names:
            if not isinstance(names[name], kind):
                raise SpaceError(f"{path}: `{name}` must be a {kind.__name__}, but is {names[name]!r}")
            found[name] = names[name]
        elif name in ("task", "space"):
            raise SpaceError(f"{path}: defines no `{name}`; a space file needs `{name} = {kind.__name__}(…)`")
    return SpaceFile(path, text, **found)


def _line_of(error: BaseException, path: Path) -> str:
    line, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = f", line {trace.tb_lineno}"
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.lineno:
        line = f", line {error.lineno}"
    return line
