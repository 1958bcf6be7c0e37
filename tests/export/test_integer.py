"""The integer reference against the network in float32, the network in float64, and exact fractions."""

import dataclasses
from fractions import Fraction

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import Input, layers

from mpsearch.config import Config
from mpsearch.errors import ExportError
from mpsearch.export.aligned_biases import with_aligned_biases
from mpsearch.export.building import program_of
from mpsearch.export.integer import (
    accumulators,
    execute,
    outputs_of,
    round_shift,
)
from mpsearch.export.lookup import thresholds
from mpsearch.menu import bits
from mpsearch.network.adapters import adapter_of
from mpsearch.network.canonical import copied
from mpsearch.network.codes import weight_codes_of
from mpsearch.network.elastic import ElasticNetwork
from mpsearch.network.graph import submodel
from mpsearch.network.sites import with_quantizers
from mpsearch.space import Space
from tests.export.models import MODELS, configured, inputs_of, network_codes, network_of


@pytest.fixture(scope="module", params=MODELS)
def po2(request):
    model = MODELS[request.param]()
    return network_of(model, "auto_po2"), inputs_of(model, 48, seed=2)


@pytest.mark.parametrize("seed", range(2))
def test_with_powers_of_two_codes_are_the_networks_where_float32_is_exact(po2, seed):
    network, x = po2
    program = program_of(network, configured(network, seed))
    expected = network_codes(network, program, x)
    found = execute(program, [x], expected)  # each operation is given the network's own codes
    facts = accumulators(program)
    assert {fact.tensor for fact in facts} == set(program.grids) - set(quantized_inputs(program))
    exact = [fact.tensor for fact in facts if fact.exact]
    assert len(exact) >= 2
    for tensor in exact:
        np.testing.assert_array_equal(found[tensor], expected[tensor], err_msg=tensor)
    for tensor in program.grids:  # float32 rounds elsewhere: by one code, seldom
        steps = np.abs(found[tensor] - expected[tensor])
        assert steps.max() <= 1, tensor
        assert steps.mean() < 0.05, tensor


@pytest.mark.parametrize("seed", range(2))
def test_with_powers_of_two_codes_are_those_of_float64_everywhere(po2, seed):
    network, x = po2
    config = configured(network, seed)
    program = program_of(network, config)
    found = execute(program, [x])
    for tensor, values in in_float64(network, config, program, x).items():
        np.testing.assert_array_equal(found[tensor], values, err_msg=tensor)


def quantized_inputs(program):
    tensors = set(program.inputs)
    for operation in program.operations:  # a change of unit belongs to the input
        if operation.kind == "function" and set(operation.inputs) <= tensors - set(program.grids):
            tensors.add(operation.name)
    return tensors & set(program.grids)


class Rounded(keras.layers.Layer):
    """Divides, rounds half to even, clips: in float64."""

    def __init__(self, grid, **kwargs):
        super().__init__(dtype="float64", **kwargs)
        self.grid = grid

    def call(self, x):
        codes = keras.ops.round(x / self.grid.scale)
        return keras.ops.clip(codes, self.grid.low, self.grid.high) * self.grid.scale


def in_float64(network, config, program, x):
    """Codes of a network made of Keras's layers in float64."""
    placed = {}
    tensors = {site: tensor for tensor, site in program.sites.items()}
    weights = weight_codes_of(network, config)

    def feature_map(site, tensor):
        if site not in config:
            return tensor
        placed[site] = Rounded(program.grids[tensors[site]], name=site.replace("/", "__"))(tensor)
        return placed[site]

    made = with_quantizers(
        network.placement, feature_map, lambda node: copied(node.layer, node.layer_name, dtype="float64")
    )
    for node in network.placement.graph.nodes:
        layer = node.layer
        if not isinstance(layer, keras.layers.Layer) or not layer.weights:
            continue
        values = {id(variable): np.array(variable, np.float64) for variable in layer.weights}
        for weight in adapter_of(layer).weights:
            variable, site = weight.of(layer), f"{node.layer_name}/{weight.name}"
            if variable is not None and site in weights:
                values[id(variable)] = weights[site].codes * weights[site].scale.astype(np.float64)
        made.get_layer(node.layer_name).set_weights([values[id(variable)] for variable in layer.weights])
    found = submodel(made, list(placed.values()))(x.astype(np.float64), training=False)
    return {
        tensors[site]: np.round(np.asarray(value) / program.grids[tensors[site]].scale).astype(np.int64)
        for site, value in zip(placed, found, strict=True)
    }


