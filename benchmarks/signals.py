"""Which numbers of a training say how good its config is: each config is trained twice, and judged after each epoch.

    MPSEARCH_DATA=… python benchmarks/signals.py benchmarks/autoqkeras_resnet8.py --out signals.json

Configs are those that the sampler auto proposes, so good ones, which are hard to tell apart. A number of one training
is good if it comes again in the other (`again`, a correlation over configs) and goes with the metric on the test split
of the other (`test`: mean of its epochs; `test of best`: at the epoch with the best validation metric), which it can
share no luck with; both directions are averaged. Not a timing: it may run beside other work. `--summarize FILE` makes
the table anew from the trainings in a result.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

Curve = list[dict[str, float]]
SAMPLES = 2000  # of the bootstrap


def trainings(path: Path, count: int, seed: int) -> list[dict[str, Any]]:
    """Configs with the curves of their two trainings."""
    from mpsearch.creation import provenance_of
    from mpsearch.goal import Goal
    from mpsearch.probing import prepare
    from mpsearch.searching.engine import Engine
    from mpsearch.searching.guesses import Tried
    from mpsearch.searching.steadying import curve_of
    from mpsearch.sensitivities import guide_of
    from mpsearch.spacefile import load_space_file
    from mpsearch.study import create_study

    file = load_space_file(path)
    costs = ("autoqkeras_bits",) if path.stem.startswith("autoqkeras") else ("bits",)
    engine = Engine(file, goal=Goal(costs=costs))
    space, metric = engine.network.space, file.task.metric
    made = provenance_of(file, engine.data, space, seed, "auto", "none", goal=Goal(costs=costs))
    study = create_study("signals", made)
    prepare(study, engine)
    guide, tried, rows = guide_of(study, space, engine.scoring), list[Tried](), list[dict[str, Any]]()
    session = engine.session(engine.task.training)
    for number in range(count):
        config = guide.propose(tried, 1000 * seed + number).config
        curves: list[Curve] = []
        for again in range(2):
            curve: Curve = []

            def judged(epoch: int, logs: dict[str, float], curve: Curve = curve) -> None:
                test = session.evaluate(engine.data, engine.data.test, further=False)[metric]
                curve.append({**{name: float(value) for name, value in logs.items()}, "test": float(test)})

            engine.train(config, 1000 * seed + 2 * number + again, report=judged)
            curves.append(curve)
        best = max(entry[f"val_{metric}"] for entry in curves[0])
        tried.append(Tried(space.positions([config])[0], best, curve_of(curves[0], metric)))
        rows.append({"config": config.to_json(), "delta": engine.delta(engine.costs(config)), "trainings": curves})
        print(f"{number + 1}/{count}", file=sys.stderr, flush=True)
    return rows


def numbers_of(curves: list[Curve], metric: str) -> dict[str, np.ndarray]:
    """What could tell configs apart, each (configs,); of one training each."""

    def table(name: str) -> np.ndarray:
        return np.array([[entry[name] for entry in curve] for curve in curves])

    validation, test, rows = table(f"val_{metric}"), table("test"), np.arange(len(curves))
    return {
        "best validation metric": validation.max(axis=1),
        "mean validation metric": validation.mean(axis=1),
        "validation metric, epoch 1": validation[:, 0],
        "mean validation loss": -table("val_loss").mean(axis=1),
        "validation loss, epoch 1": -table("val_loss")[:, 0],
        "mean training metric": table(metric).mean(axis=1),
        "training metric, epoch 1": table(metric)[:, 0],
        "mean training loss": -table("loss").mean(axis=1),
        "training loss, epoch 1": -table("loss")[:, 0],
        "test": test.mean(axis=1),
        "test of best": test[rows, validation.argmax(axis=1)],
    }


def summary(rows: list[dict[str, Any]], metric: str) -> dict[str, dict[str, float]]:
    """For each number its correlations over configs."""
    one, two = (numbers_of([row["trainings"][n] for row in rows], metric) for n in range(2))

    def across(name: str, other: str) -> float:
        return float(np.corrcoef(one[name], two[other])[0, 1] + np.corrcoef(two[name], one[other])[0, 1]) / 2

    return {
        name: {"again": across(name, name), "test": across(name, "test"), "test of best": across(name, "test of best")}
        for name in one
    }


def beyond(rows: list[dict[str, Any]], metric: str, name: str, other: str) -> dict[str, Any]:
    """How much more a number says of the other training's test metric than another one does: a bootstrap of configs."""
    one, two = (numbers_of([row["trainings"][n] for row in rows], metric) for n in range(2))
    rng, differences = np.random.default_rng(0), []
    for _ in range(SAMPLES):
        drawn = rng.integers(0, len(rows), len(rows))

        def across(number: str, drawn: np.ndarray = drawn) -> float:
            pairs = ((one[number], two["test"]), (two[number], one["test"]))
            return sum(float(np.corrcoef(a[drawn], b[drawn])[0, 1]) for a, b in pairs) / 2

        differences.append(across(name) - across(other))
    low, high = np.percentile(differences, [5, 95])
    share = float(np.mean(np.array(differences) > 0))
    return {"of": name, "and": other, "90 % interval": [float(low), float(high)], "more": share, "samples": SAMPLES}


def main() -> None:
    """Train, or read what was trained, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space", type=Path, nargs="?")
    parser.add_argument("--configs", type=int, default=19)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--metric", default="accuracy")
    parser.add_argument("--summarize", type=Path, metavar="FILE")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if not args.space and not args.summarize:
        parser.error("give a SPACE to train, or --summarize FILE")
    if args.summarize:
        rows = json.loads(args.summarize.read_text())["rows"]
    else:
        path, out = args.space.resolve(), args.out and args.out.resolve()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            rows = trainings(path, args.configs, args.seed)
        args.out = out
    found = {
        "configs": len(rows),
        "signals": summary(rows, args.metric),
        "difference": beyond(rows, args.metric, "training metric, epoch 1", "best validation metric"),
        "rows": rows,
    }
    text = json.dumps(found, indent=1)
    if args.out:
        args.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
