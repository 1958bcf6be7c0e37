"""What a task's loss and metrics are for the outputs of a model, and metrics over whole splits."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from mpsearch.batches import Ends
from mpsearch.data import Data, Samples, checked_files
from mpsearch.errors import ConfigError, TrainingError
from mpsearch.metrics import BY_OUTPUTS, OWN, WHOLE, check_both_kinds, direction, metric_of, sample_errors
from mpsearch.split import Split
from mpsearch.task import Loss, Task

EVALUATION_BATCH = 200
REMEDY = "lower the learning rate or widen the narrowest sites"


@dataclass(frozen=True)
class Measured:
    """Keras metrics of a model.

    Attributes:
        metrics: for each output those taken of it, as Keras is given them.
        logged: a metric's name to the names under which Keras logs it, one for each output.
    """

    metrics: list[list[Any]]
    logged: Mapping[str, list[str]]

    @classmethod
    def of(cls, names: Sequence[str], outputs: Sequence[str]) -> "Measured":
        """Metrics by name; those over whole splits are left out.

        Raises:
            ConfigError: one names an output that the model hasn't.
        """
        metrics: list[list[Any]] = [[] for _ in outputs]
        logged: dict[str, list[str]] = {}
        for metric in names:
            if metric in WHOLE:
                continue
            measured, name = outputs_of(metric, outputs)
            for output in measured:
                metrics[list(outputs).index(output)].append(metric_of(name))
            logged[metric] = [f"{output}_{name}" if len(outputs) > 1 else name for output in measured]
        return cls(metrics, logged)

    def named(self, values: Mapping[str, float]) -> dict[str, float]:
        """Of Keras's logs the metrics under their own names, means over outputs; those of validation with `val_`."""
        found = {}
        for prefix in ("", "val_"):
            for metric, names in self.logged.items():
                parts = [values[f"{prefix}{name}"] for name in names if f"{prefix}{name}" in values]
                if parts:
                    found[f"{prefix}{metric}"] = float(np.mean(parts))
        return found


def outputs_of(metric: str, outputs: Sequence[str]) -> tuple[list[str], str]:
    """Outputs of which a metric is taken, and its Keras name.

    Raises:
        ConfigError: the model hasn't the output that it names.
    """
    output, _, name = metric.rpartition("/")
    if output and output not in outputs:
        raise ConfigError(f"`metric` names the output {output!r}, but the model has {list(outputs)}")
    return ([output] if output else list(outputs)), name


def losses_of(loss: Loss | Mapping[str, Loss], outputs: Sequence[str]) -> list[Any]:
    """A loss for each output.

    Raises:
        ConfigError: no such loss or output.
    """
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
    check_known("loss", loss, keras.losses)
    return loss


def whole_metrics(
    names: Sequence[str], predict: Callable[[Any], Any], data: Data, samples: Samples, ends: Ends
) -> dict[str, float]:
    """Metrics over a whole split, by name.

    Args:
        names: of `metrics.WHOLE`; with none nothing is predicted.
        predict: a batch of arranged inputs to the model's output.
        data: `reconstructs`.
        samples: a split of it.
        ends: of the model.

    Raises:
        ConfigError: the data doesn't reconstruct.
        DataError: the split lacks normal or anomalous files.
        TrainingError: a reconstruction is NaN or infinite.
    """
    if not names:
        return {}
    _check_reconstructs(names[0], data)
    errors, files = [], []
    for batch in samples.batches(EVALUATION_BATCH):
        x = ends.arrange_inputs(data.inputs(batch.x))
        errors.append(sample_errors(predict(x), x))
        files.append(checked_files(batch.y))
    found, y = np.concatenate(errors), np.concatenate(files)
    if not np.isfinite(found).all():
        raise TrainingError(f"reconstructions of the {data.part(samples)} split became NaN or infinite: {REMEDY}")
    check_both_kinds(y, data.part(samples), names[0])
    return {name: WHOLE[name](found, y) for name in names}


