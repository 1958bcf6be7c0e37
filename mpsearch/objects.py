"""Python objects in the place of a space file: a model, its data and a space, as a task and a file."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from mpsearch.costs.bits import ReferenceBits
from mpsearch.data import Data, Split
from mpsearch.describe import describe
from mpsearch.errors import ConfigError
from mpsearch.floatmodel import architecture, keep_weights
from mpsearch.network.graph import functional
from mpsearch.objective import ForgivingFactor
from mpsearch.space import Space
from mpsearch.spacefile import PYTHON_OBJECTS, SpaceFile
from mpsearch.task import Loss, Task, Training


@dataclass(frozen=True)
class _Given:
    """Makes copies of a model that was given.

    Attributes:
        model: whose layers and weights they have.
    """

    model: keras.Model

    def __call__(self) -> keras.Model:
        copy = keras.models.clone_model(self.model)
        copy.set_weights(self.model.get_weights())
        return copy


def task_of(
    model: keras.Model | Callable[[], keras.Model],
    data: Data | tuple[Any, ...],
    training: Training | None,
    float_training: Training | None,
    finetuning: Training | None,
    loss: Loss,
    metric: str,
    further_metrics: tuple[str, ...],
    weights: str | Path | None,
) -> Task:
    """The task of a model and data as `search` takes them.

    Raises:
        ConfigError: the data is neither a `Data` nor a tuple of arrays, or the model can't be copied.
    """
    loaded = _data(data)
    make: Callable[[], keras.Model] = model
    if isinstance(model, keras.Model):
        functional(model)  # refuses what can't be copied
        make = _Given(model)
        if weights is None and float_training is None:
            weights = keep_weights(model)
    return Task(
        model=make,
        data=lambda: loaded,
        weights=weights,
        training=training or Training(),
        float_training=float_training,
        finetuning=finetuning,
        loss=loss,
        metric=metric,
        further_metrics=further_metrics,
    )


def _data(data: Data | tuple[Any, ...]) -> Data:
    if isinstance(data, Data):
        return data
    if not isinstance(data, tuple) or len(data) not in (4, 6):
        size = f" of {len(data)}" if isinstance(data, tuple) else ""
        raise ConfigError(
            "`data` must be a Data, or (x_train, y_train, x_validation, y_validation[, x_test, y_test]), but got "
            f"{type(data).__name__}{size}"
        )
    splits = [Split(*data[i : i + 2]) for i in range(0, len(data), 2)]
    return Data(splits[0], splits[1], splits[2] if len(splits) == 3 else None)


def file_of(
    task: Task,
    space: Space,
    model: keras.Model | Callable[[], keras.Model],
    forgiving: ForgivingFactor,
    reference: ReferenceBits,
) -> SpaceFile:
    """What stands for a space file: its text says what the objects are, as far as that can be told."""
    described = {
        "model": _digest(json.dumps(architecture(functional(model)), sort_keys=True).encode())
        if isinstance(model, keras.Model)
        else describe(model),
        "weights": None if task.weights is None else Path(task.weights).name,
        "prepare": describe(task.data().prepare),
        "training": describe(task.training),
        "float_training": describe(task.float_training),
        "finetuning": describe(task.finetuning),
        "loss": describe(task.loss),
        "metric": task.metric,
        **({"further_metrics": list(task.further_metrics)} if task.further_metrics else {}),
        "space": describe(space),
        "forgiving": describe(forgiving),
        "reference": describe(reference),
    }
    text = json.dumps(described, indent=1, sort_keys=True, default=str)
    return SpaceFile(PYTHON_OBJECTS, text, task, space, forgiving, reference)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
