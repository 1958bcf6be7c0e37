"""What a report shows that needs the network: how the best config decides on the test split, and its tensors' noise."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from mpsearch.analysis.trials import analyse_trial
from mpsearch.records import TrialRecord
from mpsearch.report.gathering import EVALUATED
from mpsearch.searching.engine import Engine
from mpsearch.study import Study

BATCH = 64
MOST_CLASSES = 100
"""Of a confusion matrix that can still be read."""


def evaluate(
    study: Study,
    record: TrialRecord,
    engine: Callable[[], Engine],
    measured: Callable[[int, int], None] = lambda number, count: None,
) -> dict[str, Any]:
    """Evaluate a trial's kept weights, and keep what is found with the study for its reports.

    Args:
        study: that the trial is of.
        record: the trial.
        engine: gives the engine, made with `analysing.BOTH` as extra scale modes; called once it is known that there
            are weights.
        measured: is told how many of how many sites are done.

    Returns:
        `weights`: "fine-tuned" or the "trial"'s; `split` that decisions are of; `confusion`: (classes, classes) counts,
        rows are the true classes, None where the model doesn't choose one of up to 100; `sites`: SNR, zeros and
        clipping of each tensor; `remarks`.

    Raises:
        StudyError: no weights are kept.
    """
    made: list[Engine] = []

    def once() -> Engine:
        made.append(engine())
        return made[0]

    found = analyse_trial(study, record, once, measured=measured)
    data = found.to_json()
    split, confusion = confusion_of(made[0])
    kept = {
        "trial": record.number,
        "weights": found.weights,
        "split": split,
        "confusion": confusion,
        "sites": [
            {
                "site": row["site"],
                "role": row["role"],
                "spec": row["spec"],
                "zeros": row["figures"]["zeros"],
                "clipped": row["figures"]["clipped"],
                "snr_db": row["figures"]["snr_db"],
            }
            for row in data["sites"]
        ],
        "remarks": data["remarks"],
        "conditions": study.provenance.conditions,
    }
    study.keep(f"{EVALUATED} {record.number}", kept)
    return kept


def confusion_of(engine: Engine) -> tuple[str, list[list[int]] | None]:
    """The split that is judged on, test where there is one, and how often which class was taken for which.

    None where targets aren't classes of a single output.
    """
    data = engine.data
    part = "validation" if data.test is None else "test"
    samples = data.validation if data.test is None else data.test
    counts: np.ndarray | None = None
    if data.reconstructs:
        return part, None
    for batch in samples.batches(BATCH):
        targets = keras.tree.flatten(batch.y)
        given = engine.ends.arrange_inputs(data.inputs(batch.x))
        outputs = keras.tree.flatten(engine.network.model.predict_on_batch(given))
        if len(targets) != 1 or len(outputs) != 1:
            return part, None
        scores, wanted = np.asarray(outputs[0]), np.asarray(targets[0])
        found = classes(scores, wanted)
        if found is None:
            return part, None
        true, taken, number = found
        if counts is None:
            counts = np.zeros((number, number), np.int64)
        np.add.at(counts, (true, taken), 1)
    return part, None if counts is None else counts.tolist()


def classes(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, int] | None:
    """True classes, those that were decided for, and how many there are; None where these aren't decisions.

    Args:
        scores: of a model, (n, classes); or (n, 1), of which those above 0.5 say class 1.
        targets: class numbers, (n,) or (n, 1), or one-hot, (n, classes).

    >>> classes(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
    (array([1, 1]), array([1, 0]), 2)
    """
    if scores.ndim != 2 or not 1 <= scores.shape[1] <= MOST_CLASSES:
        return None
    number = max(scores.shape[1], 2)
    taken = (scores[:, 0] > 0.5).astype(np.int64) if scores.shape[1] == 1 else scores.argmax(axis=1)
    if targets.ndim == 2 and targets.shape[1] == scores.shape[1] > 1:
        true = targets.argmax(axis=1)
    elif targets.size == len(scores):
        true = targets.reshape(-1)
        if not np.array_equal(true, np.round(true)) or true.min() < 0 or true.max() >= number:
            return None
        true = true.astype(np.int64)
    else:
        return None
    return true, taken, number
