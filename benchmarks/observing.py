"""What watching a training costs: epochs with `Training(observe=True)` against epochs without, in one process.

    python benchmarks/observing.py --space resnet8            # needs MPSEARCH_DATA
    python benchmarks/observing.py --space mbv2 --subset 500

One epoch of a trial, validation included, with and without in turn; the first two are left out, since they trace. What
is watched once before an epoch and once after it takes as long in a short epoch as in a long one. Prints the median of
the ratios as JSON.
"""

import argparse
import json
import os
import statistics
import time
from dataclasses import replace

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from mpsearch.config import Config
from mpsearch.observing import Observer
from mpsearch.searching.engine import Engine
from mpsearch.spacefile import find_space_file, load_space_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", default="resnet8")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--subset", type=int, default=None, help="training samples; default: the recipe's")
    args = parser.parse_args()
    engine = Engine(load_space_file(find_space_file(args.space)))
    recipe = replace(engine.task.training, epochs=1)
    recipe = replace(recipe, subset=args.subset or recipe.subset)
    config = engine.network.space.uniform(8)
    pairs = [
        (seconds(engine, config, recipe, False), seconds(engine, config, recipe, True)) for _ in range(args.rounds)
    ]
    ratios = [watched / alone for alone, watched in pairs[1:]]
    result = {
        "space": args.space,
        "samples": recipe.subset or len(engine.data.train),
        "epoch_seconds": round(statistics.median(alone for alone, _ in pairs[1:]), 2),
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }
    print(json.dumps(result, indent=1))


def seconds(engine: Engine, config: Config, recipe: object, watched: bool) -> float:
    """Seconds of an epoch."""
    started = time.perf_counter()
    callbacks = [Observer(engine, config, recipe)] if watched else []
    engine.train(config, 0, recipe, callbacks=callbacks)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
