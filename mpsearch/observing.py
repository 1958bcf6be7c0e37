"""What a training does to a config's weights, epoch by epoch: updates, gradients, scales that move.

It watches from outside: the training step stays as it is.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mpsearch.batches import Batches, weigher
from mpsearch.config import Config
from mpsearch.errors import StudyError
from mpsearch.network.codes import weight_sites
from mpsearch.quantizers.weights import decode
from mpsearch.searching.engine import Engine
from mpsearch.seeds import seed_generators
from mpsearch.task import Training

VANISHING, EXPLODING = 1e-4, 1e-3
"""An epoch changes a weight by less than the one, or by more than the other: bounds of Y. Chen's thesis, Politecnico di
Torino, 2024."""
LOOKS = 8
"""At scales, in an epoch."""
CHANGE = 0.5
"""Octaves by which a scale must change to be counted."""
KEEP_GRADIENTS = "mpsearch>KeepGradients"


@dataclass(frozen=True)
class Observed:
    """What an epoch did to a kernel or bias.

    Attributes:
        update: mean magnitude of the weights' changes.
        vanishing: share of weights that changed by less than 1e-4.
        exploding: share of weights that changed by more than 1e-3.
        gradient: norm of the loss's gradient after the epoch, on a batch that is the same each time, not augmented.
        zeros: share of codes that are zero after the epoch.
        moves: how often a scale changed by half an octave or more between `LOOKS` looks, mean over its scales.
        returns: how often such a change went back where the last one came from, mean over its scales: oscillation.
    """

    update: float
    vanishing: float
    exploding: float
    gradient: float
    zeros: float
    moves: float
    returns: float


class Observer(keras.callbacks.Callback):
    """Watches a training of an engine.

    Args:
        engine: that trains.
        config: that is trained.
        recipe: by which.
        file: where to keep what was seen, after each epoch; None: nowhere.

    Attributes:
        epochs: for each epoch, site of a kernel or bias to what was seen.
    """

    def __init__(self, engine: Engine, config: Config, recipe: Training, file: Path | None = None) -> None:
        super().__init__()
        self.epochs: list[dict[str, Observed]] = []
        self._engine, self._config, self._file = engine, config, file
        self._sites = {site: found for site, found in weight_sites(engine.network).items() if site in config}
        self._gradients = _Gradients(engine, recipe)
        self._before: dict[str, np.ndarray] = {}
        self._scales: dict[str, list[np.ndarray]] = {}
        self._next = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._before = {site: self._value(site) for site in self._sites}
        self._scales = {site: [] for site in self._sites}
        self._next = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        steps = (self.params or {}).get("steps") or 0
        if batch * LOOKS >= self._next * steps:
            self._next += 1
            if keras.backend.backend() == "jax":  # whose training step keeps the variables to itself
                self.model.jax_state_sync()
            self._look()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        norms = self._gradients.norms()
        found = {}
        for site, before in self._before.items():
            change = np.abs(self._value(site) - before)
            moves, returns = oscillation(self._scales[site])
            codes, _ = self._coded(site)
            found[site] = Observed(
                float(change.mean()),
                float((change < VANISHING).mean()),
                float((change > EXPLODING).mean()),
                norms.get(id(self._variable(site)), 0.0),
                float((codes == 0.0).mean()),
                moves,
                returns,
            )
        self.epochs.append(found)
        if self._file is not None:
            write_observed(self._file, self.epochs)

    def _look(self) -> None:
        """Keep the present scales."""
        for site in self._sites:
            self._scales[site].append(self._coded(site)[1].ravel())

    def _coded(self, site: str) -> tuple[np.ndarray, np.ndarray]:
        """Present codes and scales."""
        layer, weight = self._sites[site]
        quantizer = self._engine.network.quantizer(site)
        spec = decode(keras.ops.convert_to_numpy(quantizer.spec), self._config[site].integer)  # wider in a warm-up
        assert spec is not None
        codes, scale = layer.codes(weight.attribute, spec)
        return np.asarray(codes), np.array(scale)

    def _variable(self, site: str) -> Any:
        layer, weight = self._sites[site]
        return weight.of(layer.inner)

    def _value(self, site: str) -> np.ndarray:
        return np.array(keras.ops.convert_to_numpy(self._variable(site)))


@keras.saving.register_keras_serializable("mpsearch")
class KeepGradients(keras.optimizers.Optimizer):
    """Changes no variable, and keeps its gradient.

    Attributes:
        gradients: of the variables, in the model's order.
    """

    def __init__(self, learning_rate: float = 0.0, **kwargs: Any) -> None:
        super().__init__(learning_rate=learning_rate, **kwargs)

    def build(self, variables: Sequence[Any]) -> None:
        if not self.built:
            super().build(variables)
            self.gradients = [self.add_variable_from_reference(v, "gradient") for v in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        self.assign(self.gradients[self._get_variable_index(variable)], gradient)


class _Gradients:
    """Gradients of the loss on one batch, by a step of an optimizer that keeps them: on every backend alike."""

    def __init__(self, engine: Engine, recipe: Training) -> None:
        self._engine = engine
        self._session = engine.session(replace(recipe, optimizer=KEEP_GRADIENTS))
        data, count = engine.data, recipe.batch_size
        weigh = weigher(recipe.class_weights, data)
        self.batch = Batches(data, data.train.spread(count), count, ends=engine.ends, weigh=weigh)[0]

    def norms(self) -> dict[int, float]:
        """Norm of each trainable variable's gradient, by its id."""
        network, model = self._engine.network, self._session.model
        state, generators = network.state(), seed_generators(model)
        seeds = [np.array(keras.ops.convert_to_numpy(generator.state)) for generator in generators]
        self._session.reset(0.0, 0)
        model.train_on_batch(*self.batch)
        network.load_state(state)  # the step moved ranges, and constraints may have changed weights
        for generator, seed in zip(generators, seeds, strict=True):
            generator.state.assign(seed)
        found = (np.asarray(keras.ops.convert_to_numpy(gradient), np.float64) for gradient in model.optimizer.gradients)
        return {id(v): float(np.linalg.norm(g)) for v, g in zip(model.trainable_variables, found, strict=True)}


