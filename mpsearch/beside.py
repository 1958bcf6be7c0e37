"""Modules that lie beside a space file: imported by it alone, at once or later.

A space file may `import helper` where `helper.py` or the package `helper/` lies in its folder. Putting the folder on
`sys.path` would not do: two space files may each have a `helper.py`, of which `sys.modules` can hold but one, and a
function such as `task.model` may import long after its file was executed. So every space file gets a package of its
own (`mpsearch_space_0`, …) whose path is the folder, and its code, like that of the modules beside it, is executed
with an `__import__` that looks into this package first. Functions keep the built-ins they were defined with, so that
their imports find the same modules whenever they run.

The standard library and mpsearch itself come before modules beside a space file. `importlib.import_module` doesn't
see the package: give it `package=__package__` and a name with a leading dot.
"""

import builtins
import importlib.util
import itertools
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

_numbers = itertools.count()


class PrivatePackage:
    """The package of one space file: the file itself, and what it imports from its folder.

    Args:
        path: of the space file.

    Attributes:
        folder: of the space file, absolute.
        name: of the package.
    """

    def __init__(self, path: Path) -> None:
        self.folder = path.parent.resolve()
        self._path = self.folder / path.name
        self.name = f"mpsearch_space_{next(_numbers)}"
        self.builtins = {**vars(builtins), "__import__": self._import}
        package = ModuleType(self.name, f"Modules of {self.folder}.")
        package.__path__ = [str(self.folder)]
        sys.modules[self.name] = package
        _FINDER.packages[self.name] = self

    def execute(self, code: CodeType) -> dict[str, Any]:
        """Execute the space file's code as a module of this package; its global names.

        Whatever it raises passes through, and then none of its modules stays behind.
        """
        module = ModuleType(f"{self.name}.{self._path.stem.replace('.', '_')}")
        module.__file__ = str(self._path)
        module.__package__ = self.name
        names = vars(module)
        names["__builtins__"] = self.builtins
        sys.modules[module.__name__] = module
        try:
            exec(code, names)
        except BaseException:
            for name in [name for name in sys.modules if name.split(".")[0] == self.name]:
                del sys.modules[name]
            del _FINDER.packages[self.name]
            raise
        return names

    def files(self) -> list[Path]:
        """Source files imported so far, the space file left out."""
        modules = [module for name, module in list(sys.modules.items()) if name.startswith(f"{self.name}.")]
        found = (getattr(module, "__spec__", None) for module in modules)
        return sorted(Path(spec.origin) for spec in found if spec is not None and spec.origin is not None)

    def _import(
        self,
        name: str,
        globals: Any = None,
        locals: Any = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> ModuleType:
        top = name.partition(".")[0]
        if level or not self._holds(top):
            return builtins.__import__(name, globals, locals, fromlist, level)
        module = builtins.__import__(f"{self.name}.{name}", globals, locals, fromlist, 0)
        return module if fromlist else sys.modules[f"{self.name}.{top}"]

    def _holds(self, top: str) -> bool:
        """Whether `import top` means a module of the folder."""
        if top in sys.stdlib_module_names or top == "mpsearch":
            return False
        inside = self.folder / top
        if inside.with_suffix(".py").is_file() or (inside / "__init__.py").is_file():
            return True
        # a folder without __init__.py comes last, as elsewhere in Python
        return inside.is_dir() and any(inside.glob("*.py")) and importlib.util.find_spec(top) is None


class _Loader(SourceFileLoader):
    """Executes a module as it is on disk now, with the built-ins of its space file's package."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = _FINDER.packages[module.__name__.partition(".")[0]].builtins
        super().exec_module(module)


class _Finder(MetaPathFinder):
    """Finds the modules of all private packages."""

    def __init__(self) -> None:
        self.packages: dict[str, PrivatePackage] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in self.packages:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path)
        return spec


_FINDER = _Finder()
sys.meta_path.insert(0, _FINDER)