def test_with_any_scales_the_same_is_decided(tiny_engine):
    import random

    config = tiny_engine.network.space.sample(random.Random(3))
    tiny_engine.network.load_state(tiny_engine.train(config, seed=0).state)
    program = program_of(tiny_engine.network, config)
    x = tiny_engine.data.inputs(tiny_engine.data.train.head(1000).x)
    ours = np.asarray(tiny_engine.network.model(x, training=False))
    (found,) = outputs_of(program, execute(program, [x]))
    assert len(x) >= 200
    assert np.mean(found.argmax(-1) == ours.argmax(-1)) >= 0.999
    np.testing.assert_allclose(found, ours, atol=0.05)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("seed", range(2))
def test_with_any_scales_codes_differ_by_one_at_most_and_seldom(name, seed):
    model = MODELS[name]()
    network, x = network_of(model, "auto"), inputs_of(model, 48, seed=2)
    program = program_of(network, configured(network, seed))
    expected = network_codes(network, program, x)
    found = execute(program, [x], expected)
    for tensor in program.grids:
        steps = np.abs(found[tensor] - expected[tensor])
        assert steps.max() <= 1, tensor
        assert steps.mean() < 0.05, tensor


def test_resnet8_decides_on_cifar10_as_the_network_does(shared):
    from mpsearch.export.integer import Accumulator
    from mpsearch.spacefile import find_space_file, load_space_file

    file = load_space_file(find_space_file("resnet8"))
    data = file.task.data()
    model = file.task.build()
    model.load_weights(shared / "models" / "resnet8_cifar10jpeg.h5")
    x = data.inputs(data.validation.spread(256).x)
    for alpha in ("auto", "auto_po2"):
        space = Space(kernel=bits(4, 8, alpha=alpha), bias=bits(16), activation=bits(8, alpha=alpha))
        network = ElasticNetwork(model, space.skip("softmax"), x)
        config = network.space.uniform(8)
        network.set_config(config)
        program = program_of(network, config)
        ours = network.model.predict(x, verbose=0)
        (found,) = outputs_of(program, execute(program, [x]))
        assert np.mean(found.argmax(-1) == ours.argmax(-1)) >= 0.999
        widths = accumulators(program)
        assert all(isinstance(fact, Accumulator) for fact in widths)
        assert max(fact.bits for fact in widths) <= 25  # 8 + 8 bits and up to 576 products


def test_averages_round_as_fractions_do():
    inputs = Input((5, 7, 3), name="input")
    x = layers.AveragePooling2D(3, strides=2, padding="same", name="pool")(inputs)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    model = keras.Model(inputs, x, name="averages")
    space = Space(activation=bits(8, integer=2, signed=True)).at("pool", activation=bits(10, integer=1, signed=True))
    x = inputs_of(model, 8)
    network = ElasticNetwork(model, space, x)
    config = network.space.uniform(8)
    network.set_config(config)
    program = program_of(network, config)
    found = execute(program, [x])

    def rounded(total, count, source, target):
        exact = (
            Fraction(int(total)) * Fraction(program.grids[source].scale) / count / Fraction(program.grids[target].scale)
        )
        return min(max(round(exact), program.grids[target].low), program.grids[target].high)

    for sample, channel in np.ndindex(8, 3):
        codes = found["input"][sample, ..., channel]
        for row, column in np.ndindex(3, 4):
            window = codes[max(2 * row - 1, 0) : 2 * row + 2, max(2 * column - 1, 0) : 2 * column + 2]
            expected = rounded(window.sum(), window.size, "input", "pool")
            assert found["pool"][sample, row, column, channel] == expected
        pooled = found["pool"][sample, ..., channel]
        assert found["mean"][sample, channel] == rounded(pooled.sum(), pooled.size, "pool", "mean")


@given(st.integers(-(2**61), 2**61), st.integers(0, 60))
def test_shifts_round_half_to_even(number, shift):
    assert round_shift(number, shift) == round(Fraction(number, 2**shift))
    assert int(round_shift(np.array([number], np.int64), shift)[0]) == round(Fraction(number, 2**shift))


def test_a_table_of_thresholds_gives_what_the_function_gives():
    def code(totals):
        return np.round(40 / (1 + np.exp(-totals / 100.0))).astype(np.int64)

    totals = np.arange(-900, 901)
    table, first = thresholds(code, -900, 900)
    assert len(table) == 40
    np.testing.assert_array_equal(first + np.searchsorted(table, totals, side="right"), code(totals))


