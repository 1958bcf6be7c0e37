"""Metrics of mpsearch's own, and which metrics rise as a model gets better.

Those over whole splits judge the files that samples come from by how well these are reconstructed. They are no Keras
metrics: Keras averages over batches.
"""

from collections.abc import Callable
from typing import Any, Literal

import keras
import numpy as np

from mpsearch.data import checked_files
from mpsearch.errors import ConfigError, DataError

_POWER = 10
_MAX_FPR = 0.1

Direction = Literal["rises", "falls"]
"""What a metric does as a model gets better."""


@keras.saving.register_keras_serializable("mpsearch")
class BoundedMeanSquaredError(keras.metrics.MeanSquaredError):
    """1 / (1 + e^10), where e is the mean squared error: 1 for none, 0.5 for an error of 1, next to 0 beyond 2.

    The Forgiving Factor can multiply it, which it can't an error. What is reconstructed should be scaled so that errors
    lie around 1, where the metric tells them apart.

    Args:
        name: of the metric.
        dtype: of its sums.

    Source: Y. Chen, Efficient Mixed-Precision Quantization of Deep Neural Networks for Edge Applications, master's
    thesis, Politecnico di Torino, 2024, where it is the autoencoder's metric.
    """

    def __init__(self, name: str = "bounded_mean_squared_error", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)

    def result(self) -> Any:
        return 1.0 / (1.0 + super().result() ** _POWER)


OWN = {"bounded_mean_squared_error": BoundedMeanSquaredError}
"""Keras metrics by the names by which a task asks for them."""


def metric_of(name: str) -> Any:
    """What Keras is given for a metric's name: one of ours, or the name itself."""
    return OWN[name]() if name in OWN else name


def sample_errors(outputs: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    """The mean squared reconstruction error of each sample, float64: shapes (n, ...) to (n,)."""
    squares = np.square(np.asarray(outputs, np.float64) - inputs)
    return np.asarray(squares.reshape(len(squares), -1).mean(axis=1))


def auc_by_file(errors: np.ndarray, y: np.ndarray) -> float:
    """The chance that an anomalous file has a higher anomaly score than a normal one; 0 to 1, 0.5 for a guess.

    A file's anomaly score is the mean of its samples' errors; equal scores count half.

    Args:
        errors: mean squared reconstruction errors of samples, shape (n,).
        y: number of each sample's file and whether that file is anomalous, shape (n, 2), integers.

    Raises:
        DataError: all files are of one kind, or a file is of both.

    Source: Y. Koizumi et al., DCASE2020 Challenge Task 2, DCASE Workshop 2020, section 3.
    """
    from sklearn.metrics import roc_auc_score

    anomalous, scores = file_scores(errors, y)
    return float(roc_auc_score(anomalous, scores))


def pauc_by_file(errors: np.ndarray, y: np.ndarray) -> float:
    """The area under the ROC curve of files up to a false positive rate of 0.1, scaled: 0.5 for a guess, 1 at best.

    With the area a, it is (1 + (a - 0.005) / (0.1 - 0.005)) / 2, so that 0.47 is the worst. Else as `auc_by_file`.

    Source: as there; D. McClish, Analyzing a portion of the ROC curve, Medical Decision Making 9, 1989.
    """
    from sklearn.metrics import roc_auc_score

    anomalous, scores = file_scores(errors, y)
    return float(roc_auc_score(anomalous, scores, max_fpr=_MAX_FPR))


WHOLE: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "auc_by_file": auc_by_file,
    "pauc_by_file": pauc_by_file,
}
"""Metrics over whole splits of data that `reconstructs`, by name."""


def file_scores(errors: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each file is anomalous, and the mean error of its samples; arguments and errors as in `auc_by_file`."""
    check_both_kinds(y)
    numbers, first, place = np.unique(y[:, 0], return_index=True, return_inverse=True)
    anomalous = y[first, 1]
    mixed = np.flatnonzero(anomalous[place] != y[:, 1])
    if len(mixed):
        raise DataError(f"file {y[mixed[0], 0]} is both normal and anomalous in `y`: a file is one of them")
    sums = np.bincount(place, weights=errors, minlength=len(numbers))
    return anomalous, sums / np.bincount(place, minlength=len(numbers))


def check_both_kinds(y: np.ndarray, part: str = "given", metric: str = "auc_by_file") -> None:
    """Refuse a split without normal or without anomalous files, by which nothing can be told apart.

    Args:
        y: as in `auc_by_file`.
        part: what the split is called.
        metric: that is asked for.

    Raises:
        DataError: it is such a split.
    """
    counts = [len(np.unique(checked_files(y)[y[:, 1] == kind, 0])) for kind in (0, 1)]
    if not all(counts):
        raise DataError(
            f"`{metric}` needs normal and anomalous files, but the {part} split has {counts[0]} normal and {counts[1]} "
            'anomalous ones: search by metric="bounded_mean_squared_error", and let further_metrics judge a test split '
            "that has both"
        )


_RISING = frozenset({
    "Accuracy", "BinaryAccuracy", "CategoricalAccuracy", "SparseCategoricalAccuracy", "TopKCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy", "AUC", "Precision", "Recall", "F1Score", "FBetaScore", "BinaryIoU", "R2Score",
    "CosineSimilarity", "PearsonCorrelation", "ConcordanceCorrelation", "TruePositives", "TrueNegatives",
})  # fmt: skip
_FALLING = frozenset({
    "BinaryCrossentropy", "CategoricalCrossentropy", "SparseCategoricalCrossentropy", "CategoricalHinge", "Hinge",
    "SquaredHinge", "KLDivergence", "LogCoshError", "MeanAbsoluteError", "MeanAbsolutePercentageError",
    "MeanSquaredError", "MeanSquaredLogarithmicError", "Poisson", "RootMeanSquaredError", "FalsePositives",
    "FalseNegatives",
})  # fmt: skip
"""Classes of keras.metrics."""
BY_OUTPUTS: dict[str, Direction] = {"accuracy": "rises", "acc": "rises", "crossentropy": "falls", "ce": "falls"}
"""Names of which Keras makes one metric or another, by the shapes of outputs and targets."""


def direction(metric: str) -> Direction:
    """Whether a metric rises or falls as a model gets better.

    Args:
        metric: a name, of Keras or of mpsearch, perhaps behind an output's: "kind/accuracy".

    Raises:
        ConfigError: it isn't known.
    """
    name = metric.rpartition("/")[2]
    if name in BY_OUTPUTS:
        return BY_OUTPUTS[name]
    kind = "" if name in OWN or name in WHOLE else _kind(name)
    if not kind or kind in _RISING:
        return "rises"
    if kind in _FALLING:
        return "falls"
    raise ConfigError(
        f"whether the metric {metric!r} rises or falls as a model gets better isn't known: give one of Keras's own, "
        f'for instance "AUC" or "mae", or one of mpsearch\'s: {", ".join([*OWN, *WHOLE])}'
    )


def _kind(name: str) -> str:
    """The class of the metric that Keras makes of a name; the name itself where it makes none."""
    try:
        return type(keras.metrics.get(name)).__name__
    except (ValueError, TypeError):
        return name
