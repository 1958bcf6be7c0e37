"""One seeded training loop, for trials, float training and fine-tuning.

A `Session` holds a compiled model whose training step is traced once; `reset` and `fit` can then be called for
any number of trials.
"""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mpsearch.batches import Batches, Ends, augmenter, weigher
from mpsearch.data import Data, Samples
from mpsearch.distillation import SoftLoss, soft_loss
from mpsearch.errors import ConfigError, TrainingError
from mpsearch.metrics import OWN, metric_of
from mpsearch.network.assign import bulk_assign
from mpsearch.seeds import seed_generators
from mpsearch.task import Distillation, Loss, Task, Training

Report = Callable[[int, dict[str, float]], None]
"""Called after each epoch with its number and its logs; may raise to stop the training."""


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

    Sessions of one model share its weights, and nothing else.

    Args:
        model: a built model.
        optimizer: name of a Keras optimizer.
        loss: of a Keras loss its name, or an object or function; a mapping by outputs' names where there are several.
        metric: name of a Keras metric, or "OUTPUT/metric"; logged under that name.
        state: variables that `History.best_state` keeps; default: the model's weights.
        ends: names of inputs and outputs that data, losses and metrics refer to; default: the model's.
        distillation: train on the class scores of `teacher` as well.
        teacher: a model of the same inputs and outputs.

    Raises:
        ConfigError: no such loss or output.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: str,
        loss: Loss | Mapping[str, Loss],
        metric: str,
        state: Sequence[Any] | None = None,
        ends: Ends | None = None,
        distillation: Distillation | None = None,
        teacher: keras.Model | None = None,
    ) -> None:
        self.metric = metric
        self.distillation = distillation
        self._ends = ends or Ends.of(model)
        self._state = list(model.weights if state is None else state)
        soft = None if distillation is None else soft_loss(distillation, teacher)
        self.model = Trainee(model, self._ends.outputs, soft)
        measured, name = _measured(metric, self._ends.outputs)
        metrics = [[metric_of(name)] if output in measured else [] for output in self._ends.outputs]
        losses = _losses(loss, self._ends.outputs)
        several = len(losses) > 1
        self._measured = [f"{output}_{name}" if several else name for output in measured]  # Keras's names
        self.model.compile(
            keras.optimizers.get(optimizer),
            losses if several else losses[0],
            metrics=metrics if several else metrics[0],
            jit_compile=_jit(),
        )
        self.model.optimizer.build(self.model.trainable_variables)
        variables = [v for v in self.model.optimizer.variables if v is not self.model.optimizer._learning_rate]
        self._assign = bulk_assign(variables)
        self._initial = [keras.ops.copy(v) for v in variables]

    def reset(self, learning_rate: float, seed: int) -> None:
        """Reset the optimizer to its first state, and seed everything random in training."""
        self._assign(self._initial)
        self.model.optimizer.learning_rate = learning_rate
        for generator in seed_generators(self.model):
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
            TrainingError: the loss or a weight became NaN or infinite.
        """
        if recipe.distillation != self.distillation:
            raise ConfigError(f"the session has distillation={self.distillation}, but the recipe {recipe.distillation}")
        augment, weigh = augmenter(recipe.augmentation), weigher(recipe.class_weights, data)
        self.reset(recipe.learning_rate_at(0), seed)
        history = History()
        samples = data.train if recipe.subset is None else data.train.head(recipe.subset)
        train = Batches(data, samples, recipe.batch_size, seed, self._ends, augment, weigh)
        follow = _Follow(self, recipe, train, history, report, keep_best)
        self.model.fit(
            train,
            validation_data=self._batches(data, data.validation),
            epochs=recipe.epochs,
            shuffle=False,  # `Batches` does it; Keras would shuffle them once more, by a global generator
            verbose=0,
            callbacks=[follow, *callbacks],
        )
        return history

    def evaluate(self, data: Data, samples: Samples) -> dict[str, float]:
        """Loss and metric on a split."""
        return self.logs(self.model.evaluate(self._batches(data, samples), verbose=0, return_dict=True))

    def predict(self, data: Data, samples: Samples) -> np.ndarray:
        """The outputs of a model with one output, on a split, shape (n, ...)."""
        batches = self._batches(data, samples)
        outputs = [np.asarray(self.model.predict_on_batch(batches[i][0])) for i in range(batches.num_batches)]
        return np.concatenate(outputs)

    def logs(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Keras's logs as floats, with the metric under its own name."""
        found = {name: float(np.mean(value)) for name, value in values.items()}
        for prefix in ("", "val_"):
            parts = [found[f"{prefix}{name}"] for name in self._measured if f"{prefix}{name}" in found]
            if parts:
                found[f"{prefix}{self.metric}"] = float(np.mean(parts))
        return found

    def _batches(self, data: Data, samples: Samples) -> Batches:
        return Batches(data, samples, EVALUATION_BATCH, ends=self._ends)


@keras.saving.register_keras_serializable("mpsearch")
class Trainee(keras.Model):
    """A model's layers with a loss and an optimizer of their own.

    Args:
        model: whose layers they are.
        outputs: names of its outputs, for losses and metrics.
        soft: takes the place of the loss in training.
    """

    def __init__(self, model: keras.Model, outputs: Sequence[str], soft: SoftLoss | None = None) -> None:
        super().__init__(inputs=_alone(model.inputs), outputs=_alone(model.outputs), name=model.name)
        self.output_names = list(outputs)
        self._soft = soft

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if self._soft is None or not training:
            return loss
        return self._soft(x, y_pred, loss, sum(self.losses), sample_weight)


