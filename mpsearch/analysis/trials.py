"""What was seen of a trial's training, or is seen when it is trained again."""

from collections.abc import Mapping, Sequence

import numpy as np

from mpsearch.config import Config
from mpsearch.errors import StudyError
from mpsearch.observing import Observed, Observer, observed_file, read_observed
from mpsearch.records import TrialRecord
from mpsearch.searching.engine import Engine
from mpsearch.searching.samplers import derived_seed
from mpsearch.study import Study
from mpsearch.training import Report

Epochs = Sequence[Mapping[str, Observed]]


def observed_of(study: Study, record: TrialRecord, weights: str) -> Epochs:
    """What was seen of a training; none where it wasn't watched.

    Args:
        study: of the trial.
        record: the trial.
        weights: "trial" or "fine-tuned": of which training.
    """
    number = study.trained(record).number
    folder = study.folder if weights == "trial" else study.folder / "finetuned" / f"trial-{number}"
    file = observed_file(folder, number if weights == "trial" else None)
    return read_observed(file) if file.exists() else []


def trained_again(
    study: Study, engine: Engine, record: TrialRecord, report: Report | None = None
) -> tuple[Config, Sequence[np.ndarray], Epochs]:
    """Config, weights and ranges after the best epoch, and what was seen, of a trial that is trained once more.

    Raises:
        StudyError: the trial has no config.
        TrainingError: the loss became NaN or infinite.
    """
    record = study.trained(record)
    if record.config is None:
        raise StudyError(f"trial {record.number} of `{study.name}` has no config yet")
    observer = Observer(engine, record.config, engine.task.training)
    seed = derived_seed(study.provenance.seed, record.sequence, "training")
    outcome = engine.train(record.config, seed, report=report, callbacks=[observer])
    return record.config, outcome.state, observer.epochs
