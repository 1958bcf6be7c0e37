"""A quantized training step against the float step of the same folded model, in one process.

    python benchmarks/step.py --model resnet8 --batch 32 --rounds 40

The two are run alternately, a few steps each; medians and their ratio are printed as JSON, with the kernels'
scale mode `auto` and `auto_po2` apart. Everything that a trial does is included: kernels, biases and feature maps
quantized, moving ranges updated, Adam. The milliseconds that switching the config takes are printed as well.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from mpsearch import Space, bits, models
from mpsearch.network.elastic import ElasticNetwork
from mpsearch.training import Session

MODELS: dict[str, tuple[Callable[[], keras.Model], tuple[int, ...], int]] = {
    "resnet8": (models.resnet8, (32, 32, 3), 10),
    "mbv2": (models.mbv2, (96, 96, 3), 2),
}


def stepper(model: keras.Model, x: np.ndarray, y: np.ndarray) -> Callable[[int], float]:
    """A function that runs so many training steps and returns the seconds of one."""
    model.compile(
        keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False
    )
    model.make_train_function()
    batches = iter(tf.data.Dataset.from_tensors((x, y)).cache().repeat())

    def run(steps: int) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            logs = model.train_function(batches)
        np.asarray(logs["loss"])
        return (time.perf_counter() - started) / steps

    run(3)  # traces
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=sorted(MODELS), default="resnet8")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=40, help="alternations; a round is --steps steps of each")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    keras.utils.set_random_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    build, shape, classes = MODELS[args.model]
    x = rng.random((args.batch, *shape), dtype=np.float32)
    y = rng.integers(0, classes, args.batch)
    alphas = {"auto": ("auto", "auto"), "auto_po2": ("auto_po2", "auto"), "all auto_po2": ("auto_po2", "auto_po2")}
    networks = {}
    for name, (kernel, activation) in alphas.items():
        space = Space(
            kernel=bits(4, 8, 16, alpha=kernel),
            bias=bits(16, 31, alpha="auto_po2"),
            activation=bits(4, 8, 16, alpha=activation),
            requantize_merge_inputs=args.model == "mbv2",
        )
        networks[name] = ElasticNetwork(build(), space, x)
        networks[name].set_config(networks[name].space.uniform(8))
    runs = {"float": stepper(networks["auto"].float_model, x, y)}
    runs.update({name: stepper(network.model, x, y) for name, network in networks.items()})
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(args.rounds):
        for name, run in runs.items():
            seconds[name].append(run(args.steps))
    network = networks["auto"]
    session = Session(network.model, "adam", "sparse_categorical_crossentropy", "accuracy")
    switches = []
    for i in range(12):
        config = network.space.uniform((4, 8, 16)[i % 3])
        started = time.perf_counter()
        network.set_config(config)
        session.reset(1e-4, seed=i)
        switches.append(time.perf_counter() - started)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    paired: dict[str, Any] = {
        name: statistics.median(q / f for q, f in zip(seconds[name], seconds["float"], strict=True)) for name in alphas
    }
    print(
        json.dumps(
            {
                "model": args.model,
                "batch": args.batch,
                "cores": os.cpu_count(),
                "step_ms": {name: round(value * 1e3, 2) for name, value in median.items()},
                "ratio_to_float": {name: round(median[name] / median["float"], 3) for name in alphas},
                "median_of_paired_ratios": {name: round(value, 3) for name, value in paired.items()},
                "switch_ms": {
                    "median": round(statistics.median(switches[2:]) * 1e3, 1),
                    "max": round(max(switches[2:]) * 1e3, 1),
                },
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
