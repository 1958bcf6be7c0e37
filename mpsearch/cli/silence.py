"""Import TensorFlow without its messages, and in less time."""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from mpsearch.importing import importing

VERBOSE = "MPSEARCH_VERBOSE"  # as of mpsearch.storages, which is not imported for it


def show_messages() -> None:
    """Show what libraries have to say, here and in processes that this one starts."""
    import logging

    os.environ[VERBOSE] = "1"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "0"
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")


@contextmanager
def silent_import() -> Iterator[None]:
    """Hold back what is written to standard error's descriptor; show it after all where an import fails.

    TensorFlow's C++ code writes there before any setting of its own can stop it.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except Exception:
            os.dup2(kept, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def import_tensorflow() -> None:
    """Import Keras and its backend without their messages, unless these are asked for; they take several seconds."""
    if "keras" not in sys.modules:
        with importing(), _silence():
            import_module("keras")


def _silence() -> AbstractContextManager[None]:
    return nullcontext() if os.environ.get(VERBOSE) else silent_import()


class Importer:
    """Imports Keras and TensorFlow as `import_tensorflow` does, whoever imports them: a space file may."""

    NAMES = ("keras", "tensorflow")

    @classmethod
    def find_spec(cls, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Where such a module is; None of others, for which the usual finders look."""
        spec = PathFinder.find_spec(name, path, target) if name in cls.NAMES else None
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def held(module: ModuleType) -> None:
                with importing(), _silence():
                    run(module)

            spec.loader.exec_module = held  # type: ignore[method-assign]
        return spec


def silence_imports() -> None:
    """Import Keras and TensorFlow in this way from now on."""
    sys.meta_path.insert(0, Importer)