def check_metrics(task: Task, model: keras.Model, data: Data) -> None:
    """Refuse metrics that can't be searched by or reported.

    Raises:
        ConfigError: one isn't known, doesn't rise where it has to, or doesn't fit the model or data.
        DataError: a split lacks normal or anomalous files, by which one tells models apart.
    """
    outputs = Ends.of(model).outputs
    _check_searched(task.metric, outputs)
    for metric in task.further_metrics:
        _check_name(outputs_of(metric, outputs)[1])
        direction(metric)
    for metric in (task.metric, *task.further_metrics):
        name = metric.rpartition("/")[2]
        if name not in WHOLE:
            continue
        _check_reconstructs(metric, data)
        if name != metric or len(model.inputs) > 1 or len(outputs) > 1:
            raise ConfigError(f"{name!r} needs a model of one input and one output, and no output's name before it")
        for samples in (data.validation if metric == task.metric else None, data.test):
            if samples is not None:
                check_both_kinds(_files(samples), data.part(samples), metric)


def check_reconstruction(task: Task, model: keras.Model, data: Data) -> None:
    """Refuse a model or recipe that can't reconstruct its inputs, where the data asks for that.

    Raises:
        ConfigError: outputs have another shape than inputs, or a recipe distils class scores.
    """
    if not data.reconstructs:
        return
    shapes = [[tuple(tensor.shape[1:]) for tensor in tensors] for tensors in (model.inputs, model.outputs)]
    if shapes[0] != shapes[1]:
        raise ConfigError(f"the data `reconstructs`, but the model makes outputs {shapes[1]} of inputs {shapes[0]}")
    if any(r.distillation is not None for r in (task.training, task.float_recipe, task.finetune_recipe)):
        raise ConfigError("`distillation` needs class scores, but the data `reconstructs`: leave it out")


def _files(samples: Samples) -> np.ndarray:
    if isinstance(samples, Split):
        return checked_files(samples.y)
    return np.concatenate([checked_files(batch.y) for batch in samples.batches(EVALUATION_BATCH)])


def _check_reconstructs(metric: str, data: Data) -> None:
    if not data.reconstructs:
        raise ConfigError(
            f"{metric!r} judges reconstructions of files, but the data doesn't say that its targets are the inputs: "
            "give Data(…, reconstructs=True)"
        )


def _check_searched(metric: str, outputs: Sequence[str]) -> None:
    """Refuse what Keras doesn't know, and what doesn't rise from 0 (bad) to 1 (good)."""
    name = outputs_of(metric, outputs)[1]
    _check_name(name)
    try:
        rises = direction(name) == "rises"
    except ConfigError:
        rises = not hasattr(keras.metrics, type(keras.metrics.get(name)).__name__)  # one of the user's own may
    if not rises:
        raise ConfigError(
            f"`metric` must rise from 0 (bad) to 1 (good), but {name!r} falls as a model gets better, or does neither: "
            'give for instance "accuracy", "top_k_categorical_accuracy" or "AUC"'
        )


def _check_name(metric: str) -> None:
    if metric not in (*OWN, *WHOLE, *BY_OUTPUTS):
        check_known("metric", metric, keras.metrics)


def check_known(what: str, name: str, module: Any) -> None:
    """Refuse a name that a module of Keras doesn't know.

    Raises:
        ConfigError: it is such a name.
    """
    try:
        module.get(name)
    except (ValueError, TypeError):
        names = {known.lower(): known for known in dir(module) if not known.startswith("_")}
        names |= {known: known for known in (*OWN, *WHOLE, *BY_OUTPUTS) if what == "metric"}
        close = difflib.get_close_matches(name.lower(), names, n=1)
        see = module.__name__.rpartition(".")[2]
        hint = f": did you mean {names[close[0]]!r}?" if close else f", see keras.{see}"
        raise ConfigError(f"there is no Keras {what} {name!r}{hint}") from None
