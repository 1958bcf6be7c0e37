"""ResNet-8 configs a second: drawn at random, their bit costs and their scores.

    python benchmarks/cost.py

The space is that of `spaces/resnet8.py`. What is measured, in batches: drawing configs uniformly
(`ResolvedSpace.draw`), their widths (`ResolvedSpace.widths`), bit costs (`BitCost.batch`), and δ and scores for metrics
drawn at random (`ForgivingFactor.score`); then the same with dependent limits, each step by itself, and one config at a
time. Prints JSON: medians.
"""

import json
import os
import random
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from mpsearch import BitCost, ForgivingFactor, facts_of
from mpsearch.spacefile import find_space_file, load_space_file

CONFIGS, SINGLE, ROUNDS = 100_000, 1_000, 7


def rate(count: int, work: Callable[[], object]) -> int:
    rates = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        rates.append(count / (time.perf_counter() - started))
    return round(statistics.median(rates))


def main() -> None:
    file = load_space_file(find_space_file("resnet8.py"))
    facts = facts_of(file.task.model(), nonnegative_inputs=True)
    space = file.space.resolve(facts)
    limited = file.space.limit("kernel", "<=", "input").resolve(facts)
    cost, forgiving, rng = BitCost(facts, file.reference), ForgivingFactor(), np.random.default_rng(0)
    reference = cost.reference_cost.total_bits

    def scored(of: object) -> np.ndarray:
        parameters, activations = cost.batch(of.widths(of.draw(rng, CONFIGS)))
        return forgiving.score(rng.random(CONFIGS), parameters + activations, reference)

    positions = space.draw(rng, CONFIGS)
    widths = space.widths(positions)
    bits = sum(cost.batch(widths))
    metrics = rng.random(CONFIGS)
    single = random.Random(0)
    configs = [space.sample(single) for _ in range(SINGLE)]
    rates = {
        "drawn, costed and scored": rate(CONFIGS, lambda: scored(space)),
        "with kernel <= input": rate(CONFIGS, lambda: scored(limited)),
        "draw": rate(CONFIGS, lambda: space.draw(rng, CONFIGS)),
        "widths": rate(CONFIGS, lambda: space.widths(positions)),
        "cost": rate(CONFIGS, lambda: cost.batch(widths)),
        "score": rate(CONFIGS, lambda: forgiving.score(metrics, bits, reference)),
        "one at a time: sample": rate(SINGLE, lambda: [space.sample(single) for _ in range(SINGLE)]),
        "one at a time: cost": rate(SINGLE, lambda: [cost(config) for config in configs]),
    }
    print(json.dumps({"sites": len(cost.sites), "configs_per_second": rates}, indent=1))


if __name__ == "__main__":
    main()
