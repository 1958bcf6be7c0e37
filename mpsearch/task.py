"""Task: the model, the data, the recipes and the metric of one search. Light: Keras comes when it is needed."""

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mpsearch.config import MAX_BITS, MIN_BITS
from mpsearch.data import Data
from mpsearch.describe import ADDED
from mpsearch.errors import ConfigError, ModelError

if TYPE_CHECKING:
    import keras

FLOAT_SEED = 0  # of all randomness in training a float model
LearningRate = float | Callable[[int], float]
Loss = Any  # a name, an object of keras.losses, or a function of (targets, outputs)


@dataclass(frozen=True)
class Distillation:
    """Training on the float model's class scores beside the targets.

    The loss becomes (1 - weight) · loss + weight · T² · KL(p_T ‖ q_T), with the float model's and the quantized
    model's class probabilities p and q at temperature T: softmax of the logits divided by T.

    Attributes:
        temperature: T; higher ones show more of how the float model ranks the wrong classes.
        weight: of the float model's scores, above 0 and at most 1.

    Source: G. Hinton, O. Vinyals, J. Dean, *Distilling the Knowledge in a Neural Network*, arXiv:1503.02531,
    section 2.
    """

    temperature: float = 4.0
    weight: float = 0.5

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ConfigError(f"`temperature` must be positive, but got {self.temperature!r}")
        if not 0 < self.weight <= 1:
            raise ConfigError(f"`0 < weight <= 1` must hold, but got {self.weight!r}")


