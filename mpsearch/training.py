"""One seeded training loop, for trials, float training and fine-tuning.

A `Session` holds a compiled model whose training step is traced once; `reset` and `fit` can then be called for
any number of trials.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mpsearch.batches import Batches, Ends, Feed, augmenter, weigher
from mpsearch.data import Data, Samples
from mpsearch.distillation import SoftLoss, soft_loss
from mpsearch.errors import ConfigError, TrainingError
from mpsearch.measuring import (
    EVALUATION_BATCH,
    REMEDY,
    Measured,
    check_known,
    check_metrics,
    check_reconstruction,
    losses_of,
    whole_metrics,
)
from mpsearch.metrics import WHOLE
from mpsearch.network.assign import bulk_assign
from mpsearch.network.graph import alone
from mpsearch.network.tails import Tail
from mpsearch.seeds import seed_generators
from mpsearch.task import Distillation, Loss, Task, Training

Report = Callable[[int, dict[str, float]], None]
"""Called after each epoch with its number and its logs; may raise to stop the training."""


@dataclass
class History:
    """What a training did.

    Attributes:
        epochs: logs of each epoch: `loss`, the metric's name, and both with `val_`; a metric over whole splits is
            there with `val_` alone.
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
        metric: name of a Keras metric, or "OUTPUT/metric", or one of `metrics.WHOLE`; logged under that name.
        state: variables that `History.best_state` keeps; default: the model's weights.
        ends: names of inputs and outputs that data, losses and metrics refer to; default: the model's.
        distillation: train on the class scores of `teacher` as well.
        teacher: a model of the same inputs and outputs.
        further: names of metrics that `evaluate` gives as well; training takes no time for them.

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
        further: Sequence[str] = (),
    ) -> None:
        self.metric, self.further = metric, tuple(further)
        self.distillation = distillation
        self._ends = ends or Ends.of(model)
        self._state = list(model.weights if state is None else state)
        soft = None if distillation is None else soft_loss(distillation, teacher)
        self.model = Trainee(model, self._ends.outputs, soft)
        self._losses = losses_of(loss, self._ends.outputs)
        self._measured = self._compile(self.model, [metric], keras.optimizers.get(optimizer))
        self._judge: tuple[Trainee, Measured] | None = None  # measures `further`, once it is asked for
        self.model.optimizer.build(self.model.trainable_variables)
        variables = [v for v in self.model.optimizer.variables if v is not self.model.optimizer._learning_rate]
        self._assign = bulk_assign(variables)
        self._initial = [keras.ops.copy(v) for v in variables]

    def _compile(self, model: "Trainee", metrics: Sequence[str], optimizer: Any) -> Measured:
        """Compile with the losses and Keras metrics by name."""
        measured = Measured.of(metrics, self._ends.outputs)
        several = len(self._losses) > 1
        model.compile(
            optimizer,
            self._losses if several else self._losses[0],
            metrics=measured.metrics if several else measured.metrics[0],
            jit_compile=_jit(),
        )
        return measured

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
        follow = _Follow(self, recipe, data, train, history, report, keep_best)
        self._build_metrics(self.model, data)
        self.model.fit(
            Feed(train),
            validation_data=Feed(self._batches(data, data.validation)),
            epochs=recipe.epochs,
            shuffle=False,  # `Batches` does it; Keras would shuffle them once more, by a global generator
            verbose=0,
            callbacks=[follow, *callbacks],
        )
        return history

    def evaluate(self, data: Data, samples: Samples, further: bool = True) -> dict[str, float]:
        """Loss and metric on a split, and the further metrics where these are wanted."""
        self._build_metrics(self.model, data)
        found = self.logs(self.model.evaluate(Feed(self._batches(data, samples)), verbose=0, return_dict=True))
        wanted = self.further if further else ()
        if any(name not in WHOLE for name in wanted):
            if self._judge is None:
                judge = Trainee(self.model, self._ends.outputs)
                self._judge = judge, self._compile(judge, self.further, "sgd")
            judge, measured = self._judge
            self._build_metrics(judge, data)
            values = judge.evaluate(Feed(self._batches(data, samples)), verbose=0, return_dict=True)
            found |= measured.named(_floats(values))
        return found | self.whole(data, samples, (self.metric, *wanted))

    def whole(self, data: Data, samples: Samples, names: Sequence[str]) -> dict[str, float]:
        """Those of the metrics that are over whole splits, on a split."""
        chosen = [name for name in names if name in WHOLE]
        return whole_metrics(chosen, self.model.predict_on_batch, data, samples, self._ends)

    def predict(self, data: Data, samples: Samples) -> np.ndarray:
        """The outputs of a model with one output, on a split, shape (n, ...)."""
        batches = self._batches(data, samples)
        outputs = [np.asarray(self.model.predict_on_batch(batches[i][0])) for i in range(batches.num_batches)]
        return np.concatenate(outputs)

    def prepared(self, data: Data, samples: Samples) -> list[tuple[Any, Any]]:
        """Model inputs and targets of a split, a batch each, to be used again and again."""
        batches = self._batches(data, samples)
        return [batches[i][:2] for i in range(batches.num_batches)]

    def outputs(self, batches: Sequence[tuple[Any, Any]]) -> list[np.ndarray]:
        """Each output of the model on `prepared` batches, shape (n, ...)."""
        return Tail(0, self.model, [x for x, _ in batches]).outputs()

    def loss(self, batches: Sequence[tuple[Any, Any]], outputs: Sequence[np.ndarray]) -> float:
        """The mean loss of `outputs` on these batches, summed over outputs; without regularization."""
        targets = zip(*(keras.tree.flatten(y) for _, y in batches), strict=True)
        losses = (keras.losses.get(loss) for loss in self._losses)
        return sum(
            float(np.mean(_array(loss(np.concatenate(target), output))))
            for loss, target, output in zip(losses, targets, outputs, strict=True)
        )

    @property
    def gives_classes(self) -> tuple[bool, ...]:
        """Of each output, whether its loss is one of class scores."""
        return tuple("categorical" in _loss_name(loss) for loss in self._losses)

    def logs(self, values: Mapping[str, Any]) -> dict[str, float]:
        """Keras's logs as floats, with the metric under its own name."""
        found = _floats(values)
        return found | self._measured.named(found)

    def _build_metrics(self, model: "Trainee", data: Data) -> None:
        """Let a model make its metrics' variables: where its first step makes them, TensorFlow traces that twice."""
        if model.metrics_unbuilt:
            model.build_metrics(self._batches(data, data.validation.head(1))[0][1])

    def _batches(self, data: Data, samples: Samples) -> Batches:
        return Batches(data, samples, _evaluation_batch(len(samples)), ends=self._ends)


