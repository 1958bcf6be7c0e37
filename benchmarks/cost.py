"""Configs a second whose bit cost is computed at once, on ResNet-8.

    python benchmarks/cost.py

Random widths for all sites, in batches; prints JSON.
"""

import json
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from mpsearch import BitCost, facts_of, models


def main() -> None:
    cost = BitCost(facts_of(models.resnet8()))
    widths = np.random.default_rng(0).choice([4, 8, 16], (100_000, len(cost.sites)))
    rates = []
    for _ in range(7):
        started = time.perf_counter()
        cost.batch(widths)
        rates.append(len(widths) / (time.perf_counter() - started))
    print(json.dumps({"sites": len(cost.sites), "configs_per_second": round(statistics.median(rates))}))


if __name__ == "__main__":
    main()
