"""Train flat and mixed configs under several rules for scales, and watch: adds its runs to `curves.json`.

    cd FOLDER                                     # where float weights may be trained
    MPSEARCH_DATA=… python …/studies/auto_po2/train.py            # all runs that aren't there yet, hours on 2 cores
    MPSEARCH_DATA=… python …/studies/auto_po2/train.py --only resnet8

Runs of one model and rule share a process; each is trained by the recipe of its space file, with the best epoch judged
on the test split as well.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FILE = HERE / "curves.json"
SPACES = ("resnet8", "mbv1")
WIDTHS = (16, 8, 4)
SMALL = 256
"""Validation images of a small run."""


@dataclass(frozen=True)
class Run:
    """A training: model, rule for scales, width or "mixed", MLPerf Tiny's L2 of 1e-4 or none, seed, factor of the
    learning rate, width of biases, largest pixel.
    """

    model: str
    rule: str
    width: int | str
    l2: bool = True
    seed: int = 0
    rate: float = 1.0
    bias: int = 16
    pixels: int = 1


def plan() -> list[Run]:
    """All runs, the most telling first."""
    main = ("auto", "qkeras, integer = bits", "auto_po2", "qkeras, integer = 0")
    failing, flat = "qkeras, integer = bits", {"width": 16, "bias": 31, "pixels": 255}
    # the failure: widths of the Forgiving Factor's reference, pixels as they come
    found = [Run(model, rule, **flat) for model in SPACES for rule in main]
    found += [Run(m, rule, "mixed", pixels=255) for m in SPACES for rule in ("auto", failing, "auto_po2")]
    # one cause at a time
    causes = ("qkeras without floor", "qkeras from the optimum")
    found += [Run(model, rule, **flat) for model in SPACES for rule in causes]
    found += [Run(model, failing, **{**flat, "bias": 16}) for model in SPACES]
    found += [Run(model, failing, **{**flat, "pixels": 1}) for model in SPACES]
    found += [Run(model, failing, **flat, rate=rate) for model in SPACES for rate in (0.1, 10.0)]
    found += [Run(model, rule, **flat, l2=False) for model in SPACES for rule in (failing, "auto_po2")]
    # what powers of two cost otherwise
    found += [Run(model, rule, width) for model in SPACES for width in WIDTHS for rule in main]
    found += [Run(m, r, w, seed=seed) for m in SPACES for w in WIDTHS for r in ("auto", "auto_po2") for seed in (1, 2)]
    found += [Run(model, rule, width, l2=False) for model in SPACES for width in WIDTHS for rule in main]
    still = ("auto_po2, 10 % hysteresis", "auto_po2, frozen", "auto_po2, twice the scale", "auto_po2, half the scale")
    found += [Run(model, rule, width) for model in SPACES for width in (4, 8) for rule in still]
    return found


def known() -> list[dict[str, Any]]:
    """The runs that were trained."""
    return json.loads(FILE.read_text()) if FILE.exists() else []


def key(run: Run) -> str:
    """By which a run is found again."""
    return json.dumps(asdict(run))


def main() -> None:
    """Train what is missing, a process for each model and rule."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=SPACES, help="of one model")
    parser.add_argument("--small", action="store_true", help="one epoch on few images, printed and not kept")
    parser.add_argument("--group", help="the runs of a process, JSON")
    options = parser.parse_args()
    if options.group:
        train([Run(**run) for run in json.loads(options.group)], options.small)
        return
    done = {json.dumps(row["run"]) for row in known()}
    missing = [run for run in plan() if key(run) not in done and options.only in (None, run.model)]
    while missing:
        first = missing[0]
        # a process ends after a few runs, so that the most telling of the others come next
        group = [run for run in missing if _process(run) == _process(first)][:4]
        missing = [run for run in missing if run not in group]
        print(f"{len(missing)} to come; {first.model}, {first.rule}: {len(group)} runs", flush=True)
        runs = json.dumps([asdict(run) for run in group])
        subprocess.run([sys.executable, __file__, "--group", runs], check=True)


def _process(run: Run) -> tuple[Any, ...]:
    """What runs of one process have in common."""
    return run.model, run.rule, run.l2, run.bias, run.pixels


def train(runs: list[Run], small: bool = False) -> list[dict[str, Any]]:
    """Train runs of one model, rule and regularization; add them to the file, but for small ones."""
    sys.path.insert(0, str(HERE))
    from variants import VARIANTS

    _, _, change = VARIANTS[runs[0].rule]
    if change is not None:
        change()
    found = []
    for run in runs:
        found.append(trained(run, small))
        if not small:
            rows = [*known(), found[-1]]
            partial = FILE.with_suffix(".partial")
            partial.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
            os.replace(partial, FILE)
    return found


