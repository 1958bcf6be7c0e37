"""Whether this installation can work: versions, backend, processors, folders, storage, and what to do about it."""

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mpsearch.errors import StudyError
from mpsearch.folders import cache_folder
from mpsearch.version import __version__

PYTHONS = ((3, 11), (3, 13))
BACKENDS = ("tensorflow", "jax")
PACKAGES = ("keras", "tensorflow", "qkeras-v3", "optuna", "numpy", "onnx", "onnxruntime")
EXTRAS = {
    "audio": ("librosa", "datasets of recordings"),
    "camera": ("cv2", "run --camera"),
    "dashboard": ("optuna_dashboard", "dashboard NAME"),
    "gp": ("torch", "the sampler gp"),
    "jax": ("jax", "training with JAX"),
    "litert": ("ai_edge_litert", "LiteRT files"),
    "mysql": ("pymysql", "storages at mysql://"),
    "postgres": ("psycopg", "storages at postgresql://"),
    "qonnx": ("qonnx", "QONNX files"),
    "ray": ("ray", "study run --ray"),
}
"""Extra to the module that it brings, and what that is for."""
LEAST_DISK = 2e9
"""Bytes free for caches and weights."""


class Verdict(StrEnum):
    """On what was looked at: good, worth knowing, or in the way."""

    GOOD = "good"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Check:
    """What was looked at.

    Attributes:
        name: of it.
        verdict: on it.
        found: in words.
        remedy: what to do; empty where nothing is.
    """

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "verdict": self.verdict.value}


def checks(storage: str | None = None) -> Iterator[Check]:
    """Everything that is looked at, what takes seconds last.

    Args:
        storage: where studies are kept; None: the usual place.
    """
    yield _python()
    yield Check("mpsearch", Verdict.GOOD, __version__)
    yield from map(_package, PACKAGES)
    yield _extras()
    yield _processors()
    yield _data()
    yield _cache()
    yield _storage(storage)
    yield _training()


def _python() -> Check:
    low, high = (".".join(map(str, bound)) for bound in PYTHONS)
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        return Check("Python", Verdict.GOOD, found)
    return Check("Python", Verdict.PROBLEM, found, f"make an environment with Python {low} to {high}")


def _package(name: str) -> Check:
    try:
        return Check(name, Verdict.GOOD, version(name))
    except PackageNotFoundError:
        return Check(name, Verdict.PROBLEM, "not installed", f"pip install {name}")


def _extras() -> Check:
    there = [extra for extra, (module, _) in EXTRAS.items() if find_spec(module) is not None]
    missing = [f"{extra} ({what})" for extra, (_, what) in EXTRAS.items() if extra not in there]
    found = ", ".join(there) or "none"
    if not missing:
        return Check("extras", Verdict.GOOD, found)
    return Check(
        "extras", Verdict.NOTE, found, f"where you need it, pip install 'mpsearch[NAME]': {', '.join(missing)}"
    )


def _processors() -> Check:
    known = hasattr(os, "sched_getaffinity")
    usable, all_of_them = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1, os.cpu_count() or 1
    found = f"{usable} of {all_of_them} usable"
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if limit.isdigit() and int(limit) < usable:
        return Check(
            "processors",
            Verdict.NOTE,
            f"{found}, OMP_NUM_THREADS={limit}",
            "unset OMP_NUM_THREADS, or run several trials at once: study run NAME --jobs N",
        )
    return Check("processors", Verdict.GOOD, found)


def _data() -> Check:
    given = os.environ.get("MPSEARCH_DATA")
    if not given:
        return Check(
            "data folder",
            Verdict.NOTE,
            f"MPSEARCH_DATA isn't set; {cache_folder()} is looked into",
            "export MPSEARCH_DATA=FOLDER where datasets and weights lie elsewhere; mpsearch data tells which are here",
        )
    if not Path(given).is_dir():
        return Check("data folder", Verdict.PROBLEM, f"MPSEARCH_DATA={given} is no folder", "name one that is there")
    return Check("data folder", Verdict.GOOD, given)


def _cache() -> Check:
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Check(
            "cache folder",
            Verdict.PROBLEM,
            f"can't write to {folder}: {error.strerror or error}",
            "set XDG_CACHE_HOME to a folder that you may write to",
        )
    free = shutil.disk_usage(folder).free
    found = f"{folder}, {free / 1e9:,.1f} GB free"
    if free < LEAST_DISK:
        return Check("cache folder", Verdict.PROBLEM, found, "free some space, or set XDG_CACHE_HOME to another disk")
    return Check("cache folder", Verdict.GOOD, found)


def _storage(url: str | None) -> Check:
    from mpsearch.storagecheck import check_storage
    from mpsearch.storages import DEFAULT_DATABASE

    if url is None and not DEFAULT_DATABASE.exists():
        return Check("storage", Verdict.NOTE, f"no {DEFAULT_DATABASE} here yet", "mpsearch study create makes it")
    try:
        found = check_storage(url)
    except StudyError as error:
        return Check("storage", Verdict.PROBLEM, str(error), "mpsearch storage check tells more")
    outdated = found.schema != found.optuna_schema and found.schema is not None
    return Check(
        "storage",
        Verdict.PROBLEM if outdated else Verdict.GOOD,
        f"{found.address}: studies: {found.studies}, trials: {found.trials}, a write takes {found.write_ms:.1f} ms",
        "mpsearch storage upgrade" if outdated else "",
    )


def _training() -> Check:
    """Whether the backend starts, sees an accelerator, and computes."""
    try:
        import keras

        backend = str(keras.backend.backend())
        if backend not in BACKENDS:
            return Check("training", Verdict.PROBLEM, f"Keras runs on {backend}", "set KERAS_BACKEND=tensorflow")
        devices = _accelerators(backend)
        total = float(keras.ops.sum(keras.ops.ones((4, 4))))
    except Exception as error:  # a backend that can't start raises what it likes
        said = (str(error).splitlines() or [""])[0]
        return Check("training", Verdict.PROBLEM, f"the backend doesn't start: {type(error).__name__}: {said}", _ANEW)
    if total != 16.0:
        return Check("training", Verdict.PROBLEM, f"{backend} computes 4·4 as {total:g}", _ANEW)
    found = f"Keras {keras.__version__} on {backend}, {', '.join(devices) or 'no accelerator'}"
    if backend == "jax" and not devices:
        return Check("training", Verdict.NOTE, found, "on processors tensorflow is faster: KERAS_BACKEND=tensorflow")
    return Check("training", Verdict.GOOD, found)


_ANEW = "install the backend anew, or set KERAS_BACKEND to the other one of tensorflow and jax"


def _accelerators(backend: str) -> list[str]:
    if backend == "jax":
        import jax

        return [str(device) for device in jax.devices() if device.platform != "cpu"]
    import tensorflow as tf

    return [device.name for device in tf.config.list_physical_devices("GPU")]
