"""What a process elsewhere needs to build a study's engine."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mpsearch.data import Data
from mpsearch.errors import StudyError
from mpsearch.importing import importing
from mpsearch.spacefile import PYTHON_OBJECTS, SpaceFile, load_space_file
from mpsearch.study import Study

if TYPE_CHECKING:
    from mpsearch.searching.engine import Engine

LARGEST_SENT = 2**20  # bytes of a file beside the space file that is sent to other machines
MOST_SENT = 2**25  # bytes of all of them
NOT_SENT = ("__pycache__", "studies", "exports", "node_modules", "venv")


@dataclass(frozen=True)
class Setup:
    """What an engine is built of, elsewhere.

    Attributes:
        space: the space file: its path, or itself as cloudpickle wrote it.
        space_hash, data_fingerprint, float_weights: of the study; what is found elsewhere must be the same.
        folder: of the study.
        files: content of the space file and of small files beside it, by path relative to its folder; None on the
            machine where they are.
        weights: content of the file of float weights, and its name; None on the machine where it is.
        working: folder in which the run began; relative paths refer to it where it is on the other machine as well.
    """

    space: Path | bytes
    space_hash: str
    data_fingerprint: str
    float_weights: str
    folder: Path
    files: Mapping[str, bytes] | None = None
    weights: tuple[bytes, str] | None = None
    working: Path | None = None


def setup_of(study: Study, file: SpaceFile) -> Setup:
    """The setup of a study for processes on this machine."""
    was = study.provenance
    space: Path | bytes = file.path.resolve()
    if file.path == PYTHON_OBJECTS:
        import cloudpickle

        space = cloudpickle.dumps(file)
    return Setup(space, was.space_hash, was.data_fingerprint, was.float_weights, study.folder.resolve())


def portable(setup: Setup, file: SpaceFile, data: Data) -> Setup:
    """A setup that needs no file of this machine, apart from what the task's data reads where it isn't sent."""
    files = None
    if isinstance(setup.space, Path):
        folder = setup.space.parent
        files = {str(path.relative_to(folder)): path.read_bytes() for path in {setup.space, *_beside(folder)}}
    from mpsearch.creation import float_weights_file

    weights = float_weights_file(file, data)
    return replace(setup, files=files, weights=(weights.read_bytes(), weights.name), working=Path.cwd())


def _beside(folder: Path) -> list[Path]:
    """A space file's modules, all of them, and then small files of its folder, which its functions may read."""
    packages = (path for init in folder.glob("*/__init__.py") for path in init.parent.rglob("*.py"))
    modules = {*folder.glob("*.py"), *(path for path in packages if (path.parent / "__init__.py").exists())}
    found, size = list(modules), 0
    for inner, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in NOT_SENT and not name.startswith("."))
        for path in (Path(inner) / name for name in sorted(names) if not name.startswith(".")):
            if path in modules or not (path.is_file() and os.access(path, os.R_OK)):
                continue
            length = path.stat().st_size
            if length > LARGEST_SENT:
                continue
            size += length
            if size > MOST_SENT:
                most = f"{MOST_SENT // 2**20} MiB"
                print(
                    f"note: of the files beside the space file {most} are sent, not {path} and what follows",
                    file=sys.stderr,
                )
                return found
            found.append(path)
    return found


def build_engine(setup: Setup, data: Data | None = None, folder: Path | None = None) -> "Engine":
    """The engine, if what it is built of is what the run began with.

    Args:
        setup: what to build.
        data: the task's, where it was sent; else the task loads it.
        folder: for files that were sent; it must stay, since functions of a space file may import when they run.

    Raises:
        StudyError: the space file, the data or the float weights differ.
    """
    from mpsearch.creation import float_weights
    from mpsearch.searching.engine import Engine

    file = _read(setup, folder)
    if setup.weights is not None:
        assert folder is not None
        content, name = setup.weights
        (folder / name).write_bytes(content)
        file = replace(file, task=replace(file.task, weights=folder / name))
    if data is None:
        data = file.task.data()
    found = {
        "space_hash": file.hash,
        "data_fingerprint": data.fingerprint,
        "float_weights": float_weights(file, data),
    }
    for name, value in found.items():
        if value != getattr(setup, name):
            raise StudyError(
                f"a worker finds {name.replace('_', ' ')} {value}, but the run began with {getattr(setup, name)}: "
                "it changed meanwhile, or isn't the same in each process; start the run again"
            )
    return Engine(file, data=data)


def _read(setup: Setup, folder: Path | None) -> SpaceFile:
    if isinstance(setup.space, Path):
        if setup.files is None:
            return load_space_file(setup.space)
        assert folder is not None
        for name, content in setup.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return load_space_file(folder / setup.space.name)
    import cloudpickle

    file: SpaceFile = cloudpickle.loads(setup.space)
    return file


def thread_variables(threads: int) -> Mapping[str, str]:
    """Environment variables that limit the threads of TensorFlow and of what it calls."""
    return dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), str(threads))


def grow_gpu_memory() -> None:
    """Let TensorFlow take a GPU's memory as it needs it: several processes may share the GPU."""
    with importing():
        import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        for gpu in tf.config.list_physical_devices("GPU"):
            with suppress(RuntimeError, ValueError):  # a space file has used it already, or divided it
                tf.config.experimental.set_memory_growth(gpu, True)
    else:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
