"""Every kind of layer and graph: equal when left float, each width in effect, trainable, exported and reloaded."""

from functools import cache

import keras
import numpy as np
import pytest
from qkeras.utils import load_qmodel

from mpsearch.config import Config, QuantizerSpec, Role
from mpsearch.data import Data, Split
from mpsearch.export.keras_file import verify, without_mask_warnings
from mpsearch.export.qkeras_model import qkeras_model
from mpsearch.menu import bits
from mpsearch.network.elastic import ElasticNetwork
from mpsearch.space import Space
from tests.conftest import randomise
from tests.network.zoo import ZOO, outputs, samples


@cache
def made(name):
    """(model, samples, elastic network) of a zoo's model."""
    model = randomise(ZOO[name](), seed=3)
    x = samples(model)
    space = Space(
        kernel=bits(2, 8, alpha="auto"), bias=bits(2, 16, alpha="auto_po2"), activation=bits(2, 8, alpha="auto_po2")
    )
    return model, x, ElasticNetwork(model, space, x)


@pytest.mark.parametrize("name", ZOO)
def test_in_float_the_network_is_the_model(name):
    model, x, network = made(name)
    network.set_config(None)
    for expected, found in zip(outputs(model, x), outputs(network.model, x), strict=True):
        assert np.ptp(expected) > 1e-2
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.ptp(expected))


@pytest.mark.parametrize("name", ZOO)
def test_every_site_changes_the_output_when_lowered_to_2_bits(name):
    _, x, network = made(name)
    high = network.space.uniform(16)
    network.set_config(high)
    expected = outputs(network.model, x)
    unchanged = []
    for site in network.space.sites:
        network.assign_specs(Config({**high, site: QuantizerSpec(2, high[site].alpha)}))
        if all(
            np.abs(a - b).max() < 1e-5 * np.ptp(a) for a, b in zip(expected, outputs(network.model, x), strict=True)
        ):
            unchanged.append(site)
    assert not unchanged


@pytest.mark.parametrize("name", ZOO)
def test_a_step_trains_every_weight(name):
    _, x, network = made(name)
    network.set_config(network.space.uniform(8))
    model = network.model
    before = [np.array(v) for v in model.trainable_variables]
    model.compile("sgd", "mse", jit_compile=False)
    rng = np.random.default_rng(0)
    targets = keras.tree.map_structure(lambda y: rng.normal(0, 1, y.shape).astype("float32"), model(x))
    loss = model.train_on_batch(x, targets)
    assert np.all(np.isfinite(loss))
    still = [v.path for v, old in zip(model.trainable_variables, before, strict=True) if np.array_equal(v, old)]
    # with two samples' ReLUs off, a value may not move
    assert len(still) <= 1, still


@pytest.mark.parametrize("name", ZOO)
def test_the_exported_file_is_the_network(name, tmp_path):
    _, x, network = made(name)
    config = network.space.uniform(8)
    network.set_config(config)
    split = Split(x, np.zeros(len(keras.tree.flatten(x)[0])))
    with without_mask_warnings():
        qkeras_model(network, config).save(tmp_path / "model.keras")
        reloaded = load_qmodel(str(tmp_path / "model.keras"), compile=False)
        verification = verify(network, config, reloaded, Data(split, split, split), split)
    assert verification.kernels == sum(1 for _ in network.facts.of(Role.KERNEL))
    assert verification.largest_difference < 1e-5