def _evaluation_batch(count: int) -> int:
    """Samples a batch, so that all batches of a split have as many where that goes: each other size is traced anew.

    >>> _evaluation_batch(2000), _evaluation_batch(256), _evaluation_batch(1999)
    (200, 128, 200)
    """
    sizes = range(EVALUATION_BATCH, EVALUATION_BATCH // 2, -1)
    return next((size for size in sizes if count % size == 0), EVALUATION_BATCH)


@keras.saving.register_keras_serializable("mpsearch")
class Trainee(keras.Model):
    """A model's layers with a loss and an optimizer of their own.

    Args:
        model: whose layers they are.
        outputs: names of its outputs, for losses and metrics.
        soft: takes the place of the loss in training.
    """

    def __init__(self, model: keras.Model, outputs: Sequence[str], soft: SoftLoss | None = None) -> None:
        super().__init__(inputs=alone(model.inputs), outputs=alone(model.outputs), name=model.name)
        self.output_names = list(outputs)
        self._soft = soft

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if self._soft is None or not training:
            return loss
        return self._soft(x, y_pred, loss, sum(self.losses), sample_weight)

    @property
    def metrics_unbuilt(self) -> bool:
        """Whether the metrics haven't made their variables, and nothing else would be left for the first step to make.

        With several outputs their losses would be: Keras keeps the mean of each.
        """
        return len(self.outputs) == 1 and self._compile_metrics is not None and not self._compile_metrics.built

    def build_metrics(self, y: np.ndarray) -> None:
        """Make the metrics' variables, for targets such as `y`, of any number of samples."""
        self._compile_metrics.build(keras.KerasTensor((None, *y.shape[1:]), y.dtype), self.outputs[0])


def _floats(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(np.mean(value)) for name, value in values.items()}


def check_task(task: Task, model: keras.Model, data: Data) -> None:
    """Refuse losses, metrics, optimizers, class weights and distillations that no training could use.

    Args:
        task: whose recipes are looked at.
        model: of the task.
        data: of the task.

    Raises:
        ConfigError: one of them isn't known, or doesn't fit the model or data.
        DataError: a metric tells files apart that a split hasn't.
    """
    ends = Ends.of(model)
    losses_of(task.loss, ends.outputs)
    check_reconstruction(task, model, data)
    check_metrics(task, model, data)
    for recipe in (task.training, task.float_recipe, task.finetune_recipe):
        check_known("optimizer", recipe.optimizer, keras.optimizers)
        augmenter(recipe.augmentation)
        weigh = weigher(recipe.class_weights, data)
        if weigh is not None:
            weigh(ends.arrange_targets(data.train.head(CHECKED_SAMPLES).y))
        if recipe.distillation is not None:
            soft_loss(recipe.distillation, model)


CHECKED_SAMPLES = 1024  # of which the classes are looked at before a study is made


class _Follow(keras.callbacks.Callback):
    """Orders the samples, sets learning rates, notices broken losses, keeps the best epoch, stops early, reports."""

    def __init__(
        self,
        session: Session,
        recipe: Training,
        data: Data,
        train: Batches,
        history: History,
        report: Report | None,
        keep_best: bool,
    ) -> None:
        super().__init__()
        self._session, self._recipe, self._data, self._train = session, recipe, data, train
        self._history = history
        self._report, self._keep_best = report, keep_best

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.model.optimizer.learning_rate = self._recipe.learning_rate_at(epoch)
        self._train.start(epoch)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        values = self._session.logs(logs or {})
        loss, after = values.get("loss", math.nan), f"in epoch {epoch + 1}: {REMEDY}"
        if not math.isfinite(loss):
            raise TrainingError(f"the loss became {loss} {after}")
        broken = [v.path for v in self.model.trainable_variables if not np.all(np.isfinite(_array(v)))]
        if broken:  # the loss needn't show it: a convolution that oneDNN fuses with a ReLU makes zeros of NaN
            raise TrainingError(f"weights of {broken[0]} became NaN or infinite {after}")
        history, metric = self._history, self._session.metric
        name = f"val_{metric}"
        if metric in WHOLE:
            values[name] = self._session.whole(self._data, self._data.validation, [metric])[metric]
            if logs is not None:
                logs[name] = values[name]  # for the callbacks that follow
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


def _loss_name(loss: Any) -> str:
    found = keras.losses.get(loss)
    return str(getattr(found, "__name__", type(found).__name__)).lower()


def _jit() -> bool | str:
    """Compile under JAX; never let TensorFlow use XLA, which is five times slower on a CPU."""
    return False if keras.backend.backend() == "tensorflow" else "auto"