def test_codes_too_wide_for_int64_are_computed_exactly():
    inputs = Input((64,), name="input")
    model = keras.Model(inputs, layers.Dense(4, name="dense")(inputs), name="wide")
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 1, (64, 4)), rng.normal(0, 1, 4)])
    space = Space(
        kernel=bits(32, alpha="auto_po2"), bias=bits(32, alpha="auto_po2"), activation=bits(32, alpha="auto_po2")
    )
    x = inputs_of(model, 4)
    network = ElasticNetwork(model, space, x)
    config = network.space.uniform(32)
    network.set_config(config)
    program = program_of(network, config)
    (operation,) = program.operations
    found = execute(program, [x])
    unit = Fraction(program.grids["input"].scale)
    target = program.grids["dense"]
    assert accumulators(program)[0].bits > 63
    for sample, channel in np.ndindex(4, 4):
        products = zip(found["input"][sample], operation.kernel.codes[:, channel], strict=True)
        total = sum(int(a) * int(w) for a, w in products) * unit * Fraction(float(operation.kernel.scale[0, channel]))
        total += int(operation.bias.codes[channel]) * Fraction(float(operation.bias.scale.ravel()[0]))
        expected = min(max(round(total / Fraction(target.scale)), target.low), target.high)
        assert found["dense"][sample, channel] == expected


def test_no_input_makes_a_sum_that_an_accumulator_does_not_hold():
    model = MODELS["plain"]()
    network = network_of(model, "auto_po2", widths=(4, 8))
    program = program_of(network, configured(network, 0))
    for fact in accumulators(program):
        operation = program.by_name[fact.operation]
        if operation.kind != "dense":
            continue
        grid = program.grid(operation.inputs[0])
        largest = max(-grid.low, grid.high)
        worst = int(np.abs(operation.kernel.codes).sum(axis=0).max()) * largest  # codes with the kernel's signs
        assert 2 ** (fact.bits - 2) <= worst < 2 ** (fact.bits - 1)


def test_aligned_biases_are_in_the_unit_of_the_sums_and_change_little():
    model = MODELS["plain"]()
    network, x = network_of(model, "auto", widths=(8,), biases=(16,)), inputs_of(model, 64)
    program = program_of(network, configured(network, 0))
    aligned = with_aligned_biases(program)
    for before, after in zip(program.operations, aligned.operations, strict=True):
        if before.bias is None:
            assert after is before
            continue
        unit = program.grid(before.inputs[0]).scale * before.kernel.scale.astype(np.float64).ravel()
        np.testing.assert_allclose(after.bias.scale, unit, rtol=1e-6)
        assert after.bias.bits == 32
        wanted = before.bias.codes * float(before.bias.scale.ravel()[0])
        assert np.all(np.abs(after.bias.codes * unit - wanted) <= unit * (0.5 + 1e-6))
    (first,), (second,) = (outputs_of(p, execute(p, [x])) for p in (program, aligned))
    assert np.mean(first.argmax(-1) == second.argmax(-1)) >= 0.98


def test_a_channel_whose_products_are_lost_beside_its_bias_gets_a_unit_of_its_own():
    """As pruning leaves them: a channel's weights are next to zero, so that its bias fits no integer of their unit."""
    inputs = Input((6,), name="input")
    model = keras.Model(inputs, layers.Dense(3, name="dense")(inputs), name="pruned")
    rng = np.random.default_rng(0)
    kernel = rng.normal(0, 1, (6, 3))
    kernel[:, 1] *= 1e-25
    model.set_weights([kernel, np.array([0.5, -0.7, 0.2])])
    x = inputs_of(model, 32)
    network = ElasticNetwork(model, Space(kernel=bits(8), bias=bits(16), activation=bits(8)), x)
    config = network.space.uniform(8)
    network.set_config(config)
    program = program_of(network, config)
    aligned = with_aligned_biases(program)
    (operation,) = aligned.operations
    assert operation.bias.bits == 32
    assert not operation.kernel.codes[:, 1].any()
    np.testing.assert_array_equal(operation.kernel.codes[:, [0, 2]], program.operations[0].kernel.codes[:, [0, 2]])
    stored = operation.bias.codes * operation.bias.scale.astype(np.float64)
    np.testing.assert_allclose(stored[1], -0.7, rtol=1e-4)
    found, expected = (execute(p, [x])["dense"] for p in (aligned, program))
    np.testing.assert_array_equal(found[:, 1], expected[:, 1])
    assert np.abs(found - expected).max() <= 1