def trained(run: Run, small: bool = False) -> dict[str, Any]:
    """One training, as plain data."""
    import numpy as np

    from mpsearch.observing import Observer
    from mpsearch.searching.engine import Engine
    from mpsearch.spacefile import find_space_file, load_space_file

    started = time.perf_counter()
    file = load_space_file(find_space_file(str(HERE.parents[1] / "spaces" / f"{run.model}.py")))
    recipe = replace(file.task.training, epochs=6)
    recipe = replace(recipe, learning_rate=recipe.learning_rate * run.rate)
    if small:
        recipe = replace(recipe, epochs=1, subset=128)
    task = replace(file.task, training=recipe)
    data = data_of(run.model, task.data)
    if small:
        data = replace(data, validation=data.validation.head(SMALL))
    engine = Engine(replace(file, task=task, space=space_of(run, file)), data=data)
    if run.pixels != 1:
        enlarge(engine, float(run.pixels))
    if not run.l2:
        without_l2(engine.network.model)
    config = engine.network.space.nth(0)
    engine.network.set_config(config)
    observer = Observer(engine, config, recipe)
    untrained = engine.session(recipe).evaluate(engine.data, engine.data.validation, further=False)[task.metric]
    before = quality(engine.network, config)
    outcome = engine.train(config, run.seed, recipe, callbacks=[observer])
    after = quality(engine.network, config)
    engine.network.load_state(outcome.state)
    judged = engine.data.validation if small else engine.data.test
    test = engine.session(recipe).evaluate(engine.data, judged, further=False)[task.metric]
    kernels = [site.name for site in engine.network.facts.sites if site.role == "kernel"]
    watched = [
        {
            name: float(np.mean([getattr(epoch[site], name) for site in kernels]))
            for name in ("update", "vanishing", "exploding", "gradient", "zeros", "moves", "returns")
        }
        for epoch in observer.epochs
    ]
    row = {
        "run": asdict(run),
        "curve": [{name: round(value, 5) for name, value in epoch.items()} for epoch in outcome.history.epochs],
        "untrained": untrained,
        "test": test,
        "before": before,
        "after": after,
        "watched": [{name: float(f"{value:.4g}") for name, value in epoch.items()} for epoch in watched],
        "seconds": round(time.perf_counter() - started, 1),
    }
    validation = max(epoch[f"val_{task.metric}"] for epoch in outcome.history.epochs)
    print(
        f"{run}: untrained {untrained:.4f}, validation {validation:.4f}, test {test:.4f}, "
        f"zeros {after['zeros']:.1%}, SNR {after['snr_db']} dB, {row['seconds']} s",
        flush=True,
    )
    return row


_DATA: dict[str, Any] = {}


def data_of(model: str, load: Any) -> Any:
    """A model's data, loaded once in a process."""
    if model not in _DATA:
        _DATA[model] = load()
    return _DATA[model]


def space_of(run: Run, file: Any) -> Any:
    """A space of one config: flat, or widths drawn for each layer as a search would give them."""
    sys.path.insert(0, str(HERE))
    from variants import VARIANTS

    from mpsearch import Space, bits
    from mpsearch.config import Alpha

    alpha, follows, _ = VARIANTS[run.rule]
    maps = Alpha.AUTO if alpha is Alpha.AUTO else Alpha.AUTO_PO2

    def weights(width: int) -> Any:
        return bits(width, alpha=alpha, integer=width if follows else None)

    if run.width != "mixed":
        return Space(
            kernel=weights(int(run.width)), bias=weights(run.bias), activation=bits(int(run.width), alpha=maps)
        ).skip("softmax")
    # as the thesis's searches were set up: kernels auto, whose widths differ; the rule is that of biases
    space = Space(kernel=bits(8, alpha="auto"), bias=weights(run.bias), activation=bits(8, alpha="auto_po2")).skip(
        "softmax"
    )
    rng = random.Random(0)
    for layer in file.task.build().layers:
        if hasattr(layer, "kernel"):
            space.at(layer.name, kernel=bits(rng.choice((4, 8, 16)), alpha="auto"))
    return space


def enlarge(engine: Any, factor: float) -> None:
    """Pixels from 0 to a larger number, and first kernels so many times smaller: the same float network."""
    import keras

    network, prepare = engine.network, engine.data.prepare
    network.set_config(None)
    network.quantizer("input/activation").range.assign(factor * network.quantizer("input/activation").range.numpy())
    first = network.model.get_layer("conv_0").inner.kernel
    first.assign(first.numpy() / factor)
    network._initial = [keras.ops.copy(variable) for variable in network.state_variables]
    engine.data = replace(engine.data, prepare=lambda x: factor * prepare(x))


def without_l2(model: Any) -> None:
    """Take the models' own L2 off the loss."""
    for layer in model.layers:
        for variable in layer.trainable_variables:
            variable.regularizer = None


def quality(network: Any, config: Any) -> dict[str, Any]:
    """Zeros and SNR of all kernels together, for the present weights."""
    import numpy as np

    from mpsearch.analysis.tensors import snr_db
    from mpsearch.network.codes import weight_codes_of, weight_sites

    codes = weight_codes_of(network, config)
    kernels = {site.name for site in network.facts.sites if site.role == "kernel"}
    values = {site: np.asarray(w.of(layer.inner).numpy()) for site, (layer, w) in weight_sites(network).items()}
    whole = np.concatenate([values[site].ravel() for site in kernels])
    coded = np.concatenate([codes[site].values.ravel() for site in kernels])
    biases = np.concatenate([codes[site].codes.ravel() for site in codes if site not in kernels])
    noise = snr_db(whole, coded)
    return {
        "zeros": float(np.mean(coded == 0)),
        "zero_biases": float(np.mean(biases == 0)),
        "snr_db": None if noise is None else round(noise, 1),
    }


if __name__ == "__main__":
    main()
