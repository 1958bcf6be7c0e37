"""Space files: Python files that define a `task` and a `space`."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mpsearch.beside import PrivatePackage
from mpsearch.costs.bits import ReferenceBits
from mpsearch.errors import DataMissingError, MpsearchError, SpaceError
from mpsearch.goal import Goal
from mpsearch.objective import ForgivingFactor
from mpsearch.space import Multiplier, Space
from mpsearch.suggestions import suggestion
from mpsearch.task import Task

NAMES: dict[str, type] = {"task": Task, "space": Space, "forgiving": ForgivingFactor, "reference": ReferenceBits}
"""What a space file may define; `task` and `space` it must."""

PYTHON_OBJECTS = Path("(Python objects)")
"""In place of the path of a space file, where a study was made without one."""


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
        modules: files beside it that it imported when it was executed, as paths relative to its folder, to the
            SHA-256 of each. What its functions import when they run is not among them.
    """

    path: Path
    text: str
    task: Task
    space: Space
    forgiving: ForgivingFactor = field(default_factory=ForgivingFactor)
    reference: ReferenceBits = field(default_factory=ReferenceBits)
    modules: Mapping[str, str] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """SHA-256 of the text and of the modules beside it, 16 hex digits."""
        digest = hashlib.sha256(self.text.encode())
        for path, content in sorted(self.modules.items()):
            digest.update(f"\0{path}\0{content}".encode())
        return digest.hexdigest()[:16]

    def narrowed(self, goal: Goal) -> "SpaceFile":
        """The same with a space of what a goal's device can use; itself where the goal doesn't narrow it."""
        if not goal.narrows or goal.profile is None:
            return self
        profile = goal.profile
        pairs = profile.pairs if goal.limits.get("unsupported") == 0 else ()
        if not pairs and not profile.widths and not profile.aligned_biases:
            return self
        multiplier = Multiplier(profile.name, pairs, profile.widths, profile.aligned_biases)
        return replace(self, space=self.space.on_device(multiplier))


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
    if Path(name).is_dir():
        raise DataMissingError(f"`{name}` is a folder, but a space file is one Python file: name the file in it")
    known = sorted({path.name for folder in places for path in folder.glob("*.py") if folder != Path()})
    hint = suggestion(names[-1], known) or f"ready ones: {', '.join(known) or 'none'}"
    looked = ", ".join(str(place / names[-1]) for place in places)
    raise DataMissingError(f"there is no space file `{name}` (looked for {looked}); {hint}")


def recorded_path(path: Path) -> str:
    """How a study remembers where its space file is: by name where it is a shipped one, else relative to here."""
    if path.resolve().parent == space_folders()[1].resolve():
        return path.name
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def load_space_file(path: Path, text: str | None = None) -> SpaceFile:
    """Execute a space file.

    It may import modules that lie in its folder, at once or in functions that run later, absolutely
    (`import helper`) or relatively (`from .helper import build`). They are its own: a file executed again imports
    them anew, and two space files with modules of one name each get theirs.

    Args:
        path: the file; imports and `__file__`, which is absolute, refer to it.
        text: its text, where it is not to be read from the file.

    Raises:
        SpaceError: it can't be executed, lacks `task` or `space`, or defines a part of a search under a name that
            nothing reads.
    """
    try:
        text = path.read_text(encoding="utf-8") if text is None else text
    except UnicodeDecodeError as error:
        raise SpaceError(f"{path} isn't a text file in UTF-8, so it can't be a space file: {error}") from error
    try:
        code = compile(text, str(path), "exec", dont_inherit=True)
        package = PrivatePackage(path)
        names = package.execute(code)
    except MpsearchError as error:
        raise type(error)(f"{path}{_line_of(error, path)}: {error}") from error
    except Exception as error:
        raise SpaceError(f"{path}{_line_of(error, path)}: {type(error).__name__}: {error}") from error
    modules = {
        str(file.relative_to(package.folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in package.files()
    }
    return SpaceFile(path, text, **_parts(path, names), modules=modules)


def _parts(path: Path, names: Mapping[str, Any]) -> dict[str, Any]:
    """The parts that a space file defines, by name."""
    found: dict[str, Any] = {}
    for name, kind in NAMES.items():
        if name in names:
            if not isinstance(names[name], kind):
                raise SpaceError(f"{path}: `{name}` must be a {kind.__name__}, but is {names[name]!r}")
            found[name] = names[name]
        elif name in ("task", "space"):
            raise SpaceError(f"{path}: defines no `{name}`; a space file needs `{name} = {kind.__name__}(…)`")
    for name, value in names.items():
        for known, kind in NAMES.items():
            if isinstance(value, kind) and name != known and value is not found.get(known) and name[0] != "_":
                raise SpaceError(
                    f"{path}: `{name}` is a {kind.__name__}, but only the one called `{known}` is used: rename it, or "
                    f"call it `_{name}` where it only helps to make others"
                )
    return found


def _line_of(error: BaseException, path: Path) -> str:
    line, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = f", line {trace.tb_lineno}"
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.lineno:
        line = f", line {error.lineno}"
    return line
