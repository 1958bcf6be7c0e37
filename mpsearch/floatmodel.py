"""The float model of a task: its weights from a file, or trained and cached."""

import hashlib
import json
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock
import keras
import numpy as np

from mpsearch.data import Data
from mpsearch.describe import describe
from mpsearch.errors import DataMissingError, ModelError
from mpsearch.folders import cache_folder, data_folders
from mpsearch.network.canonical import canonical, has_batch_norm
from mpsearch.network.graph import functional
from mpsearch.task import FLOAT_SEED, Task
from mpsearch.training import History, Report, Session

Arrays = Sequence[np.ndarray]


def float_model(task: Task, data: Data, beside: Path, report: Report | None = None) -> keras.Model:
    """The task's float model with weights: of its file, of the cache, or trained now.

    Of processes that need it at the same time one trains it, and the others wait for that.

    Args:
        task: names the model and, perhaps, its weights.
        data: the task's data, for training.
        beside: folder of the space file, where a relative weights file is looked up first.
        report: called after each epoch, where the model has to be trained.

    Raises:
        DataMissingError: the weights file doesn't exist.
        ModelError: its arrays fit neither the model nor its folded form.
    """
    if task.weights is not None:
        return with_weights(functional(task.build()), find_weights(task.weights, beside))
    cached = cached_weights(task, data)
    if not cached.exists():
        with _held(cached):
            if not cached.exists():  # nobody has trained it meanwhile
                _train(task, data, report, cached)
    model = functional(task.build())
    model.load_weights(cached)
    return model


def train_float(task: Task, data: Data, report: Report | None = None) -> History:
    """Train the task's float model, BatchNorm included, and keep its best epoch in the cache."""
    cached = cached_weights(task, data)
    with _held(cached):
        return _train(task, data, report, cached)


def _train(task: Task, data: Data, report: Report | None, cached: Path) -> History:
    recipe = task.float_recipe
    model = functional(task.seeded())
    session = Session(model, recipe.optimizer, task.loss, task.metric)
    history = session.fit(data, recipe, FLOAT_SEED, report, keep_best=True)
    for variable, value in zip(model.weights, history.best_state or [], strict=True):
        variable.assign(value)
    _save(model, cached)
    return history


def cached_weights(task: Task, data: Data) -> Path:
    """Where the trained float weights of a task are kept: named by architecture, first weights, data and recipe."""
    recipe = task.float_recipe
    model = functional(task.example)
    identity = {
        "layers": architecture(model),
        "weights": [hashlib.sha256(np.ascontiguousarray(w).data).hexdigest() for w in model.get_weights()],
        "data": data.fingerprint,
        "rates": [recipe.learning_rate_at(epoch) for epoch in range(recipe.epochs)],
        "recipe": describe(replace(recipe, learning_rate=0.0, tensorboard=False, observe=False)),
        "loss": describe(task.loss),
        "metric": task.metric,
    }
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    return cache_folder() / "float" / f"{key}.weights.h5"


def keep_weights(model: keras.Model) -> Path:
    """Keep the weights of a built model in the cache; the file, named by architecture and weights."""
    built = functional(model)
    digest = hashlib.sha256(json.dumps(architecture(built), sort_keys=True).encode())
    for weights in built.get_weights():
        digest.update(np.ascontiguousarray(weights).data)
    target = cache_folder() / "float" / f"given-{digest.hexdigest()[:16]}.weights.h5"
    if not target.exists():
        with _held(target):
            _save(built, target)
    return target


def _save(model: keras.Model, target: Path) -> None:
    """Write weights, whole or not at all."""
    partial = target.with_name(f"partial-{secrets.token_hex(4)}-{target.name}")
    model.save_weights(partial)
    partial.replace(target)


@contextmanager
def _held(target: Path) -> Iterator[None]:
    """Be the only process that makes a file of the cache.

    Where the file system can't lock files, others may make it at the same time; the last one's then stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(target.with_name(f"{target.name}.lock"))
    held: AbstractContextManager[object] = nullcontext()
    try:
        held = lock.acquire(timeout=0)
    except filelock.Timeout:
        _say(f"another process trains the float model ({lock.lock_file}): waiting for its weights")
        held = lock.acquire()
    except OSError as error:
        _say(f"note: can't lock {lock.lock_file} ({error}): other processes may train the float model as well")
    with held:
        for left in target.parent.glob(f"partial-*{target.name}") if lock.is_locked else ():
            left.unlink(missing_ok=True)  # of a process that died
        yield


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def architecture(model: keras.Model) -> Any:
    """Plain data that says what a functional model computes: its layers' options and connections, without names."""
    return _unnamed(json.loads(model.to_json())["config"])