def oscillation(scales: Sequence[np.ndarray]) -> tuple[float, float]:
    """How often scales change, and how often they go back.

    A change is one by half an octave or more from where the scale was last counted, so that powers of two and the small
    drift of others are judged alike.

    Args:
        scales: at successive looks, positive, each of shape (scales,).

    Returns:
        Changes, and changes against the direction of the one before; means over scales.
    """
    looks = np.log2(np.stack(scales))
    counted, last = looks[0].copy(), np.zeros(looks.shape[1])
    moves = returns = 0
    for look in looks[1:]:
        change = np.where(np.abs(look - counted) >= CHANGE, np.sign(look - counted), 0.0)
        moves += int(np.count_nonzero(change))
        returns += int(np.count_nonzero((change != 0) & (change == -last)))
        counted, last = np.where(change != 0, look, counted), np.where(change != 0, change, last)
    return moves / looks.shape[1], returns / looks.shape[1]


def observed_file(folder: Path, trial: int | None = None) -> Path:
    """Where is kept what was seen of a trial's training, in its study's folder, or of a fine-tuning, in its own."""
    return folder / "observed.json" if trial is None else folder / "observed" / f"trial-{trial}.json"


def write_observed(file: Path, epochs: Sequence[Mapping[str, Observed]]) -> None:
    """Keep what was seen in a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"partial-{file.name}")
    partial.write_text(json.dumps([{site: asdict(seen) for site, seen in epoch.items()} for epoch in epochs]))
    os.replace(partial, file)


def read_observed(file: Path) -> list[dict[str, Observed]]:
    """What was seen.

    Raises:
        StudyError: the file is damaged.
    """
    try:
        epochs = json.loads(file.read_text())
        return [{site: Observed(**seen) for site, seen in epoch.items()} for epoch in epochs]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise StudyError(f"{file} can't be read, delete it: {error}") from error
