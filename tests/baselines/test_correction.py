"""Bias correction: outputs' means are those of the float network."""

import keras
import numpy as np
import pytest

from mpsearch import Space, bits
from mpsearch.baselines.correction import BiasCorrection, correctable
from mpsearch.network.elastic import ElasticNetwork


@pytest.fixture
def network(small_model, small_samples):
    space = Space(kernel=bits(3), bias=bits(16), activation=bits(5))
    return ElasticNetwork(small_model, space, small_samples)


def means(model, name, x):
    y = np.asarray(keras.Model(model.inputs[0], model.get_layer(name).output)(x, training=False), dtype=np.float64)
    return y.reshape(-1, y.shape[-1]).mean(axis=0)


def test_after_it_each_layer_has_the_float_networks_means(network, small_samples):
    config = network.space.uniform(3)
    network.set_config(config)
    names = ["conv", "dw", "pw", "dense", "logits"]
    assert correctable(network) == names
    wanted = {name: means(network.float_model, name, small_samples) for name in names}
    shifted = {name: np.abs(means(network.model, name, small_samples) - wanted[name]).max() for name in names}
    assert min(shifted.values()) > 0.004, "nothing to correct"
    correct = BiasCorrection(network, small_samples)
    assert correct(config) == len(names)
    for name in names:
        # a bias of 16 bits comes in steps
        assert means(network.model, name, small_samples) == pytest.approx(wanted[name], abs=1e-3), name


def test_what_counts_are_the_weights_that_the_network_has(network, small_samples):
    """As after equalization, which makes other means of the same function."""
    config = network.space.uniform(3)
    network.set_config(config)
    conv = network.model.get_layer("conv").inner
    conv.kernel.assign(np.asarray(conv.kernel) * 0.25)
    conv.bias.assign(np.asarray(conv.bias) * 0.25)
    network.assign_specs(None)
    wanted = means(network.model, "conv", small_samples)
    assert np.abs(wanted - means(network.float_model, "conv", small_samples)).max() > 0.1
    BiasCorrection(network, small_samples)(config)
    assert means(network.model, "conv", small_samples) == pytest.approx(wanted, abs=1e-3)


def test_a_float_network_needs_no_correction(network, small_samples):
    correct = BiasCorrection(network, small_samples)
    network.set_config(None)
    before = network.state()
    assert correct(None) == 5
    for old, new in zip(before, network.state(), strict=True):
        assert new == pytest.approx(old, abs=1e-5), "a float network needs no correction"


def test_layers_that_are_shared_or_have_no_bias_are_not_corrected():
    inputs = keras.Input((4,), name="input")
    shared = keras.layers.Dense(4, name="shared")
    x = shared(shared(keras.layers.Dense(4, use_bias=False, name="plain")(inputs)))
    model = keras.Model(inputs, keras.layers.Dense(2, name="last")(x))
    network = ElasticNetwork(model, Space(kernel=bits(4), bias=bits(8)), np.ones((8, 4), np.float32))
    assert correctable(network) == ["last"]
