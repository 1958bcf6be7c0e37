"""How fast the sampler gp is beside Optuna's own: `python benchmarks/gp.py`; prints JSON.

Both fit the same Gaussian process to the same trials and look for the most promising config, alternately in one
process; the first of each, which imports torch, is left out. The study is in memory: storing is not part of it.
"""

import argparse
import json
import statistics
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import optuna

from mpsearch.searching.gp import GPSampler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", type=int, default=184, help="each with three widths")
    parser.add_argument("--finished", type=int, default=100, help="trials of random configs")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    rng, study = np.random.default_rng(0), optuna.create_study(direction="maximize")
    known = {f"p{index}": optuna.distributions.IntDistribution(0, 2) for index in range(options.parameters)}
    weights = rng.normal(size=options.parameters)
    for _ in range(options.finished):
        chosen = dict(zip(known, rng.integers(0, 3, options.parameters).tolist(), strict=True))
        value = float(weights @ list(chosen.values())) / options.parameters**0.5
        study.add_trial(optuna.trial.create_trial(params=chosen, distributions=known, value=value))
    seconds: dict[str, list[float]] = {"mpsearch": [], "optuna": []}
    for seed in range(options.rounds + 1):
        for name, kind in (("mpsearch", GPSampler), ("optuna", optuna.samplers.GPSampler)):
            study.sampler = kind(seed=seed)
            started = time.perf_counter()
            trial = study.ask(known)
            seconds[name].append(time.perf_counter() - started)
            study.tell(trial, state=optuna.trial.TrialState.FAIL)  # nothing is learned of it
    ratios = [theirs / ours for ours, theirs in zip(seconds["mpsearch"], seconds["optuna"], strict=True)][1:]
    medians = {name: round(statistics.median(values[1:]), 2) for name, values in seconds.items()}
    print(json.dumps({**vars(options), "seconds": medians, "times as fast": round(statistics.median(ratios), 1)}))


if __name__ == "__main__":
    main()
