"""Tests of the elastic network: float equality, every width in effect, switching without a retrace."""

import random
from collections.abc import Generator

import keras
import numpy as np
import pytest
import qkeras
from keras import Input, layers

from mpsearch import Weight, models, register_layer
from mpsearch.config import Alpha, Config, QuantizerSpec, Role
from mpsearch.data import Data, Split
from mpsearch.errors import ConfigError, SpaceError
from mpsearch.menu import bits
from mpsearch.network.elastic import ElasticNetwork
from mpsearch.space import Space
from mpsearch.task import Training
from mpsearch.training import Session


@pytest.fixture(scope="module")
def data(small_samples) -> Data:
    """The samples with random classes."""
    split = Split(small_samples, np.random.default_rng(0).integers(0, 4, len(small_samples)))
    return Data(split, split, split)


@pytest.fixture(scope="module")
def traces(small_network) -> Generator[list[int]]:
    """Grows by one whenever Python runs through the network: in tracing, not in a traced step."""
    inner, found = small_network.model.get_layer("dense").inner, []
    original = inner.call

    def counted(*args, **kwargs):
        found.append(1)
        return original(*args, **kwargs)

    inner.call = counted
    yield found
    inner.call = original


@pytest.fixture(scope="module")
def session(small_network, traces) -> Session:
    """The small network compiled."""
    return Session(small_network.model, "adam", "sparse_categorical_crossentropy", "accuracy")


def state_of(network: ElasticNetwork) -> list[np.ndarray]:
    return [np.array(keras.ops.convert_to_numpy(v)) for v in network.model.weights]


# Float


def test_in_float_the_network_is_the_model(small_network, small_model, small_samples, logits):
    small_network.set_config(None)
    expected = np.log(np.asarray(small_model(small_samples, training=False)) + 1e-9)
    found = logits(small_network)
    assert np.abs(found - expected).max() < 1e-4 * (expected.max() - expected.min())


@pytest.mark.parametrize(
    ("name", "shape"),
    [("resnet8", (16, 16, 3)), ("ds_cnn", (49, 10, 1)), ("fc_autoencoder", (640,)), ("mbv2", (32, 32, 3))],
)
def test_in_float_each_reference_model_is_itself(name, shape, randomise):
    """Folded as published, with randomised BatchNorm; the outputs are those of the layer before a softmax."""
    build = getattr(models, name)
    model = randomise(build(shape[0]) if name == "fc_autoencoder" else build(shape))
    x = np.random.default_rng(0).random((8, *shape), dtype=np.float32)
    network = ElasticNetwork(model, Space(kernel=bits(4, 8), activation=bits(8), requantize_merge_inputs=True), x)
    network.set_config(None)
    last = "dense_9" if name == "fc_autoencoder" else "logits"
    expected = np.asarray(keras.Model(model.inputs, model.get_layer(last).output)([x], training=False))
    inner = network.model.get_layer(last).output
    found = np.asarray(keras.Model(network.model.inputs, inner)([x], training=False))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * (expected.max() - expected.min()))


# Widths in effect


def test_at_16_bits_the_network_is_nearly_float(small_network, logits):
    small_network.set_config(None)
    expected = logits(small_network)
    small_network.set_config(small_network.space.uniform(16))
    found = logits(small_network)
    assert 0 < np.abs(found - expected).max() < 0.01 * (expected.max() - expected.min())


def test_every_site_has_a_quantizer_that_changes_the_output(small_network, logits):
    network = small_network
    high = network.space.uniform(16)
    network.set_config(high)
    expected = logits(network)
    unchanged = []
    for site in network.space.sites:
        network.set_config(Config({**high, site: QuantizerSpec(2, high[site].alpha)}))
        if np.abs(logits(network) - expected).max() < 1e-3:
            unchanged.append(site)
    assert not unchanged


def test_lower_widths_are_further_from_float(small_network, logits):
    small_network.set_config(None)
    expected = logits(small_network)
    errors = []
    for width in (2, 4, 8, 16):
        small_network.set_config(small_network.space.uniform(width))
        errors.append(np.mean((logits(small_network) - expected) ** 2))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1000 * errors[3]


