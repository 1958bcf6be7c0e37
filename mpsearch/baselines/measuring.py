"""Measure the baselines of a study, and keep each with it as soon as it is known."""

import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from mpsearch.baselines.record import METHOD, Baseline, check_rows, keep, kept
from mpsearch.baselines.rows import Row, Rows
from mpsearch.config import Alpha
from mpsearch.errors import StudyError, TrainingError
from mpsearch.network.calibration import CALIBRATION_SAMPLES
from mpsearch.searching.engine import Engine
from mpsearch.searching.samplers import derived_seed
from mpsearch.study import Study
from mpsearch.training import Report

ALPHAS = (Alpha.AUTO, Alpha.AUTO_PO2)
"""Scale modes that the engine needs besides those of the space."""


def baselines(
    study: Study,
    engine: Engine,
    only: Sequence[str] = (),
    recipe: str = "trial",
    calibration: int = CALIBRATION_SAMPLES,
    again: bool = False,
    report: Callable[[str], Report] | None = None,
    measured: Callable[[Baseline, int, int], None] | None = None,
) -> list[Baseline]:
    """The rows of a study's table of baselines; those that are kept with it aren't measured again.

    Args:
        study: with the trials.
        engine: of its space, made with `extra_alphas=ALPHAS`.
        only: patterns of rows' names, such as "PTQ*"; none: all rows.
        recipe: by which rows are trained: "trial", as the study's trials were, or "finetuning".
        calibration: samples of the training split for post-training quantization.
        again: measure also what is kept.
        report: a row's name to what is called after each epoch of its training.
        measured: called with a row, its number from 1 and the number of rows.

    Raises:
        ConfigError: no such recipe or row, or too few samples.
    """
    check_rows(only, recipe, calibration)
    seed = derived_seed(study.provenance.seed, 0, "baselines")
    training = None if recipe == "trial" else engine.task.finetune_recipe
    rows = list(Rows(study, engine, training, calibration, seed))
    chosen = [row for row in rows if not only or any(fnmatchcase(row.name, pattern) for pattern in only)]
    if not chosen:
        raise StudyError(f"`{study.name}` has no complete trial yet, so no best one: mpsearch study run {study.name}")
    known = {} if again else kept(study, recipe)
    found = []
    for number, row in enumerate(chosen, 1):
        depends_on = [str(part) for part in (*row.depends_on, *engine.task.further_metrics)]
        key = {"conditions": study.provenance.conditions, "depends_on": depends_on, "method": METHOD, "recipe": recipe}
        baseline = known.get(row.name)
        if baseline is None or baseline.key != key:
            baseline = _measured(row, engine, key, None if report is None else report(row.name))
            keep(study, baseline)
        found.append(baseline)
        if measured is not None:
            measured(baseline, number, len(chosen))
    return found


def _measured(row: Row, engine: Engine, key: dict[str, Any], report: Report | None) -> Baseline:
    """Make and judge a row's model."""
    costs, name = engine.costs(row.config), engine.task.metric
    started = time.perf_counter()
    validation, test = None, dict[str, float]()
    epochs, extra, judging, note = 0, 0.0, 0.0, ""
    try:
        row.prepare()
        started = time.perf_counter()
        made = row.make(report)
        ended = time.perf_counter()
        session, data = made.engine.session(made.engine.task.training), made.engine.data
        validation = session.evaluate(data, data.validation, further=False)[name]
        if data.test is not None:
            test = session.evaluate(data, data.test)
        epochs, extra, note, judging = made.epochs, made.extra_seconds, made.note, time.perf_counter() - ended
    except TrainingError as error:
        ended, note = time.perf_counter(), str(error)
    return Baseline(
        name=row.name,
        validation=validation,
        test=test.get(name),
        parameter_bits=costs.parameter_bits,
        activation_bits=costs.activation_bits,
        delta=engine.delta(costs),
        score=None if validation is None else engine.score(validation, costs),
        epochs=epochs,
        seconds=ended - started + extra,
        judging_seconds=judging,
        note=note,
        further={further: test[further] for further in engine.task.further_metrics if further in test},
        key=key,
        costs=dict(costs.others),
    )
