"""Metrics of mpsearch's own, for tasks whose usual ones don't rise from 0 (bad) to 1 (good)."""

from typing import Any

import keras

_POWER = 10


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
"""Names by which a task's `metric` asks for them."""


def metric_of(name: str) -> Any:
    """What Keras is given for a metric's name: one of ours, or the name itself."""
    return OWN[name]() if name in OWN else name