def applied(*made, shape=(6, 6, 4), widths=(8,)):
    """A network of layers one behind the other, quantized, with its program and inputs."""
    x = inputs = Input(shape, name="input")
    for layer in made:
        x = layer(x)
    model = keras.Model(inputs, x, name="applied")
    x = inputs_of(model, 64)
    network = ElasticNetwork(model, Space(kernel=bits(8), bias=bits(16), activation=bits(*widths, alpha="auto_po2")), x)
    network.set_config(network.space.uniform(widths[0]))
    return network, program_of(network, network.space.uniform(widths[0])), x


@pytest.mark.parametrize("function", ["sigmoid", "silu", "tanh"])
@pytest.mark.parametrize("pool", ["global", "valid", "same"])
def test_functions_of_averages_are_looked_up(pool, function):
    layer = {
        "global": layers.GlobalAveragePooling2D(),
        "valid": layers.AveragePooling2D(3),
        "same": layers.AveragePooling2D(3, strides=2, padding="same"),
    }[pool]
    network, program, x = applied(layer, layers.Activation(function, name="function"))
    if pool == "same":  # windows at the border have fewer values
        with pytest.raises(ExportError, match="averages over a border"):
            execute(program, [x])
        return
    found, expected = execute(program, [x])["function"], network_codes(network, program, x)["function"]
    assert np.ptp(expected) > 20
    assert np.abs(found - expected).max() <= 1
    assert np.mean(found != expected) < 0.02


def test_no_function_that_falls_or_differs_by_channel_is_looked_up_wrongly():
    for falling in (layers.ReLU(negative_slope=0.1, threshold=1.0), layers.ELU(alpha=-0.5), layers.PReLU()):
        _, program, x = applied(layers.Conv2D(4, 1), falling)
        with pytest.raises(ExportError, match="no table of thresholds can hold"):
            execute(program, [x])


def test_a_constant_of_several_axes_is_added():
    inputs = Input((5, 4), name="input")
    constant = np.random.default_rng(0).normal(0, 1, (5, 4)).astype(np.float32)
    y = layers.Dense(4, name="dense")(inputs) + constant
    model = keras.Model(inputs, y, name="shifted")
    x = inputs_of(model, 16)
    network = ElasticNetwork(model, Space(kernel=bits(8), bias=bits(16), activation=bits(8)), x)
    network.set_config(network.space.uniform(8))
    program = program_of(network, network.space.uniform(8))
    expected = network_codes(network, program, x)
    for tensor, codes in execute(program, [x]).items():
        assert np.abs(codes - expected[tensor]).max() <= 1


def test_a_function_that_does_not_only_clip_is_not_called_exact():
    _, program, _ = applied(layers.MaxPooling2D(2), layers.Activation("sigmoid", name="function"))
    assert not any(fact.exact for fact in accumulators(program))


def test_what_stays_float_is_refused_by_name():
    model = MODELS["plain"]()
    space = Space(kernel=bits(8), bias=bits(16), activation=bits(8)).skip("dw")
    network = ElasticNetwork(model, space, inputs_of(model, 8))
    config = network.space.uniform(8)
    network.set_config(config)
    with pytest.raises(ExportError, match=r"`dw.*stays float"):
        execute(program_of(network, config), [inputs_of(model, 2)])
    with pytest.raises(ExportError, match="stays float"):
        execute(program_of(network, None), [inputs_of(model, 2)])


def test_ranges_of_each_batch_and_layers_of_no_program_are_refused(tiny_engine):
    network = tiny_engine.network
    config = network.space.uniform(8)
    site = "conv/activation"
    changed = Config({**config, site: dataclasses.replace(config[site], range="batch")})
    with pytest.raises(ExportError, match=site):
        program_of(network, changed)
    inputs = Input((6, 4), name="input")
    model = keras.Model(inputs, layers.LSTM(3, name="lstm")(inputs), name="recurrent")
    network = ElasticNetwork(model, Space(kernel=bits(8), bias=bits(16), activation=bits(8)), inputs_of(model, 8))
    network.set_config(network.space.uniform(8))
    with pytest.raises(ExportError, match=r"`lstm` \(LSTM\) .* --format keras"):
        program_of(network, network.space.uniform(8))
