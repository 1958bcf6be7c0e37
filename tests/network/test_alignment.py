"""Aligned biases: codes in the unit of the sums, in the network as in the files."""

import keras
import numpy as np
import pytest
from keras import Input, layers

from mpsearch.config import Alpha, Config, QuantizerSpec
from mpsearch.errors import SpaceError
from mpsearch.export.aligned_biases import with_aligned_biases
from mpsearch.export.building import program_of
from mpsearch.export.integer import execute
from mpsearch.export.qkeras_model import qkeras_model
from mpsearch.menu import bits
from mpsearch.network.codes import weight_codes_of
from mpsearch.network.elastic import ElasticNetwork
from mpsearch.space import Space
from tests.conftest import randomise
from tests.export.models import MODELS, configured, inputs_of, network_codes


def aligned_network(model, alpha, biases=(32,), widths=(4, 8), **options):
    space = Space(
        kernel=bits(*widths, alpha=alpha), bias=bits(*biases, alpha="aligned"), activation=bits(*widths, alpha=alpha)
    )
    return ElasticNetwork(model, space, inputs_of(model, 64))


@pytest.fixture(scope="module", params=[(m, a) for m in MODELS for a in ("auto", "auto_po2")], ids="-".join)
def aligned(request):
    name, alpha = request.param
    model = MODELS[name]()
    return aligned_network(model, alpha), inputs_of(model, 48, seed=2)


def biased(network, program):
    sites = {operation.bias.site: operation for operation in program.operations if operation.bias is not None}
    assert set(sites) == {site.name for site in network.facts.sites if site.role == "bias"}
    return sites


def test_every_bias_is_a_whole_number_of_the_unit_of_its_sums(aligned):
    network, _ = aligned
    program = program_of(network, configured(network, 0))
    for site, operation in biased(network, program).items():
        unit = np.float32(program.grid(operation.inputs[0]).scale) * operation.kernel.scale.reshape(-1)
        np.testing.assert_array_equal(operation.bias.scale, np.broadcast_to(unit, operation.bias.scale.shape), site)
        layer = network.model.get_layer(site.split("/")[0]).inner
        exact = np.asarray(layer.beta if site.endswith("beta") else layer.bias, np.float64) / operation.bias.scale
        assert np.abs(operation.bias.codes - exact).max() <= 0.5 + 1e-6 * np.abs(exact).max()


def test_the_file_s_biases_are_the_network_s(aligned):
    network, _ = aligned
    program = program_of(network, configured(network, 1))
    changed = biased(network, with_aligned_biases(program))
    for site, operation in biased(network, program).items():
        np.testing.assert_array_equal(changed[site].bias.codes, operation.bias.codes)
        np.testing.assert_array_equal(changed[site].bias.scale + 0 * operation.bias.scale, operation.bias.scale)
        np.testing.assert_array_equal(changed[site].kernel.codes, operation.kernel.codes)


def test_the_integer_reference_computes_the_network_s_codes(aligned):
    network, x = aligned
    program = program_of(network, configured(network, 2))
    expected = network_codes(network, program, x)
    found = execute(program, [x], expected)
    for tensor in program.grids:
        steps = np.abs(found[tensor] - expected[tensor])
        assert steps.max() <= 1, tensor
        assert steps.mean() < 0.02, tensor


def test_the_exported_qkeras_model_computes_the_network_s_values(aligned):
    network, x = aligned
    config = configured(network, 3)
    network.set_config(config)
    np.testing.assert_allclose(
        np.asarray(qkeras_model(network, config)(x)), np.asarray(network.model(x)), rtol=1e-4, atol=1e-5
    )


def dense(weights, biases, **menus):
    inputs = Input((len(weights),), name="input")
    model = keras.Model(inputs, layers.Dense(len(biases), name="dense")(inputs), name="one")
    model.set_weights([np.float32(weights), np.float32(biases)])
    x = inputs_of(model, 64)
    menus = {"kernel": bits(8), "bias": bits(16, alpha="aligned"), "activation": bits(8), **menus}
    return ElasticNetwork(model, Space(**menus), x), x


@pytest.mark.parametrize("alpha", ["auto", "auto_po2"])
@pytest.mark.parametrize("width", [16, 32])
def test_a_bias_that_wouldn_t_fit_raises_its_kernel_s_scale(alpha, width):
    """As pruning leaves them: channels whose weights are next to zero, so that their units are as well."""
    kernel = np.random.default_rng(0).normal(0, 1, (6, 3))
    kernel[:, 1] *= 1e-4
    kernel[:, 2] *= 1e-25
    bias = [0.5, -0.7, 0.2]
    network, _ = dense(kernel, bias, bias=bits(width, alpha="aligned"), kernel=bits(8, alpha=alpha))
    config = network.space.uniform(8)
    network.set_config(config)
    found = weight_codes_of(network, config)
    units = found["dense/kernel"].scale.reshape(-1) * np.asarray(network.quantizer("input/activation").step())
    np.testing.assert_array_equal(found["dense/bias"].scale, units)
    assert np.all(np.abs(found["dense/bias"].values - bias) <= units * 0.5 + 1e-6 * np.abs(bias))
    assert np.abs(found["dense/bias"].codes).max() <= min(2 ** (width - 1) - 1, 2**30)
    if alpha == "auto_po2":
        assert np.all(np.log2(found["dense/kernel"].scale) % 1 == 0)
    free = Config({**config, "dense/bias": QuantizerSpec(16)})
    plain, _ = dense(kernel, bias, bias=bits(16), kernel=bits(8, alpha=alpha))
    plain.set_config(free)
    first = weight_codes_of(plain, free)["dense/kernel"]
    np.testing.assert_array_equal(found["dense/kernel"].codes[:, 0], first.codes[:, 0])


