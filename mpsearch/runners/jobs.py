"""Train one job on an engine, wherever that is."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mpsearch.errors import TrainingError
from mpsearch.observing import Observer, observed_file
from mpsearch.runners.job import Ending, Job, Report
from mpsearch.searching.engine import Engine
from mpsearch.training import trial_callbacks


class _StoppedError(Exception):
    """The training shall stop."""


def train(engine: Engine, job: Job, report: Report, folder: Path) -> tuple[Ending, Sequence[np.ndarray] | None]:
    """Train a job's config.

    Args:
        engine: trains it.
        job: what to train.
        report: is told each epoch.
        folder: of the study; logs for TensorBoard and what was observed go into it, where the recipe wants them.

    Returns:
        What came of it, and the trained weights and ranges; None for these where there are none to be kept.
    """

    def stop_or_go_on(epoch: int, logs: dict[str, float]) -> None:
        if report(epoch, logs):
            raise _StoppedError

    recipe = engine.task.training
    callbacks = trial_callbacks(recipe, folder / "tensorboard" / f"trial-{job.number}")
    if recipe.observe:
        callbacks.append(Observer(engine, job.config, recipe, observed_file(folder, job.number)))
    try:
        outcome = engine.train(job.config, job.seed, report=stop_or_go_on, callbacks=callbacks)
    except _StoppedError:
        return Ending(), None
    except TrainingError as error:
        return Ending(failed=f"{type(error).__name__}: {error}"), None
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        first_line = (str(error).splitlines() or [""])[0]
        return Ending(exhausted=f"out of memory: {first_line or type(error).__name__}"), None
    return Ending(seconds=outcome.seconds), outcome.state


def _is_out_of_memory(error: Exception) -> bool:
    """Python's error, TensorFlow's, and that of XLA, which JAX uses."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "ResourceExhaustedError"
        or (type(error).__name__ == "XlaRuntimeError" and "RESOURCE_EXHAUSTED" in str(error))
    )
