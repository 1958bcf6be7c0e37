"""Energy, against QTools where that is right, and against the table by hand where it isn't."""

import math

import keras
import numpy as np
import pytest

from mpsearch import facts_of, models
from mpsearch.config import Config, QuantizerSpec, Role
from mpsearch.costs.energy import HOROWITZ, EnergyPj
from mpsearch.costs.specs import Specs
from mpsearch.errors import ConfigError
from tests.costs.nets import config, two_layers

KERNELS = {"conv": 4, "point": 8, "dense": 6}
MAPS = {"input": 8, "conv": 6, "point": 4, "dense": 8}


def network(use_bias):
    inputs = keras.Input((8, 8, 3), name="input")
    x = keras.layers.Conv2D(6, 3, activation="relu", use_bias=use_bias, name="conv")(inputs)
    x = keras.layers.Conv2D(5, 1, activation="relu", use_bias=use_bias, name="point")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    return keras.Model(inputs, keras.layers.Dense(4, activation="relu", use_bias=use_bias, name="dense")(x))


def quantized(use_bias):
    """The same in QKeras, with the widths above."""
    from qkeras import QActivation, QConv2D, QDense, quantized_bits, quantized_relu

    def options(name):
        bias = quantized_bits(16, 0, 1) if use_bias else None
        kernel = quantized_bits(KERNELS[name], 0, 1)
        return {"kernel_quantizer": kernel, "bias_quantizer": bias, "use_bias": use_bias, "name": name}

    inputs = keras.Input((8, 8, 3), name="input")
    x = QConv2D(6, 3, **options("conv"))(inputs)
    x = QActivation(quantized_relu(MAPS["conv"]), name="conv_relu")(x)
    x = QConv2D(5, 1, **options("point"))(x)
    x = QActivation(quantized_relu(MAPS["point"]), name="point_relu")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = QDense(4, **options("dense"))(x)
    return keras.Model(inputs, QActivation(quantized_relu(MAPS["dense"]), name="dense_relu")(x))


@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("weights", ["fixed", "sram", "dram"])
@pytest.mark.parametrize("activations", ["sram", "dram"])
@pytest.mark.parametrize("staged", [False, True])
def test_it_is_qtools_for_chains_of_convolutions_and_dense(use_bias, weights, activations, staged):
    from qkeras import quantized_bits
    from qkeras.qtools import run_qtools

    tools = run_qtools.QTools(quantized(use_bias), process="horowitz", source_quantizers=[quantized_bits(8, 0, 1)])
    theirs = tools.pe(weights, activations, min_sram_size=8 * 16, rd_wr_on_io=staged)
    facts = facts_of(network(use_bias))
    ours = EnergyPj(facts, weights, activations, least_sram=8 * 16, staged=staged)
    widths = {"kernel": KERNELS, "activation": MAPS, "bias": dict.fromkeys(KERNELS, 16)}
    specs = Specs.of(
        facts, [Config({s.name: QuantizerSpec(widths[s.role.value][s.layer], "auto_po2") for s in facts.sites})]
    )
    for operation in facts.operations:
        found = theirs[operation.name]["energy"]
        assert ours.parameters(specs, operation)[0] == pytest.approx(found["parameters"], abs=0.01)
        assert ours.reads(specs, operation)[0] == pytest.approx(found["inputs"], abs=0.01)
        written = theirs[f"{operation.name}_relu"]["energy"]["outputs"]
        assert ours.writes(specs, operation)[0] == pytest.approx(written, abs=0.01)
        if not use_bias:  # QTools makes accumulators as wide as the fraction of a bias is long
            assert ours.arithmetic(specs, operation)[0] == pytest.approx(found["op_cost"], abs=0.01), operation.name


