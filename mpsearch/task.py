"""Task: the model, the data, the recipes and the metric of one search. Light: Keras comes when it is needed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mpsearch.data import Data
from mpsearch.errors import ConfigError, ModelError

if TYPE_CHECKING:
    import keras

LearningRate = float | Callable[[int], float]


@dataclass(frozen=True)
class Training:
    """A training recipe.

    Attributes:
        epochs: at most so many passes over the training split.
        batch_size: samples a step.
        optimizer: name of a Keras optimizer, for instance "adam".
        learning_rate: a number, or a function from the epoch's number (from 0) to one.
        patience: stop after so many epochs without a better validation metric; None never stops early.
    """

    epochs: int = 3
    batch_size: int = 32
    optimizer: str = "adam"
    learning_rate: LearningRate = 1e-4
    patience: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1:
                raise ConfigError(f"`{name}` must be a positive integer, but got {getattr(self, name)!r}")
        if self.patience is not None and self.patience < 1:
            raise ConfigError(f"`patience` must be a positive number of epochs or None, but got {self.patience!r}")

    def learning_rate_at(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0."""
        rate = self.learning_rate(epoch) if callable(self.learning_rate) else self.learning_rate
        return float(rate)


@dataclass(frozen=True)
class Task:
    """What is searched for.

    Attributes:
        model: makes the float Keras model, built and with a softmax or linear output as the loss expects.
        data: loads the splits.
        weights: file of float weights (`.h5`, `.keras`, `.weights.h5`), of the model or of its folded form;
            a relative path is looked up beside the space file and in `MPSEARCH_DATA`. None: `mpsearch train`
            trains them.
        training: a trial's recipe.
        float_training: recipe for training the float model; default: the trial's with learning rate 1e-3
            and 10 × the epochs.
        finetuning: recipe for fine-tuning a chosen config; default: the trial's with 10 × the epochs,
            stopping early.
        loss: name of a Keras loss.
        metric: name of a Keras metric with values from 0 (bad) to 1 (good).
    """

    model: Callable[[], "keras.Model"]
    data: Callable[[], Data]
    weights: str | Path | None = None
    training: Training = field(default_factory=Training)
    float_training: Training | None = None
    finetuning: Training | None = None
    loss: str = "sparse_categorical_crossentropy"
    metric: str = "accuracy"

    def build(self) -> "keras.Model":
        """A new float model, under layer names that don't depend on what was built before.

        Keras numbers the names of unnamed layers through a whole process (`dense`, `dense_1`, …); here each model is
        numbered from the start, so that the sites of a study are found again.

        Raises:
            ModelError: `model` gives no keras.Model.
        """
        import keras

        with _fresh_names():
            model = self.model()
        if not isinstance(model, keras.Model):
            raise ModelError(
                f"`Task.model` must be a function that returns a keras.Model, but it returned {type(model).__name__}"
            )
        return model

    @property
    def float_recipe(self) -> Training:
        """The recipe of `mpsearch train`."""
        return self.float_training or replace(
            self.training, epochs=10 * self.training.epochs, learning_rate=1e-3, patience=10
        )

    @property
    def finetune_recipe(self) -> Training:
        """The recipe of `mpsearch finetune`."""
        return self.finetuning or replace(self.training, epochs=10 * self.training.epochs, patience=10)


@contextmanager
def _fresh_names() -> Iterator[None]:
    """Let Keras number unnamed layers from the start; afterwards its counters are past all names given."""
    from keras.src.backend.common import global_state
    from keras.src.utils.naming import reset_uids

    key = "object_name_uids"  # Keras has no public way: `clear_session` would reset much more
    before = dict(global_state.get_global_attribute(key) or {})
    reset_uids()
    try:
        yield
    finally:
        counters = global_state.get_global_attribute(key)
        for name, count in before.items():
            counters[name] = max(count, counters[name])
