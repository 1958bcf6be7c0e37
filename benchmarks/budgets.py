"""Configs a second of which all costs are known, and how long a config over its limits takes to be moved inside.

    python benchmarks/budgets.py

The spaces are those of `spaces/resnet8.py` and `spaces/mbv2.py`, the device is the profile stm32h7b3. All costs: bits,
flash, RAM, MACs, BOPs, EBOPs, accumulators, rescaling, energy and latency, of configs drawn at random, with the arrays
that they are computed of. Moving inside: limits on flash, RAM and energy at 1.5 times what uniform 4 bits cost, configs
drawn at random, each by itself; checking: all of them at once. Tables are made once for a study's limits. Prints JSON:
medians, and the longest.
"""

import json
import os
import statistics
import time
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from mpsearch import facts_of
from mpsearch.costs.profile import load_profile
from mpsearch.costs.registry import Device, make_cost
from mpsearch.searching.arrays import SpecArrays
from mpsearch.searching.budgets import Budget
from mpsearch.spacefile import find_space_file, load_space_file

NAMES = ("bits", "flash", "ram", "macs", "bops", "ebops", "accumulator", "rescaling", "energy", "latency")
CONFIGS, ROUNDS, MOVED = 5_000, 7, 300


def measured(name: str) -> dict[str, Any]:
    """The figures of a ready space."""
    file = load_space_file(find_space_file(name))
    space = file.space.resolve(facts_of(file.task.model(), True, file.space.requantize_merge_inputs))
    device = Device(load_profile("stm32h7b3"))
    costs = [make_cost(cost, space.facts, device) for cost in NAMES]
    arrays, positions = SpecArrays(space), space.draw(np.random.default_rng(0), CONFIGS)
    rates = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        specs = arrays.at(positions)
        for cost in costs:
            cost.batch(specs)
        rates.append(CONFIGS / (time.perf_counter() - started))
    limited = [cost for cost in costs if cost.name in ("flash", "ram", "energy")]
    budget = Budget(space, limited, [1.5 * cost(space.uniform(4)) for cost in limited])
    started = time.perf_counter()
    budget.excess(positions[:1])
    tables = time.perf_counter() - started
    moved, checked = [], []
    for config in space.configs(positions[:MOVED]):
        started = time.perf_counter()
        budget.repaired(config)
        moved.append(time.perf_counter() - started)
    for _ in range(ROUNDS):
        started = time.perf_counter()
        budget.excess(positions)
        checked.append((time.perf_counter() - started) / CONFIGS)
    return {
        "choices": len(space.choices),
        "configs a second": round(statistics.median(rates)),
        "tables of the limits, ms": round(1000 * tables),
        "moving inside, µs": round(1e6 * statistics.median(moved)),
        "moving inside, longest, µs": round(1e6 * max(moved)),
        "checking limits, µs a config": round(1e6 * statistics.median(checked), 2),
    }


def main() -> None:
    """Measure and print."""
    print(json.dumps({name: measured(name) for name in ("resnet8.py", "mbv2.py")}, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