def _unnamed(config: dict[str, Any]) -> dict[str, Any]:
    """The config of a model with layers' numbers in place of their names; nested models alike."""
    numbers = {entry["config"]["name"]: number for number, entry in enumerate(config["layers"])}

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: [numbers[item[0]], *item[1:]] if key == "keras_history" else renamed(item)
                for key, item in value.items()
            }
        return [renamed(item) for item in value] if isinstance(value, list) else value

    def layer(entry: dict[str, Any]) -> dict[str, Any]:
        own = {key: value for key, value in entry["config"].items() if key != "name"}
        if "layers" in own:
            own = _unnamed(own)
        return {**entry, "name": None, "config": own, "inbound_nodes": renamed(entry.get("inbound_nodes", []))}

    def ends(places: Any) -> Any:
        if isinstance(places, list) and places and isinstance(places[0], str):
            return [numbers[places[0]], *places[1:]]
        if isinstance(places, dict):
            return {key: ends(place) for key, place in places.items()}
        return [ends(place) for place in places]

    named = {"name": None, "layers": [layer(entry) for entry in config["layers"]]}
    return {**config, **named, **{key: ends(config[key]) for key in ("input_layers", "output_layers") if key in config}}


def find_weights(weights: str | Path, beside: Path) -> Path:
    """The weights file: absolute, beside the space file, in the data folders or their `models/`.

    Raises:
        DataMissingError: it is in none of them.
    """
    places = [beside, Path(), *(place for folder in data_folders() for place in (folder, folder / "models"))]
    candidates = [Path(weights)] if Path(weights).is_absolute() else [place / weights for place in places]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    looked = ", ".join(str(candidate) for candidate in candidates)
    raise DataMissingError(
        f"there is no weights file `{weights}` (looked for {looked}); set MPSEARCH_DATA to its folder"
    )


def with_weights(model: keras.Model, path: Path) -> keras.Model:
    """`model` with the arrays of a file, or its folded form where the file is of that.

    Layers are matched by name where all names agree, else in order; shapes must agree.

    Raises:
        ModelError: the arrays fit neither form, or the file can't be read.
    """
    by_object = path.name.endswith(".weights.h5")  # Keras 3 names such arrays by the kinds of the layers
    found = {} if by_object else _arrays_of(path)
    reasons = []
    for form in [model, canonical(model)] if has_batch_norm(model) else [model]:
        reason = _load(form, path) if by_object else _assign(form, found)
        if reason is None:
            return form
        reasons.append(f"{'folded' if form is not model else 'as built'}: {reason}")
    raise ModelError(f"the weights in {path.name} don't fit the model `{model.name}` ({'; '.join(reasons)})")


def _load(model: keras.Model, path: Path) -> str | None:
    """Load a `.weights.h5` file; a reason where it doesn't fit.

    Raises:
        ModelError: it isn't such a file.
    """
    import h5py

    sizes: list[int] = []

    def count(name: str, item: Any) -> None:
        if name.startswith("optimizer/"):  # a compiled model's file has its optimizer's variables as well
            return
        if isinstance(item, h5py.Dataset) and "/vars/" in name and "seed_generator" not in name:
            sizes.append(item.size)

    try:
        with h5py.File(path) as file:
            file.visititems(count)
    except OSError as error:
        raise ModelError(f"{path} isn't a Keras weights file: {error}") from error
    if sum(sizes) != model.count_params():  # Keras leaves arrays aside that no layer asks for
        return f"{model.count_params():,} weights, but the file has {sum(sizes):,}"
    try:
        model.load_weights(path)
    except (ValueError, KeyError) as error:
        return str(error).splitlines()[0]
    return None


def _arrays_of(path: Path) -> dict[str, list[np.ndarray]]:
    """Layer name to arrays, in the file's order, of an HDF5 or `.keras` model file."""
    if path.suffix == ".keras":
        return {layer.name: layer.get_weights() for layer in keras.models.load_model(path, compile=False).layers}
    import h5py

    def text(name: Any) -> str:
        return name.decode() if isinstance(name, bytes) else str(name)

    try:
        with h5py.File(path) as file:
            group = file.get("model_weights", file)
            layers = [text(name) for name in group.attrs["layer_names"]]
            return {
                layer: [np.asarray(group[layer][text(name)]) for name in group[layer].attrs["weight_names"]]
                for layer in layers
            }
    except (OSError, KeyError) as error:
        raise ModelError(f"{path} isn't a Keras weights file: {error}") from error


def _assign(model: keras.Model, found: Mapping[str, Arrays]) -> str | None:
    """Assign arrays to a model's layers; a reason where they don't fit, and then nothing is assigned."""
    layers = [layer for layer in model.layers if layer.weights]
    given = {name: arrays for name, arrays in found.items() if len(arrays)}
    if len(layers) != len(given):
        return f"{len(layers)} layers with weights, but the file has {len(given)}"
    by_name = {layer.name for layer in layers} == set(given)
    ordered = list(given.values())
    pairs = [(layer, given[layer.name] if by_name else ordered[i]) for i, layer in enumerate(layers)]
    for layer, arrays in pairs:
        shapes, expected = [tuple(a.shape) for a in arrays], [tuple(w.shape) for w in layer.weights]
        if shapes != expected:
            return f"`{layer.name}` needs shapes {expected}, but the file has {shapes}"
    for layer, arrays in pairs:
        layer.set_weights(arrays)
    return None