def test_where_kernel_or_input_are_float_an_aligned_bias_is_too():
    network, x = dense(np.random.default_rng(0).normal(0, 1, (6, 3)), [0.5, -0.7, 0.2])
    bias = network.quantizer("dense/bias")
    encoded = {site: network.quantizer(site).spec for site in network.space.sites}
    reference = np.asarray(network.float_model(x))
    for left_out in (["dense/kernel", "dense/activation"], ["input/activation", "dense/activation"]):
        network.set_config(network.space.uniform(8))
        for site in (*left_out, "input/activation", "dense/kernel"):
            encoded[site].assign([0, 0])
        assert int(bias.spec[0]) == 16
        np.testing.assert_allclose(np.asarray(network.model(x)), reference, rtol=1e-6, atol=1e-6)


def test_in_training_the_unit_follows_the_range(small_model, small_samples):
    network = aligned_network(small_model, "auto")
    config = configured(network, 0)
    before = weight_codes_of(network, config)
    model = network.model
    model.compile("sgd", "mse")
    y = np.asarray(model(small_samples))
    model.fit(4 * small_samples, y, batch_size=16, epochs=1, verbose=0)
    after = weight_codes_of(network, config)
    program = program_of(network, config)
    for site, operation in biased(network, program).items():
        assert not np.array_equal(before[site].scale, after[site].scale)
        unit = np.float32(program.grid(operation.inputs[0]).scale) * operation.kernel.scale.reshape(-1)
        np.testing.assert_array_equal(operation.bias.scale, unit)


def test_menus_may_hold_other_scale_modes_as_well():
    kernel, bias = np.random.default_rng(0).normal(0, 1, (6, 3)), [0.5, -0.7, 0.2]
    mixed, x = dense(kernel, bias, bias=bits(16, alpha=["auto", "aligned"]))
    for alpha in ("auto", "aligned"):
        config = Config({**mixed.space.uniform(8), "dense/bias": QuantizerSpec(16, Alpha(alpha))})
        alone, _ = dense(kernel, bias, bias=bits(16, alpha=alpha))
        for network in (mixed, alone):
            network.set_config(config)
        for site, codes in weight_codes_of(alone, config).items():
            found = weight_codes_of(mixed, config)[site]
            np.testing.assert_array_equal(found.codes, codes.codes)
            np.testing.assert_array_equal(found.scale, codes.scale)
        np.testing.assert_array_equal(np.asarray(mixed.model(x)), np.asarray(alone.model(x)))


@pytest.mark.parametrize(
    ("menus", "said"),
    [
        ({"kernel": bits(8, 16)}, "can be aligned with 16 bits, but products .* have up to 24"),
        ({"kernel": None}, "`dense/kernel` stays float"),
        ({"activation": None}, "`input/activation` stays float"),
        ({"activation": bits(8, range="batch")}, "another scale in each batch"),
        ({"kernel": bits(8, alpha="aligned")}, "`dense/kernel`: .aligned. is for biases"),
        ({"activation": bits(8, alpha="aligned")}, "`input/activation`: .aligned. is for biases"),
    ],
)
def test_spaces_without_a_unit_are_refused(menus, said):
    with pytest.raises(SpaceError, match=said):
        dense(np.ones((6, 3)), np.ones(3), **menus)


def test_a_layer_applied_to_two_feature_maps_has_no_one_unit():
    first, second = Input((4,), name="first"), Input((4,), name="second")
    shared = layers.Dense(4, name="shared")
    model = keras.Model([first, second], layers.Add(name="sum")([shared(first), shared(second)]))
    with pytest.raises(SpaceError, match="no one kernel"):
        ElasticNetwork(
            model, Space(kernel=bits(8), bias=bits(16, alpha="aligned"), activation=bits(8)), [np.ones((8, 4))] * 2
        )


def test_depthwise_channels_share_the_scale_of_their_input_channel():
    inputs = Input((6, 6, 3), name="input")
    model = randomise(
        keras.Model(inputs, layers.DepthwiseConv2D(3, depth_multiplier=2, name="dw")(inputs), name="multiplied")
    )
    network = aligned_network(model, "auto", widths=(8,))
    config = configured(network, 0)
    found = weight_codes_of(network, config)
    units = np.repeat(found["dw/kernel"].scale.reshape(-1), 2) * np.asarray(
        network.quantizer("input/activation").step()
    )
    np.testing.assert_array_equal(found["dw/bias"].scale, units)
    x = inputs_of(model, 16)
    program = program_of(network, config)
    steps = np.abs(execute(program, [x])["dw"] - network_codes(network, program, x)["dw"])
    assert steps.max() <= 1
    assert steps.mean() < 0.01
