"""Train one job on an engine, wherever that is."""

from dataclasses import dataclass
from pathlib import Path

from mpsearch.errors import TrainingError
from mpsearch.runners.job import Job, Report
from mpsearch.searching.engine import Engine, Outcome
from mpsearch.training import trial_callbacks


@dataclass(frozen=True)
class Trained:
    """What became of a job.

    Attributes:
        outcome: of the training; None where it was stopped or failed.
        failure: why the config can't be trained; empty where it can.
        exhausted: why the machine couldn't train it: it may, another time.
    """

    outcome: Outcome | None
    failure: str = ""
    exhausted: str = ""


class _StoppedError(Exception):
    """The training shall stop."""


def train(engine: Engine, job: Job, report: Report, folder: Path) -> Trained:
    """Train a job's config.

    Args:
        engine: trains it.
        job: what to train.
        report: is told each epoch.
        folder: of the study; logs for TensorBoard go into it, where the recipe wants them.
    """

    def stop_or_go_on(epoch: int, logs: dict[str, float]) -> None:
        if report(epoch, logs):
            raise _StoppedError

    callbacks = trial_callbacks(engine.task.training, folder / "tensorboard" / f"trial-{job.number}")
    try:
        return Trained(engine.train(job.config, job.seed, report=stop_or_go_on, callbacks=callbacks))
    except _StoppedError:
        return Trained(None)
    except TrainingError as error:
        return Trained(None, failure=f"{type(error).__name__}: {error}")
    except Exception as error:
        if not _is_out_of_memory(error):
            raise
        first_line = (str(error).splitlines() or [""])[0]
        return Trained(None, exhausted=f"out of memory: {first_line or type(error).__name__}")


def _is_out_of_memory(error: Exception) -> bool:
    """Python's error, TensorFlow's, and that of XLA, which JAX uses."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "ResourceExhaustedError"
        or (type(error).__name__ == "XlaRuntimeError" and "RESOURCE_EXHAUSTED" in str(error))
    )
