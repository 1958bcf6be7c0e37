"""Trainings with and without TensorFlow's tuning of input pipelines, which mpsearch leaves out.

    MPSEARCH_DATA=… python benchmarks/feeding.py resnet8 --rounds 5

The two run alternately in one process, from the same weights with the same seed; seconds of a training by the space's
recipe, and medians of the ratios, as JSON. The metric has to be the same.
"""

import argparse
import json
import statistics
import time
from unittest import mock


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

    from mpsearch.searching.engine import Engine
    from mpsearch.spacefile import find_space_file, load_space_file
    from mpsearch.training import Feed

    engine = Engine(load_space_file(find_space_file(args.space)))
    config = engine.network.space.uniform(8)
    engine.train(config, 0)  # traces
    seconds: dict[str, list[float]] = {"tuned": [], "as it is": []}
    metrics = set()
    for _ in range(args.rounds):
        for name, adapter in (("tuned", PyDatasetAdapter), ("as it is", Feed)):
            with mock.patch("mpsearch.training.Feed", adapter):
                began = time.perf_counter()
                metrics.add(engine.train(config, 0).metric)
                seconds[name].append(time.perf_counter() - began)
    ratios = [tuned / plain for tuned, plain in zip(*seconds.values(), strict=True)]
    print(
        json.dumps({"seconds": seconds, "ratios": ratios, "median": statistics.median(ratios), "metrics": [*metrics]})
    )


if __name__ == "__main__":
    main()
