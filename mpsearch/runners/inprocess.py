"""Run a study's trials in this process, one after the other."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import optuna

from mpsearch.config import Config
from mpsearch.errors import MpsearchError, StudyError, TrainingError
from mpsearch.records import State, TrialRecord
from mpsearch.runners.limits import Limits
from mpsearch.searching.engine import Engine, Outcome
from mpsearch.searching.samplers import derived_seed
from mpsearch.study import SearchEndedError, Study
from mpsearch.training import trial_callbacks

KEPT_WEIGHTS = 10  # best trials whose trained weights are kept
_FINGERPRINT = "config_fingerprint"


class Progress(Protocol):
    """What a run tells of itself."""

    def trial_started(self, number: int, config: Config) -> None:
        """A trial begins."""

    def epoch_ended(self, number: int, epoch: int, logs: dict[str, float]) -> None:
        """An epoch of a trial ended; `logs` has its score as well."""

    def trial_ended(self, record: TrialRecord) -> None:
        """A trial ended, in whatever way."""

    def repeat_ended(self, record: TrialRecord, index: int, score: float | None, cause: str) -> None:
        """Repeat `index` (from 1) of a trial ended, with a score or a cause of failure."""


class _PrunedError(Exception):
    """The pruner stops this trial."""


def run(study: Study, engine: Engine, limits: Limits | int, progress: Progress) -> str:
    """Run trials until a limit is reached.

    Trials that a dead process left behind are failed and their configs tried again first. A config that the
    study trained before is answered from it.

    Args:
        study: the study, made for the engine's space.
        engine: trains the configs.
        limits: when to end; a number is that of complete, pruned and failed trials that the study shall have.
        progress: is told what happens.

    Returns:
        Why the run ended before it had all trials; empty where it has them.

    Raises:
        StudyError: another process runs the study.
        KeyboardInterrupt: after the running trial was ended cleanly and its config queued again.
    """
    limits, started = Limits(trials=limits) if isinstance(limits, int) else limits, time.monotonic()
    with study.exclusive():
        study.recover()
        while (reason := limits.reached(study.records(), started)) is None:
            try:
                _run_one(study, engine, progress)
            except SearchEndedError as ended:
                return str(ended)
    return reason


def _run_one(study: Study, engine: Engine, progress: Progress) -> None:
    trial, config, sequence = study.ask(engine.network.space)
    try:
        progress.trial_started(trial.number, config)
        earlier = study.earlier(config.fingerprint)
        if earlier is not None:
            study.answer(trial, earlier)
        else:
            _train(study, engine, trial, config, derived_seed(study.provenance.seed, sequence, "training"), progress)
    except (KeyboardInterrupt, SystemExit):
        if study.record(trial.number).state is State.RUNNING:  # it may have come just after the trial's end
            study.interrupt(trial)
        raise
    except MpsearchError as error:  # no config's fault: it is tried again once that is mended
        if study.record(trial.number).state is State.RUNNING:
            study.interrupt(trial, f"{type(error).__name__}: {error}")
        raise
    except BaseException as error:
        if study.record(trial.number).state is State.RUNNING:
            study.fail(trial, f"{type(error).__name__}: {error}")
        raise
    progress.trial_ended(study.record(trial.number))


def _train(study: Study, engine: Engine, trial: optuna.Trial, config: Config, seed: int, progress: Progress) -> None:
    costs, started = engine.cost(config), time.perf_counter()
    curve: list[dict[str, float]] = []
    name = f"val_{engine.task.metric}"

    def report(epoch: int, logs: dict[str, float]) -> None:
        score = engine.score(logs[name], costs)
        curve.append({**logs, "score": score})
        trial.set_user_attr("curve", curve)
        progress.epoch_ended(trial.number, epoch, curve[-1])
        trial.report(score, epoch)
        if epoch + 1 < engine.task.training.epochs and trial.should_prune():  # after the last one nothing is saved
            raise _PrunedError(f"pruned after epoch {epoch + 1}: score {score:.4f}")

    def record(outcome: Outcome | None) -> TrialRecord:
        best = max((logs[name] for logs in curve), default=math.nan)
        return TrialRecord(
            trial.number,
            State.COMPLETE,
            metric=None if math.isnan(best) else best,
            score=None if math.isnan(best) else engine.score(best, costs),
            costs={
                "parameter_bits": costs.parameter_bits,
                "activation_bits": costs.activation_bits,
                "total_bits": costs.total_bits,
            },
            delta=engine.delta(costs),
            epochs=len(curve),
            seconds=time.perf_counter() - started if outcome is None else outcome.seconds,
            curve=curve,
        )

    try:
        logs = trial_callbacks(engine.task.training, study.folder / "tensorboard" / f"trial-{trial.number}")
        outcome = engine.train(config, seed, report=report, callbacks=logs)
    except _PrunedError as pruned:
        study.fail(trial, str(pruned), pruned=True, record=record(None))
    except TrainingError as error:
        study.fail(trial, f"{type(error).__name__}: {error}", record=record(None))
    else:
        save_weights(weights_file(study, trial.number), outcome.state, config)
        study.complete(trial, record(outcome))
        _forget_weights(study)


def weights_file(study: Study, number: int) -> Path:
    """Where the trained weights and ranges of a trial are kept, while it is among the best."""
    return study.folder / f"trial-{number}.npz"


def save_weights(path: Path, state: Sequence[np.ndarray], config: Config) -> None:
    """Write weights and ranges, and which config they are of, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"partial-{path.name}")
    np.savez(partial, *state, config_fingerprint=np.array(config.fingerprint))
    partial.replace(path)


def load_weights(path: Path, config: Config) -> list[np.ndarray]:
    """Weights and ranges as `save_weights` wrote them.

    Raises:
        StudyError: they are of another config.
    """
    with np.load(path) as stored:
        if _FINGERPRINT in stored.files and str(stored[_FINGERPRINT]) != config.fingerprint:  # older files don't say
            raise StudyError(
                f"the weights in {path} are of another config ({stored[_FINGERPRINT]} in place of "
                f"{config.fingerprint}): they were put there from elsewhere, remove them"
            )
        return [stored[name] for name in stored.files if name != _FINGERPRINT]


def _forget_weights(study: Study) -> None:
    kept = {weights_file(study, record.number) for record in study.best(KEPT_WEIGHTS)}
    for path in study.folder.glob("trial-*.npz"):
        if path not in kept:
            path.unlink()
