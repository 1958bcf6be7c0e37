"""Samplers against each other at the same number of epochs, on one space, by score and by what winners are worth.

    python benchmarks/samplers.py digits --samplers auto auto:none tpe random nsga2 --epochs 60 --out samplers.json

A sampler is written with its pruner, `auto:none`; alone it has its usual one. `auto@sensitivities` is the sampler
without that part, see `PARTS`; `auto+ladder` is the sampler after configs of another origin, see `STARTS`. For each
seed all samplers run, one after the other, on one engine, so with the same float weights and data, and learn nothing
of each other. A run ends with the trial in which its epochs are spent. Its winner, the first of `study best`, is
trained again with other seeds, and judged on the test split, which no search sees. `curve` has the best score after so
many epochs; `hypervolume` is that of the metric and the costs of the objective. Not a timing, but for `seconds`: it may
run beside other work.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest import mock

import numpy as np

DRAWS = 1000  # configs that a proposal is picked from, without selection


class Spent:
    """Counts epochs, and remembers the best score after each trial."""

    def __init__(self) -> None:
        self.epochs, self.best = 0, 0.0
        self.curve: list[tuple[int, float]] = []

    def trial_started(self, number: int, config: Any) -> None: ...

    def epoch_ended(self, number: int, epoch: int, logs: dict[str, float]) -> None:
        self.epochs += 1

    def trial_ended(self, record: Any) -> None:
        if record.state.value == "complete":
            self.best = max(self.best, record.score)
        self.curve.append((self.epochs, self.best))


def _alike(patch: Any, study: Any, engine: Any) -> None:
    """Every choice is believed to be as sensitive as the others with as many widths, whatever its role."""
    from mpsearch.sensitivities import keep, kept

    rows = list(kept(study).values())
    means = {
        length: np.mean([row.divergences for row in rows if len(row.specs) == length], axis=0)
        for length in {len(row.specs) for row in rows}
    }
    for row in rows:
        keep(study, replace(row, divergences=tuple(map(float, means[len(row.specs)])), role="activation"))


def _unsteadied(patch: Any, study: Any, engine: Any) -> None:
    """Trainings teach their best validation metrics, and nothing where they were stopped."""
    patch("mpsearch.searching.guided.steadied", lambda tried: [t.metric for t in tried])


def _deaf(patch: Any, study: Any, engine: Any) -> None:
    """Proposals come from sensitivities alone."""
    choices = len(engine.network.space.choices)
    patch("mpsearch.searching.guided.learnt", lambda tried: (np.zeros((0, choices), dtype=np.int64), []))


def _anywhere(patch: Any, study: Any, engine: Any) -> None:
    """The climb to what is believed to be best starts at random configs, not at exact selections for budgets."""
    space = engine.network.space

    def ladder(self: Any, cost: Any, count: int, costs: Any = (), most: Any = ()) -> list[np.ndarray]:
        return list(space.draw(np.random.default_rng(count), count))

    patch("mpsearch.searching.selection.Selector.ladder", ladder)


def _unselected(patch: Any, study: Any, engine: Any) -> None:
    """Proposals are the best by what is believed of `DRAWS` random configs, not of all."""
    space = engine.network.space

    def drawn(self: Any, starts: Any, value: Any, taken: Any) -> np.ndarray:
        found = space.draw(np.random.default_rng(len(taken)), DRAWS)
        free = np.array([row for row in found if tuple(row.tolist()) not in taken])
        return free[int(np.argmax(value(free)))]

    patch("mpsearch.searching.guided.Guide._climbed", drawn)


def _shy(patch: Any, study: Any, engine: Any) -> None:
    """Proposals go by the mean of what is believed, with no draws."""
    patch("mpsearch.searching.guided.BOLDNESS", 0.0)


PARTS = {
    "sensitivities": _alike,
    "steadying": _unsteadied,
    "learning": _deaf,
    "starts": _anywhere,
    "selection": _unselected,
    "draws": _shy,
}


def _uniform(study: Any, engine: Any) -> list[Any]:
    """The uniform configs: one for each width of the menus."""
    from mpsearch.creation import uniform_config

    space = engine.network.space
    widths = sorted({width for choice in space.choices for width in choice.menu.widths})
    return list({config.fingerprint: config for config in (uniform_config(space, width) for width in widths)}.values())


def _ladder(study: Any, engine: Any) -> list[Any]:
    """Selections of the least harm by the sensitivities, for four budgets from the narrowest to the widest config."""
    from mpsearch.searching.selection import Selector
    from mpsearch.searching.surrogate import Surrogate
    from mpsearch.sensitivities import known

    space, scoring = engine.network.space, engine.scoring
    rows, prior = known(study, space)
    losses = Surrogate([row.damages for row in rows], prior, np.zeros((0, len(rows)), dtype=np.int64), []).mean().losses
    picked = Selector(space, losses).ladder(scoring.models[scoring.goal.costs[0]], 4)
    return list(space.configs(np.array(picked)))


STARTS = {"uniform": _uniform, "ladder": _ladder}


def searched(engine: Any, sampler: str, seed: int, epochs: int, finals: int) -> dict[str, Any]:
    """One run: what it found, and what that is worth."""
    from mpsearch.creation import provenance_of
    from mpsearch.front import front_of
    from mpsearch.methods import usual_pruner
    from mpsearch.probing import probe
    from mpsearch.ranking import ranked
    from mpsearch.runners.inprocess import run
    from mpsearch.searching.scoring import reference_config
    from mpsearch.study import create_study

    began, space, scoring = time.perf_counter(), engine.network.space, engine.scoring
    name, _, start = sampler.partition("+")
    name, _, without = name.partition("@")
    name, _, pruner = name.partition(":")
    pruner = pruner or usual_pruner(name, False)
    made = provenance_of(engine.file, engine.data, space, seed, name, pruner, goal=scoring.goal)
    study, spent = create_study(sampler.translate({ord(c): "-" for c in ":@+"}) + f"-{seed}", made), Spent()
    if name == "auto":
        probe(study, engine)
    for config in STARTS[start](study, engine) if start else []:
        study.enqueue(space, config, start)
    with ExitStack() as stack:
        if without:
            PARTS[without](lambda place, value: stack.enter_context(mock.patch(place, value)), study, engine)
        while spent.epochs < epochs:
            run(study, engine, study.finished + 1, spent)
        winner = ranked(study, 1)[0].record
    seconds = time.perf_counter() - began
    delta, session, metric = winner.delta, engine.session(engine.task.training), engine.task.metric
    tested = []
    for again in range(finals):
        engine.network.load_state(engine.train(winner.config, 10_000 + 100 * seed + again).state)
        tested.append(session.evaluate(engine.data, engine.data.test)[metric] * (1 + delta))
    complete, costs = study.best(None), [scoring.models[cost] for cost in scoring.goal.costs]
    values = np.array([[cost(record.config) for cost in costs] for record in complete])
    reference = [cost(reference_config(space.facts, scoring.cost.reference)) for cost in costs]
    front = front_of([record.metric for record in complete], values, reference)
    return {
        "sampler": sampler,
        "seed": seed,
        "trials": study.finished,
        "complete": len(complete),
        "epochs": spent.epochs,
        "seconds": seconds,
        "best": spent.best,
        "hypervolume": front.hypervolume,
        "winner": winner.score,
        "tested": tested,
        "curve": spent.curve,
    }


def main() -> None:
    """Run all of them and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space")
    parser.add_argument("--samplers", nargs="+", default=["auto", "auto:none", "tpe", "random", "nsga2"])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--finals", type=int, default=3)
    parser.add_argument("--known", type=Path, nargs="+", default=[], help="earlier results, whose runs are kept")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    from mpsearch.searching.engine import Engine
    from mpsearch.spacefile import find_space_file, load_space_file

    path, out = find_space_file(args.space), args.out and args.out.resolve()
    engine, runs = Engine(load_space_file(path.resolve())), list[dict[str, Any]]()
    result = {"space": path.name, "epochs": args.epochs, "runs": runs}
    for earlier in [json.loads(file.read_text()) for file in args.known]:
        if (earlier["space"], earlier["epochs"]) != (path.name, args.epochs):
            parser.error(f"--known has runs of {earlier['space']} with {earlier['epochs']} epochs")
        runs += [run for run in earlier["runs"] if run["sampler"] not in args.samplers or run["seed"] not in args.seeds]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for seed in args.seeds:
            for sampler in args.samplers:
                runs.append(searched(engine, sampler, seed, args.epochs, args.finals))
                shown = {key: value for key, value in runs[-1].items() if key != "curve"}
                print(json.dumps({**shown, "tested": fmean(shown["tested"])}), file=sys.stderr, flush=True)
                if out:
                    out.write_text(json.dumps(result, indent=1))
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
