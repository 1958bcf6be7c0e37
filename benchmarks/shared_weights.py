"""How well configs are ranked before any of them is trained: by sensitivities, and by weights trained for all widths.

    MPSEARCH_DATA=… python benchmarks/shared_weights.py resnet8 --trained studies/search/trained_resnet8.json

The file has a row for each training: the config's `positions` on the menus and the `validation` metric of its best
epoch. Kendall's τ between that metric and, before and after each epoch of a training in which every batch has other
widths (the widest, the narrowest and two random configs in turn: the sandwich rule of J. Yu and T. Huang, *Universally
Slimmable Networks*, ICCV 2019): the sum of the roots of divergences, and the validation metric of each config with the
shared weights. `near` is of the configs that lose less than 4 points.
"""

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
from scipy.stats import kendalltau

NEAR = 0.04  # loss of metric
RATE = 1e-4  # of the shared training


class RandomWidths(keras.callbacks.Callback):  # type: ignore[misc]
    """Gives each batch other widths, and the validation after an epoch the widest."""

    def __init__(self, network: Any, wide: Any, seed: int) -> None:
        super().__init__()
        self._network, self._wide, self._rng, self._batches = network, wide, np.random.default_rng(seed), 0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        space, turn = self._network.space, self._batches % 4
        self._batches += 1
        ends = {0: self._wide, 1: space.uniform(1)}
        self._network.assign_specs(ends.get(turn) or next(space.configs(space.draw(self._rng, 1))))

    def on_test_begin(self, logs: Any = None) -> None:
        self._network.assign_specs(self._wide)


def main() -> None:
    """Measure all of it and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space")
    parser.add_argument("--trained", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    from mpsearch.probing import Prober, wide_positions
    from mpsearch.searching.engine import Engine
    from mpsearch.spacefile import find_space_file, load_space_file

    trained, path = json.loads(args.trained.read_text()), find_space_file(args.space).resolve()
    os.chdir(tempfile.mkdtemp())
    engine = Engine(load_space_file(path))
    space, session = engine.network.space, engine.session(engine.task.training)
    places = np.array([row["positions"] for row in trained])
    metrics = np.array([row["validation"] for row in trained])
    near, configs = engine.float_metric() - metrics < NEAR, list(space.configs(places))
    wide = next(space.configs(wide_positions(space)[None]))

    class Sharing(Prober):
        """Measures with the weights that the network has."""

        @cached_property
        def _reference(self) -> tuple[list[np.ndarray], float]:
            outputs = self._outputs(self._wide)
            return outputs, self._session.loss(self._batches, outputs)

    def taus(guesses: np.ndarray) -> dict[str, float]:
        return {
            "all": float(kendalltau(guesses, metrics).statistic),
            "near": float(kendalltau(guesses[near], metrics[near]).statistic),
        }

    def measured(epoch: int, trained_for: float) -> dict[str, Any]:
        began, prober = time.perf_counter(), Sharing(engine)
        rows = {number: prober.measure(number, {}) for number in prober.order}
        damages = [np.sqrt(np.maximum(rows[number].divergences, 0.0)) for number in sorted(rows)]
        probed = time.perf_counter() - began
        harms = np.array([sum(array[p] for array, p in zip(damages, row, strict=True)) for row in places])
        began, shared = time.perf_counter(), []
        for config in configs:
            engine.network.assign_specs(config)
            shared.append(session.evaluate(engine.data, engine.data.validation, further=False)[engine.task.metric])
        seconds = time.perf_counter() - began
        return {
            "epoch": epoch,
            "seconds of training": trained_for,
            "seconds of probing": probed,
            "sensitivities": taus(-harms),
            "seconds of a config": seconds / len(configs),
            "shared weights": taus(np.array(shared)),
        }

    engine.network.set_config(wide)
    rows, spent = [measured(0, 0.0)], 0.0
    recipe = replace(engine.task.training, epochs=1, learning_rate=RATE)
    for epoch in range(1, args.epochs + 1):
        began = time.perf_counter()
        widths = RandomWidths(engine.network, wide, args.seed + epoch)
        session.fit(engine.data, recipe, args.seed + epoch, callbacks=[widths])
        spent += time.perf_counter() - began
        rows.append(measured(epoch, spent))
    print(json.dumps({"configs": len(metrics), "near": int(near.sum()), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
