"""One seeded training loop, for trials, float training and fine-tuning.

A `Session` holds a compiled model whose training step is traced once; `reset` and `fit` can then be called for
any number of trials.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mpsearch.data import Data, Split
from mpsearch.errors import TrainingError
from mpsearch.network.assign import bulk_assign
from mpsearch.task import Training

Report = Callable[[int, dict[str, float]], None]
"""Called after each epoch with its number and its logs; may raise to stop the training."""


class Batches(keras.utils.PyDataset):
    """Batches of a split, shuffled anew each epoch by (seed, epoch) alone, so that runs repeat.

    Args:
        data: for `prepare`.
        split: the samples.
        batch_size: samples a batch; the last batch may be smaller.
        seed: of the shuffling; None keeps the order.
    """

    def __init__(self, data: Data, split: Split, batch_size: int, seed: int | None = None) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        self._data, self._split, self._batch_size, self._seed = data, split, batch_size, seed
        self.start(0)

    def start(self, epoch: int) -> None:
        """Order the samples for an epoch; `on_epoch_end` won't do, Keras calls it more often on some backends."""
        order = np.arange(len(self._split))
        self._order = order if self._seed is None else np.random.default_rng((self._seed, epoch)).permutation(order)

    @property
    def num_batches(self) -> int:
        return math.ceil(len(self._split) / self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self._order[index * self._batch_size : (index + 1) * self._batch_size]
        return self._data.inputs(self._split.x[chosen]), self._split.y[chosen]


@dataclass
class History:
    """What a training did.

    Attributes:
        epochs: logs of each epoch: `loss`, the metric's name, and both with `val_`.
        best_epoch: number of the epoch with the best validation metric, from 0.
        best_state: the tracked variables after that epoch, where `keep_best` asked for them.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = -1
    best_state: list[np.ndarray] | None = None

    def best(self, name: str) -> float:
        """The value that `name` had in the best epoch."""
        return self.epochs[self.best_epoch][name]


class Session:
    """A compiled model that is trained again and again without being traced again.

    Args:
        model: a built model; compiled here.
        optimizer: name of a Keras optimizer.
        loss: name of a Keras loss.
        metric: name of a Keras metric; logged under that name.
        state: variables that `History.best_state` keeps; default: the model's weights.
    """

    def __init__(
        self, model: keras.Model, optimizer: str, loss: str, metric: str, state: Sequence[Any] | None = None
    ) -> None:
        self.model = model
        self.metric = metric
        self._state = list(model.weights if state is None else state)
        model.compile(keras.optimizers.get(optimizer), loss, metrics=[metric], jit_compile=_jit())
        model.optimizer.build(model.trainable_variables)
        variables = [v for v in model.optimizer.variables if v is not model.optimizer._learning_rate]
        self._assign = bulk_assign(variables)
        self._initial = [keras.ops.copy(v) for v in variables]

    def reset(self, learning_rate: float, seed: int) -> None:
        """Reset the optimizer to its first state, and seed everything random in training."""
        self._assign(self._initial)
        self.model.optimizer.learning_rate = learning_rate
        for layer in self.model._flatten_layers():
            generator = getattr(layer, "seed_generator", None)
            if generator is not None:
                generator.state.assign(np.array([seed % 2**32, 0], dtype=np.uint32))

    def fit(
        self,
        data: Data,
        recipe: Training,
        seed: int,
        report: Report | None = None,
        keep_best: bool = False,
        callbacks: Sequence[Any] = (),
    ) -> History:
        """Train by a recipe from the present weights, with a fresh optimizer.

        Args:
            data: train and validation splits are used.
            recipe: epochs, batch size, learning rate, early stopping. Its optimizer must be the session's.
            seed: of shuffling and dropout.
            report: called after each epoch.
            keep_best: keep the state after the best epoch in the history.
            callbacks: further Keras callbacks.

        Raises:
            TrainingError: the loss became NaN or infinite.
        """
        self.reset(recipe.learning_rate_at(0), seed)
        history = History()
        train = Batches(data, data.train, recipe.batch_size, seed)
        follow = _Follow(self, recipe, train, history, report, keep_best)
        validation = Batches(data, data.validation, EVALUATION_BATCH)
        self.model.fit(
            train,
            validation_data=validation,
            epochs=recipe.epochs,
            shuffle=False,  # `Batches` does it; Keras would shuffle them once more, by a global generator
            verbose=0,
            callbacks=[follow, *callbacks],
        )
        return history

    def evaluate(self, data: Data, split: Split) -> dict[str, float]:
        """Loss and metric on a split."""
        logs = self.model.evaluate(Batches(data, split, EVALUATION_BATCH), verbose=0, return_dict=True)
        return {name: float(value) for name, value in logs.items()}

    def predict(self, data: Data, split: Split) -> np.ndarray:
        """The model's outputs on a split, shape (n, ...)."""
        batches = Batches(data, split, EVALUATION_BATCH)
        outputs = [np.asarray(self.model.predict_on_batch(batches[i][0])) for i in range(batches.num_batches)]
        return np.concatenate(outputs)


EVALUATION_BATCH = 200


class _Follow(keras.callbacks.Callback):
    """Orders the samples, sets learning rates, notices broken losses, keeps the best epoch, stops early, reports."""

    def __init__(
        self,
        session: Session,
        recipe: Training,
        train: Batches,
        history: History,
        report: Report | None,
        keep_best: bool,
    ) -> None:
        super().__init__()
        self._session, self._recipe, self._train, self._history = session, recipe, train, history
        self._report, self._keep_best = report, keep_best

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.model.optimizer.learning_rate = self._recipe.learning_rate_at(epoch)
        self._train.start(epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        values = {name: float(value) for name, value in (logs or {}).items()}
        loss = values.get("loss", math.nan)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss became {loss} in epoch {epoch + 1}: lower the learning rate or widen the narrowest sites"
            )
        history, name = self._history, f"val_{self._session.metric}"
        history.epochs.append(values)
        if history.best_epoch < 0 or values[name] > history.epochs[history.best_epoch][name]:
            history.best_epoch = epoch
            if self._keep_best:
                history.best_state = [np.array(keras.ops.convert_to_numpy(v)) for v in self._session._state]
        if self._report is not None:
            self._report(epoch, values)
        patience = self._recipe.patience
        if patience is not None and epoch - history.best_epoch >= patience:
            self.model.stop_training = True


def logging_callbacks(folder: Path) -> list[Any]:
    """Callbacks that write `epochs.csv` and TensorBoard's event files into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    found = [keras.callbacks.CSVLogger(str(folder / "epochs.csv"))]
    if keras.backend.backend() == "tensorflow":
        found.append(keras.callbacks.TensorBoard(str(folder / "tensorboard"), write_graph=False))
    return found


def _jit() -> bool | str:
    """Compile under JAX; never let TensorFlow use XLA, which is five times slower on a CPU."""
    return False if keras.backend.backend() == "tensorflow" else "auto"
