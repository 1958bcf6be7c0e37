"""The analysis of a trial: of its weights and what was seen of its training, or of one more training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpsearch.analysis.analysing import SAMPLES, Analysis, analyse
from mpsearch.config import Alpha, Config
from mpsearch.errors import ConfigError, StudyError
from mpsearch.finetuning import finetuning_folder, kept_weights
from mpsearch.observing import Observed, Observer, observed_file, read_observed
from mpsearch.records import TrialRecord, config_to_tune
from mpsearch.searching.engine import Engine
from mpsearch.searching.samplers import derived_seed
from mpsearch.study import Study
from mpsearch.training import Report

Epochs = Sequence[Mapping[str, Observed]]


@dataclass(frozen=True)
class TrialAnalysis:
    """The analysis of a trial.

    Attributes:
        trial: its number.
        weights: of which training: "trial", "fine-tuned" or "trained again".
        config: the specs.
        analysis: of them.
    """

    trial: int
    weights: str
    config: Config
    analysis: Analysis

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        about = {"trial": self.trial, "weights": self.weights, "config": self.config.to_json()}
        return {**about, **self.analysis.to_json()}


def analyse_trial(
    study: Study,
    record: TrialRecord,
    engine: Callable[[], Engine],
    train: bool = False,
    changed_alpha: Alpha | None = None,
    samples: int = SAMPLES,
    report: Report | None = None,
    measured: Callable[[int, int], None] = lambda number, count: None,
) -> TrialAnalysis:
    """Analyse a trial of a study.

    Args:
        study: that the trial is of.
        record: the trial.
        engine: gives the engine of the study's space, made with `analysing.BOTH` as extra scale modes; called once it
            is known that there are weights.
        train: train the trial's config again, as the trial was, and watch; else the weights that are kept.
        changed_alpha: of a fine-tuning, the scale mode that replaced `auto`.
        samples: that feature maps and outputs are of.
        report: is told each epoch of a training.
        measured: is told how many of how many sites are done.

    Raises:
        StudyError: no weights are kept, or the trial has no config.
        ConfigError: `train` and `changed_alpha` exclude each other.
        TrainingError: the loss became NaN or infinite.
    """
    if train and changed_alpha is not None:
        raise ConfigError(f"a trial is trained again as it was, without alpha={changed_alpha}: leave one of them out")
    if train:
        config_to_tune(record, None)
        made = engine()
        config, state, epochs = _trained_again(study, made, record, report)
        weights = "trained again"
    else:
        try:
            config, state, weights = kept_weights(study, record, changed_alpha)
        except StudyError as error:
            if changed_alpha is not None:
                raise
            raise StudyError(f"{error}; or train it again as it was: --train, in Python train=True") from error
        epochs = _observed(study, record, weights, changed_alpha)
        made = engine()
    made.network.set_config(config)
    made.network.load_state(state)
    return TrialAnalysis(record.number, weights, config, analyse(made, config, epochs, samples, measured))


def _observed(study: Study, record: TrialRecord, weights: str, changed_alpha: Alpha | None) -> Epochs:
    """What was seen of a training; none where it wasn't watched."""
    number = study.trained(record).number
    own = weights == "trial"
    folder = study.folder if own else finetuning_folder(study, number, changed_alpha)
    file = observed_file(folder, number if own else None)
    return read_observed(file) if file.exists() else []


def _trained_again(
    study: Study, engine: Engine, record: TrialRecord, report: Report | None
) -> tuple[Config, Sequence[np.ndarray], Epochs]:
    """Config, weights and ranges after the best epoch, and what was seen, of a trial that is trained once more."""
    record = study.trained(record)
    config = config_to_tune(record, None)
    observer = Observer(engine, config, engine.task.training)
    seed = derived_seed(study.provenance.seed, record.sequence, "training")
    outcome = engine.train(config, seed, report=report, callbacks=[observer])
    return config, outcome.state, observer.epochs
