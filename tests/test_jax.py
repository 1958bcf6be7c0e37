"""The network, and the whole path, under JAX, in processes of their own: a Keras backend is chosen once a process."""

import json
import os
import shutil
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


def under_jax(script, folder, results=1):
    """What a script prints last, so many lines of JSON."""
    env = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }
    run = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, cwd=folder)
    assert run.returncode == 0, run.stderr[-3000:]
    return [json.loads(line) for line in run.stdout.splitlines()[-results:]]


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What `SCRIPT` and `RECURRENT` print: of one process, since starting it takes longer than what they do."""
    return under_jax(SCRIPT + RECURRENT, tmp_path_factory.mktemp("jax"), results=2)


def test_a_network_is_built_trained_and_switched_under_jax(printed):
    found = printed[0]
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


WHOLE_PATH = """
import json, sys
from pathlib import Path
from mpsearch.cli.app import main

def mpsearch(*words):
    sys.argv = ["mpsearch", *words]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, (words, stop.code)

mpsearch("study", "create", "--space", "tiny.py")
mpsearch("study", "run", "tiny", "--trials", "2")
mpsearch("finetune", "tiny")
mpsearch("export", "tiny", "--out", "out")

import keras
from mpsearch.study import open_study
study = open_study("tiny")
print(json.dumps({
    "backend": keras.backend.backend(),
    "recorded": study.provenance.versions["keras backend"],
    "metrics": [record.metric for record in study.records()],
    "tuned": [json.loads(path.read_text())["test"] for path in Path("studies").rglob("result.json")],
    "export": json.load(open("out/export.json"))["files"]["keras"]["comparison"],
}))
"""


@pytest.mark.slow
def test_the_whole_path_from_space_file_to_exported_file_under_jax(tmp_path):
    shutil.copy(Path(__file__).with_name("tiny.py"), tmp_path)
    (found,) = under_jax(WHOLE_PATH, tmp_path)
    assert found["backend"] == found["recorded"] == "jax"
    assert len(found["metrics"]) == 2
    assert all(metric > 0.3 for metric in found["metrics"])
    assert found["tuned"][0] > 0.3
    assert found["export"]["top1_agreement"] >= 0.999


RECURRENT = """
import json
import keras
import numpy as np
from mpsearch import Data, Space, Split, Training, bits
from mpsearch.network.elastic import ElasticNetwork
from mpsearch.training import Session

inputs = keras.Input((6, 3), name="input")
x = keras.layers.GRU(5, name="gru")(inputs)
model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="logits")(x))
rng = np.random.default_rng(0)
splits = [Split(rng.normal(0, 1, (48, 6, 3)).astype("float32"), np.arange(48) % 2) for _ in range(3)]
data = Data(*splits)
network = ElasticNetwork(model, Space(kernel=bits(4), bias=bits(16), activation=bits(3, 8)), splits[0].x)
session = Session(network.model, "adam", "sparse_categorical_crossentropy", "accuracy", network.state_variables)
outputs = []
for width in (8, 3):
    network.set_config(network.space.uniform(width))
    outputs.append(session.predict(data, data.test))
logs = session.fit(data, Training(epochs=1, batch_size=16, learning_rate=1e-3), seed=0).epochs[0]
print(json.dumps({"moved": float(np.abs(outputs[0] - outputs[1]).max()), "loss": logs["loss"]}))
"""


def test_the_states_of_recurrent_layers_are_quantized_under_jax(printed):
    found = printed[1]
    assert found["moved"] > 1e-4
    assert 0 < found["loss"] < 10