def test_arithmetic_by_hand():
    facts = two_layers()
    mixed = Specs.of(facts, [config(facts, a__kernel=4, input__activation=6)])
    multiply = 0.002994791667 * 24 + 0.001041666667 * math.sqrt(24)
    # a product of 4 and 6 bits has 10, and 7 values are summed, the bias among them
    add = 0.003125 * (10 + 3)
    found = EnergyPj(facts).arithmetic(mixed, facts.operations[0])[0]
    assert found == pytest.approx(24 * (multiply + add))
    floats = Specs.of(facts, [Config({})])
    assert EnergyPj(facts).arithmetic(floats, facts.operations[0])[0] == pytest.approx(24 * (3.7 + 0.9))


def test_a_depthwise_convolution_sums_over_its_kernel_alone():
    inputs = keras.Input((6, 6, 64), name="input")
    facts = facts_of(keras.Model(inputs, keras.layers.DepthwiseConv2D(3, use_bias=False, name="dw")(inputs)))
    specs = Specs.of(facts, [Config({site.name: QuantizerSpec(8) for site in facts.sites})])
    multiply = float(np.polyval(HOROWITZ.multiply, 8))
    add = 0.003125 * (15 + math.ceil(math.log2(9)))  # 9 products, not 9 · 64
    assert EnergyPj(facts).arithmetic(specs, facts.operations[0])[0] == pytest.approx(4 * 4 * 64 * 9 * (multiply + add))


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.SeparableConv2D(4, 3, name="layer"),
        keras.layers.Conv2DTranspose(4, 3, name="layer"),
        keras.layers.BatchNormalization(name="layer"),
    ],
)
def test_layers_that_qtools_prices_at_nothing_have_a_price(layer):
    inputs = keras.Input((6, 6, 3), name="input")
    facts = facts_of(keras.Model(inputs, layer(inputs)))
    specs = Specs.of(facts, [Config({site.name: QuantizerSpec(8) for site in facts.sites})])
    cost = EnergyPj(facts)
    assert sum(cost.arithmetic(specs, operation)[0] for operation in facts.operations) > 0


def test_merges_add_or_multiply_each_value():
    inputs = keras.Input((6, 6, 4), name="input")
    x = keras.layers.Conv2D(4, 1, name="a")(inputs)
    y = keras.layers.Conv2D(4, 1, name="b")(inputs)
    facts = facts_of(
        keras.Model(inputs, [keras.layers.Add(name="sum")([x, y]), keras.layers.Multiply(name="m")([x, y])])
    )
    specs = Specs.of(facts, [Config({site.name: QuantizerSpec(8) for site in facts.sites})])
    by_name = {operation.name: operation for operation in facts.operations}
    assert EnergyPj(facts).arithmetic(specs, by_name["sum"])[0] == pytest.approx(144 * 0.003125 * 9)
    assert EnergyPj(facts).arithmetic(specs, by_name["m"])[0] == pytest.approx(144 * np.polyval(HOROWITZ.multiply, 8))


def test_rescaling_by_shifts_is_cheaper_than_by_multiplications():
    facts = facts_of(models.resnet8())
    cost = EnergyPj(facts)
    free = Specs.of(facts, [Config({site.name: QuantizerSpec(8) for site in facts.sites})])
    po2 = Specs.of(facts, [Config({site.name: QuantizerSpec(8, "auto_po2") for site in facts.sites})])
    operation = facts.operations[0]
    values = 32 * 32 * 16
    assert cost.rescaling(free, operation)[0] == pytest.approx(values * float(np.polyval(HOROWITZ.multiply, 32)))
    assert cost.rescaling(po2, operation)[0] == pytest.approx(values * 0.003125 * 32)
    assert float(np.polyval(HOROWITZ.multiply, 32)) == pytest.approx(3.1, abs=0.01), "Horowitz's 32-bit multiplication"
    assert float(np.polyval(HOROWITZ.add, 32)) == pytest.approx(0.1), "and addition"
    assert (cost.batch(free) - cost.batch(po2))[0] > 0
    assert sum(site.role is Role.KERNEL for site in facts.sites) == 10


def test_a_place_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match="`weights` must be kept in fixed, sram, dram, but got 'flash'"):
        EnergyPj(two_layers(), weights="flash")
