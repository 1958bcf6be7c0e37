"""How long a network takes to start: `python benchmarks/start.py MobileNetV3Small`; prints JSON.

The model is one of keras.applications (64×64 inputs, 10 classes, 4 samples), every site with three widths and one scale
mode, all at 16 bits. Measured are the seconds to build the network, to run it for the first time (tracing apart) and to
take its first training step, and the milliseconds of later ones.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import keras
import numpy as np
import tensorflow as tf

from benchmarks.convert import build
from mpsearch import Space, bits
from mpsearch.network.elastic import ElasticNetwork

LATER = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="of keras.applications, for instance MobileNetV3Small")
    model, x = build(parser.parse_args().model, samples=4, size=64)
    space = Space(
        kernel=bits(2, 8, 16, alpha="auto"),
        bias=bits(2, 16, alpha="auto_po2"),
        activation=bits(2, 8, 16, alpha="auto_po2"),
    )
    times = [time.perf_counter()]

    def lap() -> float:
        times.append(time.perf_counter())
        return times[-1] - times[-2]

    network = ElasticNetwork(model, space, x)
    network.set_config(network.space.uniform(16))
    found = {"build_s": lap()}
    run = tf.function(lambda x: network.model(x, training=False)).get_concrete_function(tf.TensorSpec(x.shape))
    found["trace_s"] = lap()
    run(tf.constant(x))
    found["first_run_s"] = lap()
    for _ in range(LATER):
        run(tf.constant(x))
    found["later_run_ms"] = 1000 * lap() / LATER
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.model.compile(keras.optimizers.SGD(1e-3), loss, jit_compile=False)
    lap()
    network.model.train_on_batch(x, np.arange(len(x)))
    found["first_step_s"] = lap()
    for _ in range(LATER):
        network.model.train_on_batch(x, np.arange(len(x)))
    found["later_step_ms"] = 1000 * lap() / LATER
    rounded = {name: round(value, 1) for name, value in found.items()}
    print(json.dumps({"model": model.name, "sites": len(network.space.sites), **rounded}, indent=1))


if __name__ == "__main__":
    main()