@pytest.mark.parametrize("alpha", ["auto", "auto_po2"])
def test_the_network_computes_what_plain_layers_with_qkeras_weights_compute(
    alpha, small_network, small_model, small_samples
):
    """Kernels are quantized as QKeras quantizes them, biases and maps are (nearly) left alone."""
    network = small_network
    config = {}
    for site in network.space.sites:
        kernel = network.facts.by_name[site].role is Role.KERNEL
        config[site] = (
            QuantizerSpec(4, alpha) if kernel else QuantizerSpec(16, network.space.menus[site].specs[0].alpha)
        )
    float_sites = [site for site, spec in config.items() if spec.bits == 16]
    network.set_config(Config(config))
    for site in float_sites:
        network.quantizer(site).spec.assign([0, 0])
    found = np.asarray(network.model(small_samples, training=False))

    plain = keras.models.clone_model(network.float_model)
    plain.set_weights(network.float_model.get_weights())
    for layer in plain.layers:
        if hasattr(layer, "kernel"):
            depthwise = isinstance(layer, layers.DepthwiseConv2D)
            quantizer = qkeras.quantized_bits(4, 0, 1, 1, alpha=alpha, scale_axis=2 if depthwise else None)
            q = np.asarray(quantizer(layer.kernel.value))
            inner = network.quantizer(f"{layer.name}/kernel")
            if alpha == "auto":
                np.testing.assert_array_equal(np.asarray(inner(layer.kernel.value)), q, err_msg=layer.name)
            layer.set_weights([np.asarray(inner(layer.kernel.value)), layer.bias])
    np.testing.assert_allclose(found, np.asarray(plain(small_samples, training=False)), atol=1e-6)


# Switching