def _alone(tensors: list[Any]) -> Any:
    return tensors[0] if len(tensors) == 1 else tensors


def check_task(task: Task, model: keras.Model, data: Data) -> None:
    """Refuse losses, metrics, optimizers, class weights and distillations that no training could use.

    Args:
        task: whose recipes are looked at.
        model: of the task.
        data: of the task.

    Raises:
        ConfigError: one of them isn't known, or doesn't fit the model or data.
    """
    ends = Ends.of(model)
    _losses(task.loss, ends.outputs)
    _check_metric(_measured(task.metric, ends.outputs)[1])
    for recipe in (task.training, task.float_recipe, task.finetune_recipe):
        _known("optimizer", recipe.optimizer, keras.optimizers)
        augmenter(recipe.augmentation)
        weigh = weigher(recipe.class_weights, data)
        if weigh is not None:
            weigh(ends.arrange_targets(data.train.head(CHECKED_SAMPLES).y))
        if recipe.distillation is not None:
            soft_loss(recipe.distillation, model)


def _losses(loss: Loss | Mapping[str, Loss], outputs: Sequence[str]) -> list[Any]:
    """A loss for each output."""
    if isinstance(loss, Mapping):
        if set(loss) != set(outputs):
            raise ConfigError(f"`loss` names the outputs {sorted(loss)}, but the model has {list(outputs)}")
        return [_checked_loss(loss[name]) for name in outputs]
    return [_checked_loss(loss)] * len(outputs)


def _checked_loss(loss: Loss) -> Loss:
    if not isinstance(loss, str):
        if not callable(loss):
            raise ConfigError(f"`loss` must be a name, an object of keras.losses or a function, but got {loss!r}")
        return loss
    _known("loss", loss, keras.losses)
    return loss


def _check_metric(metric: str) -> None:
    """Refuse what Keras doesn't know, and what doesn't rise from 0 (bad) to 1 (good)."""
    if metric in _RISING or metric in OWN:
        return
    try:
        falls = metric in _FALLING or keras.losses.get(metric) is not None
    except ValueError:
        falls = False
    if falls:
        raise ConfigError(
            f"`metric` must rise from 0 (bad) to 1 (good), but {metric!r} falls as a model gets better: "
            'give for instance "accuracy", "top_k_categorical_accuracy" or "AUC"'
        )
    _known("metric", metric, keras.metrics)


def _known(what: str, name: str, module: Any) -> None:
    """Refuse a name that a module of Keras doesn't know."""
    try:
        module.get(name)
    except (ValueError, TypeError):
        names = {known.lower(): known for known in dir(module) if not known.startswith("_")}
        names |= {known: known for known in _RISING if what == "metric"}
        close = difflib.get_close_matches(name.lower(), names, n=1)
        see = module.__name__.rpartition(".")[2]
        hint = f": did you mean {names[close[0]]!r}?" if close else f", see keras.{see}"
        raise ConfigError(f"there is no Keras {what} {name!r}{hint}") from None


def _measured(metric: str, outputs: Sequence[str]) -> tuple[list[str], str]:
    """Outputs of which a metric is taken, and its Keras name."""
    output, _, name = metric.rpartition("/")
    if output and output not in outputs:
        raise ConfigError(f"`metric` names the output {output!r}, but the model has {list(outputs)}")
    return ([output] if output else list(outputs)), name


EVALUATION_BATCH = 200
_REMEDY = "lower the learning rate or widen the narrowest sites"
CHECKED_SAMPLES = 1024  # of which the classes are looked at before a study is made
_RISING = ("accuracy", "acc", "cosine_similarity", "CosineSimilarity")
_FALLING = ("crossentropy", "ce", "RootMeanSquaredError", "false_positives", "false_negatives", "FalsePositives",
            "FalseNegatives", "mean", "sum", "Mean", "Sum")  # fmt: skip


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
        values = self._session.logs(logs or {})
        loss, after = values.get("loss", math.nan), f"in epoch {epoch + 1}: {_REMEDY}"
        if not math.isfinite(loss):
            raise TrainingError(f"the loss became {loss} {after}")
        broken = [v.path for v in self.model.trainable_variables if not np.all(np.isfinite(_array(v)))]
        if broken:  # the loss needn't show it: a convolution that oneDNN fuses with a ReLU makes zeros of NaN
            raise TrainingError(f"weights of {broken[0]} became NaN or infinite {after}")
        history, name = self._history, f"val_{self._session.metric}"
        history.epochs.append(values)
        if history.best_epoch < 0 or values[name] > history.epochs[history.best_epoch][name]:
            history.best_epoch = epoch
            if self._keep_best:
                history.best_state = [np.array(_array(variable)) for variable in self._session._state]
        if self._report is not None:
            self._report(epoch, values)
        patience = self._recipe.patience
        if patience is not None and epoch - history.best_epoch >= patience:
            self.model.stop_training = True


def _array(variable: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(variable))


def trial_callbacks(recipe: Training, folder: Path) -> list[Any]:
    """The callbacks that a recipe asks for in a trial: TensorBoard's, writing into `folder`."""
    return [keras.callbacks.TensorBoard(str(folder), write_graph=False)] if recipe.tensorboard else []


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
