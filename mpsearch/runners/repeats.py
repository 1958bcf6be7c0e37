"""Train the best configs of a study again, with other seeds."""

import time
from collections.abc import Sequence

from mpsearch.errors import StudyError, TrainingError
from mpsearch.ranking import Candidate, ranked, repeat_key
from mpsearch.records import TrialRecord
from mpsearch.runners.ledger import Progress
from mpsearch.searching.engine import Engine
from mpsearch.searching.samplers import derived_seed
from mpsearch.study import Study


def repeat(study: Study, engine: Engine, records: Sequence[TrialRecord], repeats: int, progress: Progress) -> None:
    """Train configs again until each has so many repeats besides its trial.

    A repeat's seed is a function of the study's seed, the trial's place and the repeat's number alone. Each is kept as
    soon as it ends; a run that was cut off goes on with the first that is missing.

    Args:
        study: made for the engine's space.
        engine: trains the configs.
        records: trials that trained the configs.
        repeats: of each config.
        progress: is told what happens.

    Raises:
        StudyError: another process runs the study, or a trial was trained before an accepted change: a repeat would
            be trained under other conditions.
    """
    for record in records:
        if record.before_change or record.score is None:
            why = "was trained before a change of the study" if record.before_change else "has no score"
            raise StudyError(f"trial {record.number} of `{study.name}` {why}, so repeats can't be compared with it")
    with study.exclusive():
        for index in range(1, repeats + 1):
            for record in records:
                if repeat_key(record.number, index) not in study.kept(""):
                    _repeat(study, engine, record, index, progress)


def to_repeat(study: Study, top: int) -> list[TrialRecord]:
    """The trials of the best `top` configs under the study's present conditions.

    Raises:
        StudyError: there are none.
    """
    found = [candidate.record for candidate in ranked(study) if not candidate.record.before_change]
    if not found:
        raise StudyError(f"`{study.name}` has no complete trial yet: mpsearch study run {study.name}")
    return found[:top]


def missing_repeats(study: Study, records: Sequence[TrialRecord], repeats: int) -> int:
    """How many trainings `repeat` would do."""
    kept = study.kept("")
    return sum(repeat_key(r.number, index) not in kept for r in records for index in range(1, repeats + 1))


def candidates_of(study: Study, records: Sequence[TrialRecord]) -> list[Candidate]:
    """Trials with all their trainings, in the ranking's order."""
    numbers = {record.number for record in records}
    return [candidate for candidate in ranked(study) if candidate.record.number in numbers]


def _repeat(study: Study, engine: Engine, record: TrialRecord, index: int, progress: Progress) -> None:
    config = record.config
    assert config is not None
    seed = derived_seed(study.provenance.seed, record.sequence, f"repeat {index}")
    costs, name, started = engine.costs(config), f"val_{engine.task.metric}", time.perf_counter()
    curve: list[dict[str, float]] = []

    def report(epoch: int, logs: dict[str, float]) -> None:
        curve.append({**logs, "score": engine.score(logs[name], costs)})
        progress.epoch_ended(record.number, epoch, curve[-1])

    progress.trial_started(record.number, config)
    cause = ""
    try:
        engine.train(config, seed, report=report)
    except TrainingError as error:
        cause = f"{type(error).__name__}: {error}"
    best = None if cause else max(curve, key=lambda logs: logs[name])
    study.keep(
        repeat_key(record.number, index),
        {
            "seed": seed,
            "metric": None if best is None else best[name],
            "score": None if best is None else best["score"],
            "seconds": time.perf_counter() - started,
            "curve": curve,
            "cause": cause,
        },
    )
    progress.repeat_ended(record, index, None if best is None else best["score"], cause)
