"""Fine-tune configs of a study: train them for longer and judge them on the test split."""

import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mpsearch.config import Alpha, Config
from mpsearch.errors import StudyError
from mpsearch.observing import Observer, observed_file
from mpsearch.ranking import FINETUNED
from mpsearch.records import TrialRecord, config_to_tune
from mpsearch.runners.weights import load_weights, save_weights, weights_file
from mpsearch.searching.engine import Engine
from mpsearch.searching.samplers import derived_seed
from mpsearch.study import Study
from mpsearch.training import Report, logging_callbacks


@dataclass(frozen=True)
class FineTuned:
    """A fine-tuned config.

    Attributes:
        trial: number of the trial whose config it is.
        config: its specs, after a change of scale mode where one was asked for.
        before: validation metric before fine-tuning, with the trial's weights where they were kept.
        validation, test: metric of the best epoch on the validation split, and on the test split.
        score: validation metric × Forgiving Factor.
        total_bits: its cost.
        delta: the Forgiving Factor's δ, a fraction.
        epochs, best_epoch: trained, and the one kept (from 0); -1 where none was better than before.
        seconds: wall time.
        folder: with `weights.npz`, `epochs.csv`, `result.json` and TensorBoard's files.
        changed_alpha: the scale mode that replaced `auto`, if any.
        further: the task's further metrics on the test split, by name.
    """

    trial: int
    config: Config
    before: float
    validation: float
    test: float
    score: float
    total_bits: int
    delta: float
    epochs: int
    best_epoch: int
    seconds: float
    folder: Path
    changed_alpha: Alpha | None = None
    further: dict[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        return (
            f"<fine-tuned trial {self.trial}: validation {self.validation:.4f} (before {self.before:.4f}), "
            f"test {self.test:.4f}, {self.total_bits:,} bits, score {self.score:.4f}>"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        changed = None if self.changed_alpha is None else self.changed_alpha.value
        return {**vars(self), "config": self.config.to_json(), "folder": str(self.folder), "changed_alpha": changed}


def finetune(
    study: Study, engine: Engine, record: TrialRecord, changed_alpha: Alpha | None = None, report: Report | None = None
) -> FineTuned:
    """Train one trial's config by the fine-tuning recipe and keep its best epoch.

    It goes on from the trial's weights where they were kept, else from the float weights; where no epoch is better
    than these, they are kept. A trial that was answered from an earlier one is that one here. An earlier fine-tuning
    is replaced when the new one is complete.

    Args:
        study: that the trial is of.
        engine: of the study's space; made with `extra_alphas` where `changed_alpha` isn't on the menus.
        record: the trial.
        changed_alpha: scale mode to use wherever the config has `auto`.
        report: called after each epoch.

    Raises:
        StudyError: the trial has no config, or the data no test split.
        ConfigError: the scale mode can't be changed so.
        TrainingError: the loss became NaN or infinite.
    """
    if engine.data.test is None:
        raise StudyError("fine-tuned models are judged on a test split, but the data has none")
    record = study.trained(record)
    config = config_to_tune(record, changed_alpha)
    folder = finetuning_folder(study, record.number, changed_alpha)
    partial = folder.with_name(f"partial-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        result = _finetune(study, engine, record, config, changed_alpha, report, folder, partial)
        _replace_folder(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    study.keep(f"{FINETUNED} {folder.name}", result.to_json())
    return result


def _finetune(
    study: Study,
    engine: Engine,
    record: TrialRecord,
    config: Config,
    changed_alpha: Alpha | None,
    report: Report | None,
    folder: Path,
    partial: Path,
) -> FineTuned:
    """Fine-tune into the folder `partial`, which shall become `folder`."""
    started = time.perf_counter()
    trained, weights = weights_of(study, record), partial / "weights.npz"
    start = None if trained is None else trained[1]
    name, recipe = f"val_{engine.task.metric}", engine.task.finetune_recipe
    session = engine.session(recipe)
    engine.network.set_config(config)
    if start is not None:
        engine.network.load_state(start)
    before = session.evaluate(engine.data, engine.data.validation, further=False)[engine.task.metric]
    best, best_epoch = before, -1
    save_weights(weights, engine.network.state(), config)

    def checkpoint(epoch: int, logs: dict[str, float]) -> None:
        nonlocal best, best_epoch
        if logs[name] > best:
            best, best_epoch = logs[name], epoch
            save_weights(weights, engine.network.state(), config)
        if report is not None:
            report(epoch, logs)

    logs = logging_callbacks(partial)
    if recipe.observe:
        logs.append(Observer(engine, config, recipe, observed_file(partial)))
    seed = derived_seed(study.provenance.seed, record.sequence, "finetuning")
    try:
        outcome = engine.train(config, seed, recipe, checkpoint, logs, start=start)
    except BaseException:
        for callback in logs:  # Keras leaves the table open where a training is cut off
            if getattr(callback, "csv_file", None) is not None:
                callback.csv_file.close()
        raise
    engine.network.load_state(load_weights(weights, config))
    assert engine.data.test is not None
    test = session.evaluate(engine.data, engine.data.test)
    costs = engine.costs(config)
    result = FineTuned(
        trial=record.number,
        config=config,
        before=before,
        validation=best,
        test=test[engine.task.metric],
        score=engine.score(best, costs),
        total_bits=costs.total_bits,
        delta=engine.delta(costs),
        epochs=len(outcome.history.epochs),
        best_epoch=best_epoch,
        seconds=time.perf_counter() - started,
        folder=folder,
        changed_alpha=changed_alpha,
        further={name: test[name] for name in engine.task.further_metrics},
    )
    (partial / "result.json").write_text(json.dumps(result.to_json(), indent=1))
    return result


def weights_of(study: Study, record: TrialRecord) -> tuple[Config, Sequence[np.ndarray]] | None:
    """Config and weights after a trial's own training, None where they weren't kept."""
    record = study.trained(record)
    path = weights_file(study, record.number)
    if record.config is None or not path.exists():
        return None
    return record.config, load_weights(path, record.config)


def finetuned_of(
    study: Study, record: TrialRecord, changed_alpha: Alpha | None = None
) -> tuple[Config, Sequence[np.ndarray]] | None:
    """Config and weights of a trial's fine-tuning, None where it wasn't fine-tuned.

    Raises:
        StudyError: what is stored is of another config than the trial's.
    """
    record = study.trained(record)
    config, folder = config_to_tune(record, changed_alpha), finetuning_folder(study, record.number, changed_alpha)
    if not (folder / "result.json").exists():
        return None
    stored = Config.from_json(json.loads((folder / "result.json").read_text())["config"])
    if stored != config:
        raise StudyError(
            f"the fine-tuning in {folder} is of another config than trial {record.number} of `{study.name}`: it was "
            "put there from elsewhere, remove it"
        )
    return config, load_weights(folder / "weights.npz", config)


def kept_weights(
    study: Study, record: TrialRecord, changed_alpha: Alpha | None = None
) -> tuple[Config, Sequence[np.ndarray], str]:
    """What a trial is exported with: config, weights, and whether these are "fine-tuned" or the "trial"'s own.

    Raises:
        StudyError: there are none, or what is stored is of another config than the trial's.
    """
    tuned = finetuned_of(study, record, changed_alpha)
    if tuned is not None:
        return *tuned, "fine-tuned"
    own = weights_of(study, record) if changed_alpha is None else None
    if own is None:
        flag, option = ("", "") if changed_alpha is None else (f" --alpha {changed_alpha}", f', "{changed_alpha}"')
        raise StudyError(
            f"no weights of trial {record.number} are kept: run `mpsearch finetune {study.name} --trial "
            f"{record.number}{flag}` first, in Python .finetune({record.number}{option})"
        )
    return *own, "trial"


def finetunings(study: Study, record: TrialRecord) -> list[Alpha | None]:
    """The fine-tunings of a trial whose weights are there, by the scale mode that replaced `auto`."""
    number = study.trained(record).number
    changes = (None, Alpha.AUTO_PO2)
    return [change for change in changes if (finetuning_folder(study, number, change) / "result.json").exists()]


def _replace_folder(new: Path, folder: Path) -> None:
    """Put a complete folder in place of an older one."""
    old = folder.with_name(f"old-{folder.name}")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def finetuning_folder(study: Study, number: int, changed_alpha: Alpha | None) -> Path:
    """Where the fine-tuning of a trial is kept, by the scale mode that replaced `auto`."""
    suffix = "" if changed_alpha is None else f"-{changed_alpha.value}"
    return study.folder / "finetuned" / f"trial-{number}{suffix}"
