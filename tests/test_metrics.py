"""The metrics of mpsearch's own."""

import keras
import numpy as np
import pytest

import mpsearch
from mpsearch import Data, Space, Split, Training, bits
from mpsearch.metrics import BoundedMeanSquaredError


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 1.5, 1e4])
def test_a_bounded_error_is_that_of_the_mean_over_all_batches(scale):
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, scale, (2, 30, 4)).astype(np.float32)
    metric = BoundedMeanSquaredError()
    for start in (0, 7, 20):
        stop = {0: 7, 7: 20, 20: 30}[start]
        metric.update_state(y[start:stop], x[start:stop])
    error = float(np.mean((x.astype(np.float64) - y) ** 2))
    assert float(metric.result()) == pytest.approx(1 / (1 + error**10), rel=1e-4, abs=1e-30)
    assert 0 <= float(metric.result()) <= 1


def test_an_autoencoder_is_searched_by_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def autoencoder():
        inputs = keras.Input((8,), name="input")
        x = keras.layers.Dense(4, activation="relu", name="squeeze")(inputs)
        return keras.Model(inputs, keras.layers.Dense(8, name="restore")(x), name="autoencoder")

    rng = np.random.default_rng(0)
    parts = [(rng.normal(0, 1, (n, 3)) @ rng.normal(0, 1, (3, 8))).astype(np.float32) for n in (256, 64, 64)]
    data = Data(*(Split(part, part) for part in parts), name="planes")
    space = Space(kernel=bits(4, 8), bias=bits(16, alpha="auto_po2"), activation=bits(4, 8))
    study = mpsearch.search(
        autoencoder, data, space, trials=2, loss="mse", metric="bounded_mean_squared_error",
        training=Training(epochs=2), quiet=True,
    )  # fmt: skip
    assert len(study.trials) == 2
    assert all(0 <= value <= 1 for value in study.trials["metric"])
