"""How long a sampler takes for a suggestion: `python benchmarks/suggest.py`; prints JSON.

The space is MobileNetV2's of `spaces/mbv2.py` or another file's, the study an SQLite file with finished trials of
random configs. A suggestion is all that happens between two trials: the sampler's proposal and the new trial's storing.
Reading the study from its file, which every command does once, is measured apart; the first suggestion of a process
also imports what the sampler needs and copies the study for it.
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import optuna

from mpsearch import facts_of
from mpsearch.methods import SAMPLERS
from mpsearch.provenance import Provenance
from mpsearch.records import State, TrialRecord
from mpsearch.searching.parameters import distributions, parameters_of
from mpsearch.space import ResolvedSpace
from mpsearch.spacefile import find_space_file, load_space_file
from mpsearch.study import Study, create_study, open_study


def resolved(name: str) -> ResolvedSpace:
    file = load_space_file(find_space_file(name))
    return file.space.resolve(facts_of(file.task.build(), True, file.space.requantize_merge_inputs))


def study_with(sampler: str, space: ResolvedSpace, finished: int, url: str) -> Study:
    empty = dict.fromkeys(("space_path", "space_text", "space_hash", "space_fingerprint", "data_fingerprint"), "")
    provenance = Provenance(**empty, space_size=str(space.size), versions={}, seed=0, sampler=sampler, pruner="none",
                            metric="accuracy", reference_costs={}, sites=[], created="")  # fmt: skip
    study, rng = create_study(sampler, provenance, url), random.Random(0)
    for sequence in range(finished):
        config = space.sample(rng)
        score = sum(1 / spec.bits for spec in config.values()) / len(config)
        study.add_frozen(
            optuna.trial.create_trial(
                params=parameters_of(space, config),
                distributions=distributions(space),
                value=score,
                user_attrs={"sequence": sequence, "config": config.to_json(), "fingerprint": config.fingerprint,
                            "score": score, "metric": score, "origin": sampler},
            )
        )  # fmt: skip
    return open_study(sampler, url)


def seconds(study: Study, space: ResolvedSpace, suggestions: int) -> list[float]:
    found = []
    for _ in range(suggestions):
        started = time.perf_counter()
        asked = study.ask(space)
        found.append(time.perf_counter() - started)
        assert asked is not None
        score = sum(1 / spec.bits for spec in asked.config.values()) / len(asked.config)
        study.complete(asked.number, TrialRecord(asked.number, State.COMPLETE, metric=score, score=score))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samplers", nargs="*", default=list(SAMPLERS))
    parser.add_argument("--space", default="mbv2.py", help="space file")
    parser.add_argument("--finished", type=int, default=100)
    parser.add_argument("--suggestions", type=int, default=8)
    options = parser.parse_args()
    space = resolved(options.space)
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for sampler in options.samplers:
            study = study_with(sampler, space, options.finished, f"sqlite:///{Path(folder) / f'{sampler}.db'}")
            started = time.perf_counter()
            study.records()
            reading = time.perf_counter() - started
            first, *others = seconds(study, space, options.suggestions)
            results[sampler] = {
                "reading": round(reading, 3),
                "first": round(first, 3),
                "median": round(statistics.median(others), 3),
                "most": round(max(others), 3),
            }
            print(sampler, results[sampler], file=sys.stderr, flush=True)
    print(
        json.dumps(
            {
                "sites": len(space.sites),
                "parameters": len(distributions(space)),
                "finished trials": options.finished,
                "cores": os.cpu_count(),
                "seconds per suggestion": results,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
