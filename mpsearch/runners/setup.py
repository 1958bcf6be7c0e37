"""What a process elsewhere needs to build a study's engine."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mpsearch.data import Data
from mpsearch.errors import StudyError
from mpsearch.spacefile import PYTHON_OBJECTS, SpaceFile, load_space_file
from mpsearch.study import Study

if TYPE_CHECKING:
    from mpsearch.searching.engine import Engine


@dataclass(frozen=True)
class Setup:
    """What an engine is built of, elsewhere.

    Attributes:
        space: the space file: its path, or itself as cloudpickle wrote it.
        space_hash, data_fingerprint, float_weights: of the study; what is found elsewhere must be the same.
        folder: of the study.
        files: content of the space file and of the modules beside it, by path relative to its folder; None on the
            machine where they are.
        weights: content of the file of float weights, and its name; None on the machine where it is.
    """

    space: Path | bytes
    space_hash: str
    data_fingerprint: str
    float_weights: str
    folder: Path
    files: Mapping[str, bytes] | None = None
    weights: tuple[bytes, str] | None = None


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
        modules = [*folder.glob("*.py"), *(path for inner in folder.glob("*/__init__.py") for path in _package(inner))]
        files = {str(path.relative_to(folder)): path.read_bytes() for path in {setup.space, *modules}}
    from mpsearch.creation import float_weights_file

    weights = float_weights_file(file, data)
    return replace(setup, files=files, weights=(weights.read_bytes(), weights.name))


def _package(init: Path) -> Iterator[Path]:
    return (path for path in init.parent.rglob("*.py") if (path.parent / "__init__.py").exists())


def build_engine(setup: Setup, data: Data | None = None) -> "Engine":
    """The engine, if what it is built of is what the run began with.

    Args:
        setup: what to build.
        data: the task's, where it was sent; else the task loads it.

    Raises:
        StudyError: the space file, the data or the float weights differ.
    """
    from mpsearch.creation import float_weights
    from mpsearch.searching.engine import Engine

    folder = Path(tempfile.mkdtemp(prefix="mpsearch-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)  # functions of a space file may import when they run
    file = _read(setup, folder)
    if setup.weights is not None:
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


def _read(setup: Setup, folder: Path) -> SpaceFile:
    if isinstance(setup.space, Path):
        for name, content in (setup.files or {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return load_space_file(setup.space if setup.files is None else folder / setup.space.name)
    import cloudpickle

    file: SpaceFile = cloudpickle.loads(setup.space)
    return file


def thread_variables(threads: int) -> Mapping[str, str]:
    """Environment variables that limit the threads of TensorFlow and of what it calls."""
    return dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"), str(threads))


def grow_gpu_memory() -> None:
    """Let TensorFlow take a GPU's memory as it needs it: several processes may share the GPU."""
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
    else:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
