"""Trained weights of a study's best trials, kept beside it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mpsearch.config import Config
from mpsearch.errors import StudyError
from mpsearch.front import nondominated
from mpsearch.goal import Objective
from mpsearch.ranking import ranked
from mpsearch.records import TrialRecord
from mpsearch.searching.scoring import recorded_name
from mpsearch.study import Study

KEPT = 10  # best trials whose trained weights are kept, besides those on the front
_FINGERPRINT = "config_fingerprint"


def weights_file(study: Study, number: int) -> Path:
    """Where the trained weights and ranges of a trial are kept, while it is among the best or on the front."""
    return weights_path(study.folder, number)


def weights_path(folder: Path, number: int) -> Path:
    """The same, by the study's folder."""
    return folder / f"trial-{number}.npz"


def save_weights(path: Path, state: Sequence[np.ndarray], config: Config) -> None:
    """Write weights and ranges, and which config they are of, whole or not at all.

    Only the process that has the trial does so; what it leaves where it is killed goes by `forget_weights`.

    Raises:
        StudyError: they can't be written, for instance as the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    try:
        np.savez(partial, *state, config_fingerprint=np.array(config.fingerprint))
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StudyError(f"a trial's weights can't be written to {path}: {error.strerror or error}") from error


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


def forget_weights(study: Study) -> None:
    """Remove weights of trials that are neither among the best nor on the front; those of running trials stay."""
    found = [*study.folder.glob("trial-*.npz"), *study.folder.glob("partial-trial-*.npz")]
    running = [weights_file(study, trial.number) for trial in study.running()]
    best = (*study.best(KEPT), *(candidate.record for candidate in ranked(study, KEPT)), *_front(study))
    kept = {*running, *(weights_file(study, record.number) for record in best)}
    kept |= {_partial(path) for path in running}
    for path in found:
        if path not in kept:
            path.unlink(missing_ok=True)


def _front(study: Study) -> list[TrialRecord]:
    """Trials on the front of a study that keeps one, by the costs that their records have."""
    if study.goal.objective is not Objective.PARETO:
        return []
    names = [recorded_name(name) for name in study.goal.costs]
    records = [record for record in study.best(None) if record.metric is not None and {*names} <= {*record.costs}]
    values = np.array([[-(record.metric or 0.0), *(record.costs[name] for name in names)] for record in records])
    return [records[n] for n in nondominated(values)]


def _partial(path: Path) -> Path:
    return path.with_name(f"partial-{path.name}")