@dataclass(frozen=True)
class Training:
    """A training recipe.

    Attributes:
        epochs: at most so many passes over the training split.
        batch_size: samples a step.
        optimizer: name of a Keras optimizer, for instance "adam".
        learning_rate: a number, or a function from the epoch's number (from 0) to one, such as those of
            `mpsearch.schedules`.
        patience: stop after so many epochs without a better validation metric; None never stops early.
        class_weights: class index to the weight of its samples in the loss; "balanced" weighs each class by
            samples / (classes · samples of the class). The metric stays unweighted.
        augmentation: changes training batches: a function (x, rng) of the model inputs and a NumPy generator, which
            depends on the seed, the epoch and the batch alone; or a Keras preprocessing layer, or several in a
            sequence, seeded in the same way.
        distillation: train on the float model's class scores as well.
        warmup_epochs: in so many epochs at the beginning no width is below `warmup_bits`. The metric is always that
            of the config itself.
        warmup_bits: widths in these epochs, at least.
        tensorboard: write TensorBoard's event files of each trial, into `tensorboard/trial-N` of the study's folder.
        observe: keep what each epoch does to kernels and biases, into `observed/trial-N.json` of the study's folder,
            for `mpsearch analyse`; of a fine-tuning into its own folder.
        subset: train on the first so many samples of the training split, which mpsearch's datasets keep balanced;
            None for all. A search may do with a part, and fine-tuning take the whole.
    """

    epochs: int = 3
    batch_size: int = 32
    optimizer: str = "adam"
    learning_rate: LearningRate = 1e-4
    patience: int | None = None
    class_weights: Mapping[int, float] | Literal["balanced"] | None = None
    augmentation: Any = None
    distillation: Distillation | None = None
    warmup_epochs: int = 0
    warmup_bits: int = 16
    tensorboard: bool = False
    subset: int | None = field(default=None, metadata=ADDED)
    observe: bool = field(default=False, metadata=ADDED)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise ConfigError(f"`{name}` must be a positive integer, but got {getattr(self, name)!r}")
        for name, noun in (("patience", "epochs"), ("subset", "samples")):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise ConfigError(f"`{name}` must be a positive number of {noun} or None, but got {value!r}")
        if not isinstance(self.optimizer, str):
            raise ConfigError(f"`optimizer` must be the name of a Keras optimizer, but got {self.optimizer!r}")
        for name in ("tensorboard", "observe"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"`{name}` must be True or False, but got {getattr(self, name)!r}")
        if not callable(self.learning_rate) and not (_is_number(self.learning_rate) and self.learning_rate >= 0):
            raise ConfigError(
                f"`learning_rate` must be a number from 0 up or a function of the epoch, but got {self.learning_rate!r}"
            )
        if any(kind.__name__ == "LearningRateSchedule" for kind in type(self.learning_rate).__mro__):
            raise ConfigError(
                "`learning_rate` is a Keras schedule, which counts steps; here it is a function of the epoch, such as "
                "schedules.exponential(1e-3, 0.99)"
            )
        if type(self.warmup_epochs) is not int or not 0 <= self.warmup_epochs < self.epochs:
            raise ConfigError(
                f"`0 <= warmup_epochs < epochs` must hold, but got (warmup_epochs={self.warmup_epochs}, "
                f"epochs={self.epochs})"
            )
        if not MIN_BITS <= self.warmup_bits <= MAX_BITS:
            raise ConfigError(f"`warmup_bits` must be {MIN_BITS} to {MAX_BITS}, but got {self.warmup_bits!r}")
        self._check_class_weights()
        if self.distillation is not None and not isinstance(self.distillation, Distillation):
            raise ConfigError(f"`distillation` must be a Distillation(…) or None, but got {self.distillation!r}")

    def _check_class_weights(self) -> None:
        weights = self.class_weights
        if weights is None or weights == "balanced":
            return
        if not (isinstance(weights, Mapping) and weights) or not all(
            type(key) is int and key >= 0 and _is_number(value) and value > 0 for key, value in weights.items()
        ):
            raise ConfigError(
                f'`class_weights` must map class indices to positive weights, or be "balanced", but got {weights!r}'
            )

    def learning_rate_at(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0."""
        rate = self.learning_rate(epoch) if callable(self.learning_rate) else self.learning_rate
        return float(rate)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


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
            and 10 × the epochs, on all samples, without distillation and warm-up, which need a quantized network.
        finetuning: recipe for fine-tuning a chosen config; default: the trial's with 10 × the epochs,
            stopping early, on all samples, without warm-up.
        loss: name of a Keras loss, an object of `keras.losses`, or a function of (targets, outputs); for a model
            with several outputs one for all, or a mapping from the outputs' names.
        metric: name of a Keras metric with values from 0 (bad) to 1 (good), or "bounded_mean_squared_error",
            1 / (1 + e^10), for what is reconstructed. With several outputs it is the mean of
            theirs; "NAME/accuracy" is that of one output. Where the data `reconstructs` and its validation split has
            files of both kinds, "auc_by_file" or "pauc_by_file" as well.
        further_metrics: names of metrics that are reported beside it, but not searched by; they may fall as a model
            gets better, such as "mae", and have any values.
    """

    model: Callable[[], "keras.Model"]
    data: Callable[[], Data]
    weights: str | Path | None = None
    training: Training = field(default_factory=Training)
    float_training: Training | None = None
    finetuning: Training | None = None
    loss: Loss | Mapping[str, Loss] = "sparse_categorical_crossentropy"
    metric: str = "accuracy"
    further_metrics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        further = self.further_metrics
        if not isinstance(further, tuple) or not all(isinstance(name, str) for name in further):
            raise ConfigError(f"`further_metrics` must be a tuple of names of metrics, but got {further!r}")
        if len({self.metric, *further}) != 1 + len(further):
            raise ConfigError(
                f"`further_metrics` must be different from each other and from `metric`, but got {further} beside "
                f"{self.metric!r}"
            )
        recipe = self.float_training
        if recipe is not None and (recipe.distillation is not None or recipe.warmup_epochs):
            raise ConfigError(
                "`float_training` can't have distillation or warm-up: they train a quantized network, the float model "
                "has neither a teacher nor widths"
            )

    def build(self) -> "keras.Model":
        """A new float model, under layer names that don't depend on what was built before.

        Keras numbers the names of unnamed layers through a whole process (`dense`, `dense_1`, …); here each model is
        numbered from the start, so that the sites of a study are found again.

        Raises:
            ModelError: `model` gives no keras.Model, or one of mixed precision.
        """
        import keras

        with _fresh_names():
            model = self.model()
        if not isinstance(model, keras.Model):
            raise ModelError(
                f"`Task.model` must be a function that returns a keras.Model, but it returned {type(model).__name__}"
            )
        for policy in (keras.config.dtype_policy(), *(layer.dtype_policy for layer in model.layers)):
            if str(policy.compute_dtype) in ("float16", "bfloat16", "float64"):
                raise ModelError(
                    f"the model `{model.name}` computes in {policy.compute_dtype} (policy `{policy.name}`), but "
                    "quantizers need float32: float16 holds 11 bits of a code and bfloat16 8, so wider codes would "
                    'be wrong; use keras.config.set_dtype_policy("float32")'
                )
        return model

    def seeded(self) -> "keras.Model":
        """A new float model with the weights from which its float training starts."""
        import keras

        states = random.getstate(), np.random.get_state()
        keras.utils.set_random_seed(FLOAT_SEED)
        try:
            return self.build()
        finally:  # who calls from a notebook has random numbers of their own
            random.setstate(states[0])
            np.random.set_state(states[1])

    @cached_property
    def example(self) -> "keras.Model":
        """The `seeded` model, only to be looked at: built once, since a large one takes seconds."""
        return self.seeded()

    def __getstate__(self) -> dict[str, Any]:
        """What a copy in another process has; the example isn't part of it."""
        return {name: value for name, value in self.__dict__.items() if name != "example"}

    @property
    def float_recipe(self) -> Training:
        """The recipe of `mpsearch train`."""
        return self.float_training or replace(
            self.training,
            epochs=10 * self.training.epochs,
            learning_rate=1e-3,
            patience=10,
            distillation=None,
            warmup_epochs=0,
            subset=None,
        )

    @property
    def finetune_recipe(self) -> Training:
        """The recipe of `mpsearch finetune`."""
        return self.finetuning or replace(
            self.training, epochs=10 * self.training.epochs, patience=10, warmup_epochs=0, subset=None
        )


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
