"""Fine-tune configs of a study: train them for longer and judge them on the test split."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mpsearch.config import Alpha, Config
from mpsearch.errors import StudyError
from mpsearch.records import TrialRecord
from mpsearch.runners.inprocess import load_weights, save_weights, weights_file
from mpsearch.search.engine import Engine
from mpsearch.search.samplers import derived_seed
from mpsearch.study import Study
from mpsearch.training import Report, logging_callbacks

NOTE = "finetuned"


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

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        changed = None if self.changed_alpha is None else self.changed_alpha.value
        return {**vars(self), "config": self.config.to_json(), "folder": str(self.folder), "changed_alpha": changed}


def finetune(
    study: Study, engine: Engine, record: TrialRecord, changed_alpha: Alpha | None = None, report: Report | None = None
) -> FineTuned:
    """Train one trial's config by the fine-tuning recipe and keep its best epoch.

    It goes on from the trial's weights where they were kept, else from the float weights; where no epoch is better
    than these, they are kept.

    Args:
        study: that the trial is of.
        engine: of the study's space; made with `extra_alphas` where `changed_alpha` isn't on the menus.
        record: the trial.
        changed_alpha: scale mode to use wherever the config has `auto`.
        report: called after each epoch.

    Raises:
        StudyError: the trial has no config.
        TrainingError: the loss became NaN or infinite.
    """
    if record.config is None:
        raise StudyError(f"trial {record.number} of `{study.name}` has no config ({record.state})")
    config = record.config if changed_alpha is None else record.config.with_alpha(Alpha.AUTO, changed_alpha)
    folder = _folder(study, record.number, changed_alpha)
    started = time.perf_counter()
    stored = weights_file(study, record.number)
    start = load_weights(stored) if stored.exists() else None
    name, recipe = f"val_{engine.task.metric}", engine.task.finetune_recipe
    session = engine.session(recipe)
    engine.network.set_config(config)
    if start is not None:
        engine.network.load_state(start)
    before = session.evaluate(engine.data, engine.data.validation)[engine.task.metric]
    best, best_epoch = before, -1
    save_weights(folder / "weights.npz", engine.network.state())

    def checkpoint(epoch: int, logs: dict[str, float]) -> None:
        nonlocal best, best_epoch
        if logs[name] > best:
            best, best_epoch = logs[name], epoch
            save_weights(folder / "weights.npz", engine.network.state())
        if report is not None:
            report(epoch, logs)

    outcome = engine.train(
        config,
        derived_seed(study.provenance.seed, record.sequence, "finetuning"),
        recipe,
        checkpoint,
        logging_callbacks(folder),
        start=start,
    )
    engine.network.load_state(load_weights(folder / "weights.npz"))
    test = session.evaluate(engine.data, engine.data.test)[engine.task.metric]
    costs = engine.cost(config)
    result = FineTuned(
        trial=record.number,
        config=config,
        before=before,
        validation=best,
        test=test,
        score=engine.score(best, costs),
        total_bits=costs.total_bits,
        delta=engine.delta(costs),
        epochs=len(outcome.history.epochs),
        best_epoch=best_epoch,
        seconds=time.perf_counter() - started,
        folder=folder,
        changed_alpha=changed_alpha,
    )
    (folder / "result.json").write_text(json.dumps(result.to_json(), indent=1))
    study.note(f"{NOTE} {folder.name}", result.to_json())
    return result


def finetuned_of(
    study: Study, number: int, changed_alpha: Alpha | None = None
) -> tuple[Config, Sequence[np.ndarray]] | None:
    """Config and weights of a trial's fine-tuning, None where it wasn't fine-tuned."""
    folder = _folder(study, number, changed_alpha)
    if not (folder / "result.json").exists():
        return None
    data = json.loads((folder / "result.json").read_text())
    return Config.from_json(data["config"]), load_weights(folder / "weights.npz")


def _folder(study: Study, number: int, changed_alpha: Alpha | None) -> Path:
    suffix = "" if changed_alpha is None else f"-{changed_alpha.value}"
    return study.folder / "finetuned" / f"trial-{number}{suffix}"
