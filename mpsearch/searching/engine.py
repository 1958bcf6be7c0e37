"""The engine of a process: everything that trials share, built and traced once."""

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import keras
import numpy as np

from mpsearch.batches import Ends
from mpsearch.config import MAX_BITS, Alpha, Config, QuantizerSpec
from mpsearch.data import Data
from mpsearch.errors import ConfigError, TrainingError
from mpsearch.floatmodel import float_model
from mpsearch.goal import Goal
from mpsearch.network.calibration import CALIBRATION_SAMPLES
from mpsearch.network.elastic import ElasticNetwork
from mpsearch.searching.scoring import Costs, Scoring
from mpsearch.spacefile import SpaceFile
from mpsearch.task import Distillation, Task, Training
from mpsearch.training import History, Report, Session

_ROUNDING = 1e-6  # of a metric, which is a sum in float32


@dataclass(frozen=True)
class Outcome:
    """What training a config gave.

    Attributes:
        metric: best validation metric of its epochs.
        history: logs of each epoch.
        seconds: wall time.
        state: weights and ranges after the best epoch.
    """

    metric: float
    history: History
    seconds: float
    state: Sequence[np.ndarray]


class Engine:
    """Trains configs of one task on one elastic network.

    Args:
        file: the space file.
        report: called after each epoch, where the float model has to be trained first.
        extra_alphas: scale modes that sites can take besides those of their menus.
        data: the task's, where it is loaded already.
        goal: what is looked for, by which configs are scored; default: the score over bits.

    Attributes:
        task, data: of the space file.
        ends: names of the model's inputs and outputs.
        network: the elastic network, with float weights.
        scoring: what its configs cost and score.
        cost: the bit cost of its configs, without the goal's other costs.
    """

    def __init__(
        self,
        file: SpaceFile,
        report: Report | None = None,
        extra_alphas: Sequence[Alpha] = (),
        data: Data | None = None,
        goal: Goal | None = None,
    ) -> None:
        self.file = file
        self.task: Task = file.task
        self.data: Data = file.task.data() if data is None else data
        model = float_model(file.task, self.data, file.path.parent, report)
        self.ends = Ends.of(file.task.example)  # a folded network calls its outputs otherwise
        samples = self.samples(CALIBRATION_SAMPLES)
        self.network = ElasticNetwork(model, file.space, samples, self.data.nonnegative_inputs, extra_alphas)
        self.scoring = Scoring.of(file, self.network.facts, goal)
        self.cost = self.scoring.cost
        self._sessions: dict[tuple[str, Distillation | None], Session] = {}

    def samples(self, count: int) -> Any:
        """Model inputs for calibration: so many samples, evenly spaced in the training split."""
        return self.ends.arrange_inputs(self.data.inputs(self.data.train.spread(count).x))

    def session(self, recipe: Training | str) -> Session:
        """The compiled network for a recipe, or for an optimizer's name; compiled and traced once.

        Recipes share a session where optimizer and distillation are the same: all else are numbers to it.
        """
        if isinstance(recipe, str):
            recipe = replace(self.task.training, optimizer=recipe)
        key = (recipe.optimizer, recipe.distillation)
        if key not in self._sessions:
            self._sessions[key] = Session(
                self.network.model,
                recipe.optimizer,
                self.task.loss,
                self.task.metric,
                self.network.state_variables,
                self.ends,
                recipe.distillation,
                self.network.float_model,
                self.task.further_metrics,
            )
        return self._sessions[key]

    def costs(self, config: Config) -> Costs:
        """What a config costs."""
        return self.scoring.costs(config)

    def score(self, metric: float, costs: Costs) -> float:
        """The score of a metric at a cost."""
        return self.scoring.score(metric, costs)

    def delta(self, costs: Costs) -> float:
        """The Forgiving Factor's δ of a cost, a fraction."""
        return self.scoring.delta(costs)

    def train(
        self,
        config: Config,
        seed: int,
        recipe: Training | None = None,
        report: Report | None = None,
        callbacks: Sequence[Any] = (),
        start: Sequence[np.ndarray] | None = None,
    ) -> Outcome:
        """Train one config from the float weights.

        Args:
            config: the specs of all quantized sites.
            seed: of shuffling and dropout.
            recipe: default: a trial's.
            report: called after each epoch; may raise to stop.
            callbacks: further Keras callbacks.
            start: weights and ranges to start from in place of the float weights.

        Raises:
            TrainingError: the loss became NaN or infinite, or the metric of an epoch isn't between 0 and 1.
        """
        started = time.perf_counter()
        recipe = recipe or self.task.training
        self.network.set_config(config)
        if start is not None:
            self.network.load_state(start)
        session = self.session(recipe)
        if recipe.warmup_epochs:
            callbacks = [WarmUp(self.network, config, recipe), *callbacks]
        name = f"val_{self.task.metric}"

        def checked(epoch: int, logs: dict[str, float]) -> None:
            if not _is_bounded(logs[name]):
                raise TrainingError(self._out_of_bounds(logs[name], f"epoch {epoch + 1}"))
            if epoch < recipe.warmup_epochs and self.task.metric in logs:  # of wider widths than the config's
                logs = {f"warmup_{key}" if key == self.task.metric else key: value for key, value in logs.items()}
            if report is not None:
                report(epoch, logs)

        history = session.fit(self.data, recipe, seed, checked, keep_best=True, callbacks=callbacks)
        metric = history.best(name)
        assert history.best_state is not None
        return Outcome(metric, history, time.perf_counter() - started, history.best_state)

    def float_metric(self) -> float:
        """Validation metric of the float network.

        Raises:
            ConfigError: it isn't between 0 and 1, so that no score can be made of it.
        """
        self.network.set_config(None)
        session = self.session(self.task.training)
        found = session.evaluate(self.data, self.data.validation, further=False)[self.task.metric]
        if not _is_bounded(found):
            raise ConfigError(self._out_of_bounds(found, "the float model"))
        return found

    def _out_of_bounds(self, value: float, where: str) -> str:
        return (
            f"`metric` must lie between 0 (bad) and 1 (good), but {self.task.metric!r} of {where} is {value:g}: no "
            "score can be made of it, take another metric"
        )


def _is_bounded(metric: float) -> bool:
    """Whether a metric lies between 0 and 1, but for rounding."""
    return -_ROUNDING <= metric <= 1.0 + _ROUNDING


class WarmUp(keras.callbacks.Callback):
    """Widens a config in the first epochs of a training; validation is always by the config itself.

    Args:
        network: with the config set.
        config: the specs.
        recipe: says how many epochs, and how wide.
    """

    def __init__(self, network: ElasticNetwork, config: Config, recipe: Training) -> None:
        super().__init__()
        self._network, self._config, self._epochs = network, config, recipe.warmup_epochs
        self._wide = Config({site: self._widened(spec, recipe.warmup_bits) for site, spec in config.items()})

    @staticmethod
    def _widened(spec: QuantizerSpec, bits: int) -> QuantizerSpec:
        # an aligned bias must fit the unit of wider products
        return replace(spec, bits=MAX_BITS if spec.alpha is Alpha.ALIGNED else max(spec.bits, bits))

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._network.assign_specs(self._wide if epoch < self._epochs else self._config)

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        self._network.assign_specs(self._config)


def backend_versions() -> dict[str, str]:
    """Versions of what training depends on."""
    packages = ["keras", "tensorflow", "qkeras-v3", "optuna", "numpy"]
    found = {"python": platform.python_version(), "keras backend": str(keras.backend.backend())}
    if keras.backend.backend() == "jax":
        packages.append("jax")
    return found | {name: version(name) for name in packages}