def test_set_config_restores_weights_and_ranges_exactly(small_network, session, data):
    rng = random.Random(0)
    first, second = (small_network.space.sample(rng) for _ in range(2))
    small_network.set_config(first)
    before = state_of(small_network)
    small_network.set_config(second)
    session.fit(data, Training(epochs=2, learning_rate=0.01), seed=0)
    assert sum(not np.array_equal(a, b) for a, b in zip(before, state_of(small_network), strict=True)) > 20
    small_network.set_config(first)
    for now, then in zip(state_of(small_network), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_a_trial_repeats_to_the_bit_whatever_ran_before(small_network, session, data):
    """Eight batches an epoch, so that an order of its own, of samples or of batches, can't hit by chance."""
    rng = random.Random(1)
    first, second = (small_network.space.sample(rng) for _ in range(2))
    recipe = Training(epochs=2, batch_size=8, learning_rate=0.01)

    def trial(config, seed):
        small_network.set_config(config)
        return session.fit(data, recipe, seed).epochs

    once = trial(first, 3)
    trial(second, 4)
    assert trial(first, 3) == once
    assert trial(first, 4) != once


def test_ten_configs_are_traced_once(small_network, session, traces, data):
    rng = random.Random(2)
    counts = []
    for seed in range(10):
        small_network.set_config(small_network.space.sample(rng))
        session.fit(data, Training(epochs=1, learning_rate=0.001), seed=seed)
        session.evaluate(data, data.test)
        counts.append(len(traces))
    assert counts[0] >= 2  # once to train, once to evaluate
    assert counts == counts[:1] * 10


def test_state_can_be_saved_and_loaded(small_network, session, data, small_samples):
    config = small_network.space.uniform(4)
    small_network.set_config(config)
    session.fit(data, Training(epochs=1, learning_rate=0.01), seed=0)
    state, expected = small_network.state(), session.predict(data, data.test)
    small_network.set_config(small_network.space.uniform(8))
    small_network.assign_specs(config)
    small_network.load_state(state)
    np.testing.assert_array_equal(session.predict(data, data.test), expected)


def test_training_moves_ranges_and_float_weights_only(small_network, session, data):
    small_network.set_config(small_network.space.uniform(8))
    names, before = [v.path.rpartition("/")[2] for v in small_network.model.weights], state_of(small_network)
    session.fit(data, Training(epochs=1, learning_rate=0.01), seed=0)
    after = state_of(small_network)
    moved = {name for name, a, b in zip(names, before, after, strict=True) if not np.array_equal(a, b)}
    assert {"kernel", "bias", "range"} <= moved
    assert not moved & {"spec", "sketch"}


@keras.saving.register_keras_serializable("tests")
class Centred(layers.Layer):
    """x less its mean so far, counted in every step, and a BatchNorm within."""

    def build(self, shape):
        self.mean = self.add_weight(name="mean", shape=(shape[-1],), initializer="zeros", trainable=False)
        self.gain = self.add_weight(name="gain", shape=(shape[-1],), initializer="ones")
        self.steps = self.add_weight(name="steps", shape=(), dtype="int32", initializer="zeros", trainable=False)
        self.seeds = keras.random.SeedGenerator(0)
        self.norm = layers.BatchNormalization(name="norm")
        self.norm.build(shape)

    def call(self, x, training=False):
        if training:
            self.mean.assign(0.9 * self.mean + 0.1 * keras.ops.mean(x, axis=0))
            self.steps.assign(self.steps + 1)
            x = x + 0.01 * keras.random.normal(keras.ops.shape(x), seed=self.seeds)
        return self.norm((x - self.mean) * self.gain, training=training)


@pytest.mark.parametrize("weights", [(), (Weight("gain", "kernel"),)], ids=["float", "quantized"])
def test_what_layers_keep_from_batch_to_batch_is_state(weights):
    register_layer(Centred, weights)
    x = np.random.default_rng(0).normal(1, 1, (32, 6)).astype(np.float32)
    split = Split(x, np.arange(32) % 3)
    inputs = Input((6,), name="input")
    scores = layers.Dense(3, activation="softmax", name="scores")(Centred(name="centred")(inputs))
    network = ElasticNetwork(keras.Model(inputs, scores), Space(kernel=bits(8), activation=bits(8)), x)
    layer = next(part for part in network.model._flatten_layers() if isinstance(part, Centred))
    kept = [layer.mean, layer.steps, layer.norm.moving_mean, layer.norm.moving_variance]
    assert [id(v) for v in network.state_variables[-4:]] == [id(v) for v in kept]
    network.set_config(network.space.uniform(8))
    first = network.state()
    session = Session(network.model, "adam", "sparse_categorical_crossentropy", "accuracy", network.state_variables)
    history = session.fit(Data(split, split, split), Training(epochs=2, batch_size=8), seed=0, keep_best=True)
    trained = network.state()
    assert int(layer.steps) == 8
    network.set_config(network.space.uniform(8))
    for now, then, after in zip(network.state()[-4:], first[-4:], trained[-4:], strict=True):
        np.testing.assert_array_equal(now, then)
        assert not np.array_equal(after, then)
    network.load_state(trained)
    assert int(layer.steps) == 8
    network.load_state(history.best_state)
    assert int(layer.steps) == 4 * (history.best_epoch + 1)


def test_state_without_such_layers_is_weights_and_then_ranges(randomise):
    """What is stored of older studies must still load: constants of Keras's layers aren't in it."""
    inputs = Input((6,), name="input")
    x = layers.Normalization(mean=0.5, variance=0.1, name="unit")(inputs)
    x = layers.Dense(4, name="a", trainable=False)(layers.BatchNormalization(name="norm")(x))
    network = ElasticNetwork(
        randomise(keras.Model(inputs, layers.Dense(2, name="b")(x))),
        Space(kernel=bits(8), activation=bits(8)),
        np.random.default_rng(0).random((16, 6), dtype=np.float32),
    )
    ranges = [network.quantizer(site).range for site in network.space.sites if site.endswith("/activation")]
    expected = [*network.model.trainable_variables, *ranges]
    assert [id(v) for v in network.state_variables] == [id(v) for v in expected]


# Configs and spaces that don't fit


def test_configs_that_do_not_fit_are_refused(small_network):
    config = small_network.space.uniform(8)
    site = "conv/kernel"
    with pytest.raises(ConfigError, match=r"missing \['conv/kernel'\], unknown \[\]"):
        small_network.set_config(Config({s: spec for s, spec in config.items() if s != site}))
    with pytest.raises(ConfigError, match=r"missing \[\], unknown \['x/kernel'\]"):
        small_network.set_config(Config({**config, "x/kernel": QuantizerSpec(8)}))
    for wrong, message in (
        (QuantizerSpec(8, affine=True), "`add/activation` is built with affine=False, but the config has True"),
        (QuantizerSpec(8, range="batch"), "`add/activation` is built with range=moving, but the config has batch"),
        (QuantizerSpec(8, signed=True), "`add/activation` is built with signed=None, but the config has True"),
    ):
        with pytest.raises(ConfigError, match=message):
            small_network.set_config(Config({**config, "add/activation": wrong}))


def test_a_refused_config_changes_nothing(small_network, logits):
    small_network.set_config(small_network.space.uniform(4))
    expected = logits(small_network)
    with pytest.raises(ConfigError):
        small_network.set_config(Config({}))
    np.testing.assert_array_equal(logits(small_network), expected)


def test_a_scale_mode_that_was_not_built_in_is_refused(small_network):
    config = small_network.space.uniform(8)
    with pytest.raises(ConfigError, match="conv/kernel"):
        small_network.set_config(Config({**config, "conv/kernel": QuantizerSpec(8, Alpha.FIXED, 0)}))


def test_a_space_that_does_not_fit_is_refused(small_model, small_samples):
    with pytest.raises(SpaceError, match="matches no layer of `small`; did you mean `conv`"):
        ElasticNetwork(small_model, Space(kernel=bits(8)).at("cnv", kernel=bits(4)), small_samples)


def test_float_sites_have_no_quantizer(small_model, small_samples):
    network = ElasticNetwork(small_model, Space(kernel=bits(2, 8)).skip("dense"), small_samples)
    assert network.space.sites == ("conv/kernel", "dw/kernel", "pw/kernel", "logits/kernel")
    assert not [layer for layer in network.model.layers if type(layer).__name__ == "QuantizedBitsFeatureMap"]
    network.set_config(network.space.uniform(2))
    assert np.isfinite(np.asarray(network.model(small_samples))).all()


# Calibration and options


def test_ranges_are_those_of_the_float_network(small_network, small_samples):
    small_network.set_config(None)
    np.testing.assert_allclose(
        small_network.quantizer("input/activation").range, [small_samples.min(), small_samples.max()]
    )
    conv = keras.Model(small_network.float_model.inputs, small_network.float_model.get_layer("conv_relu").output)
    values = np.asarray(conv([small_samples]))
    np.testing.assert_allclose(
        small_network.quantizer("conv/activation").range, [values.min(), values.max()], rtol=1e-5
    )


def test_fixed_point_affine_and_batch_ranges_reach_the_quantizers(small_model, small_samples):
    space = Space(kernel=bits(8, integer=0), bias=bits(16, integer=1), activation=bits(8, range="batch"))
    space.at("conv", activation=bits(8, integer=3, signed=False)).at(
        "dense", activation=bits(8, affine=True, range="moving")
    )
    network = ElasticNetwork(small_model, space, small_samples)
    network.set_config(network.space.uniform(8))
    assert network.quantizer("conv/kernel").integer == 0
    assert network.quantizer("conv/bias").integer == 1
    conv, dense, add = (network.quantizer(f"{layer}/activation") for layer in ("conv", "dense", "add"))
    assert (conv.integer, conv.signed) == (3, False)
    assert dense.affine
    assert add.range_rule == "batch"
    values = np.asarray(keras.Model(network.model.inputs, conv.output)([small_samples]))
    np.testing.assert_array_equal(values * 32, np.rint(values * 32))
    assert np.isfinite(np.asarray(network.model(small_samples))).all()


def test_an_input_read_twice_is_quantized_once():
    inputs = Input((6,), name="input")
    total = layers.Add(name="add")([layers.Dense(3, name="a")(inputs), layers.Dense(3, name="b")(inputs)])
    x = np.random.default_rng(0).normal(0, 1, (32, 6)).astype(np.float32)
    network = ElasticNetwork(keras.Model(inputs, total), Space(activation=bits(2, 8)), x)
    maps = [layer.name for layer in network.model.layers if type(layer).__name__ == "QuantizedBitsFeatureMap"]
    assert sorted(maps) == ["a__activation", "add__activation", "b__activation", "input__activation"]
    network.set_config(network.space.uniform(2))
    assert np.isfinite(np.asarray(network.model(x))).all()


def test_regularizers_act_on_the_float_weights(small_network):
    small_network.set_config(small_network.space.uniform(2))
    found = float(sum(small_network.model.losses))
    assert found == pytest.approx(float(sum(small_network.float_model.losses)), rel=1e-5)


def test_sequential_models_are_taken_too():
    model = keras.Sequential(
        [Input((6,), name="x"), layers.Dense(8, activation="relu", name="a"), layers.Dense(2, name="b")]
    )
    x = np.random.default_rng(0).random((16, 6), dtype=np.float32)
    network = ElasticNetwork(model, Space(kernel=bits(8), activation=bits(8)), x)
    np.testing.assert_allclose(network.model(x), model(x), atol=1e-5)
    assert not network.quantizer("x/activation").signed  # no sample is below zero
