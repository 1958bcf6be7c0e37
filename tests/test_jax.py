"""The whole path under JAX, in a process of its own: a Keras backend is chosen once a process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jax")

SCRIPT = """
import json
import numpy as np
from mpsearch.data import Data
from mpsearch.datasets import digits
from mpsearch.models import small_cnn
from mpsearch.network.elastic import ElasticNetwork
from mpsearch.menu import bits
from mpsearch.space import Space
from mpsearch.task import Training
from mpsearch.training import Session
import keras

full = digits()
data = Data(full.train.head(192), full.validation.head(64), full.test.head(64))
space = Space(kernel=bits(4, 8, 16, alpha="auto_po2"), bias=bits(16, 31), activation=bits(4, 8, 16))
keras.utils.set_random_seed(0)
network = ElasticNetwork(small_cnn(), space, data.train.x)
float_outputs = network.float_model.predict_on_batch(data.test.x)
session = Session(network.model, "adam", "sparse_categorical_crossentropy", "accuracy")
outputs, losses = [session.predict(data, data.test)], []
for width in (4, 8, 4):
    network.set_config(network.space.uniform(width))
    outputs.append(session.predict(data, data.test))
    losses.append(session.fit(data, Training(epochs=1, learning_rate=1e-3), seed=0).epochs[0]["loss"])
network.set_config(None)
outputs.append(session.predict(data, data.test))
print(json.dumps({
    "backend": keras.backend.backend(),
    "losses": losses,
    "from_float": [float(np.abs(o - float_outputs).max()) for o in outputs],
    "repeats": bool(np.array_equal(outputs[1], outputs[3])),
}))
"""


def test_a_network_is_built_trained_and_switched_under_jax():
    env = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(Path(__file__).parents[1])}
    run = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["backend"] == "jax"
    first, four, eight, again, last = found["from_float"]
    assert max(first, last) < 1e-5
    assert 1e-5 < eight < four
    assert found["repeats"]
    assert again == four
    losses = found["losses"]
    assert all(0 < loss < 10 for loss in losses)
    assert losses[0] == pytest.approx(losses[2], rel=1e-5)
    assert losses[0] != losses[1]
