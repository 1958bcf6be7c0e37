"""Bit costs against the published configurations, to the bit, from model and config."""

import json

import keras
import numpy as np
import pytest

from mpsearch import facts_of, models
from mpsearch.config import Config, QuantizerSpec, Role
from mpsearch.costs.bits import BitCost, ReferenceBits
from mpsearch.errors import ConfigError, SpaceError
from mpsearch.objective import ForgivingFactor


@pytest.fixture(scope="module")
def golden(shared):
    return json.loads((shared / "golden" / "forgiving_bits.json").read_text())


@pytest.mark.parametrize(
    ("case", "build"), [("ds_cnn", lambda: models.ds_cnn(softmax=False)), ("fc_autoencoder", models.fc_autoencoder)]
)
def test_published_configurations_come_out_to_the_bit(golden, case, build):
    facts, published = facts_of(build()), golden["cases"][case]
    widths = iter([a["bits"] for a in published["activations"]])
    layers = iter(published["layers"])
    specs, layer = {}, {}
    for site in facts.sites:
        if site.role is Role.KERNEL:
            layer = next(layers)
        width = next(widths) if site.role is Role.ACTIVATION else layer[f"{site.role.value}_bits"]
        specs[site.name] = QuantizerSpec(width, "auto_po2")
    cost = BitCost(facts)
    trial, reference, expected = cost(Config(specs)), cost.reference_cost, published["expected"]
    assert trial.activation_bits == expected["activation_bits"]
    assert trial.parameter_bits == expected["parameter_bits"]
    assert trial.total_bits == expected["trial_size"]
    assert reference.activation_bits == expected["reference_activation_bits"]
    assert reference.parameter_bits == expected["reference_parameter_bits"]
    assert reference.total_bits == expected["reference_size"]
    delta = ForgivingFactor().delta(trial.total_bits, reference.total_bits)
    assert round(delta * 100, 2) == expected["delta_percent"]


def test_published_reference_of_mobilenet_v2_comes_out_to_the_bit(golden):
    facts = facts_of(models.mbv2(), requantize_merge_inputs=True)
    expected = golden["cases"]["mobilenet_v2"]["expected"]
    reference = BitCost(facts).reference_cost
    assert reference.parameter_bits == expected["reference_parameter_bits"]
    assert reference.activation_bits == expected["reference_activation_bits"]
    assert reference.total_bits == expected["reference_size"]
    assert [len(list(facts.of(role))) for role in Role] == [54, 54, 76]
    published = expected["published_trial"]
    delta = ForgivingFactor().delta(published["trial_size"], reference.total_bits)
    assert round(delta * 100, 2) == published["delta_percent"]


@pytest.fixture(scope="module")
def dense():
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(2, name="dense"), keras.layers.Softmax(name="soft")][:2]
    )
    return facts_of(model)


def test_hand_computed_case_with_other_reference_widths(dense):
    spec = {"input": QuantizerSpec(8), "kernel": QuantizerSpec(4), "bias": QuantizerSpec(16)}
    names = [site.name for site in dense.sites]
    config = Config(dict(zip(names, [spec["input"], spec["kernel"], spec["bias"], QuantizerSpec(2)], strict=True)))
    cost = BitCost(dense, ReferenceBits(kernel=8, bias=32, activation=4, input=1))
    assert cost(config).parameter_bits == 3 * 2 * 4 + 2 * 16
    assert cost(config).activation_bits == 3 * 8 + 2 * 2 + 3 * 1
    assert cost.reference_cost.total_bits == 6 * 8 + 2 * 32 + 5 * 4 + 3


def test_reference_widths_of_some_sites(dense):
    reference = ReferenceBits(at={"*": {"activation": 8}, "Dense": {"activation": 4, "bias": 16}})
    assert list(reference.widths(dense).values()) == [8, 16, 16, 4]
    assert BitCost(dense, reference).reference_cost.total_bits == 3 * 8 + 6 * 16 + 2 * 16 + 2 * 4 + 3 * 8
    with pytest.raises(SpaceError, match=r'ReferenceBits: at\("dnse", kernel=8\) matches no layer .* mean `dense`'):
        BitCost(dense, ReferenceBits(at={"dnse": {"kernel": 8}}))


def test_a_site_left_in_float_counts_32_bits(dense):
    cost = BitCost(dense)
    assert cost(Config({})).total_bits == (3 + 6 + 2 + 2) * 32 + 3 * 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": -3}, "`kernel` must be an integer from 1 to 32 bits, but ReferenceBits got -3"),
        ({"bias": 0}, "`bias` must be an integer from 1"),
        ({"activation": 33}, "`activation` must be .* got 33"),
        ({"input": -1}, "`input` must be an integer from 0"),
        ({"output": 8.0}, "`output` must be .* got 8.0"),
        ({"kernel": True}, "`kernel` must be .* got True"),
        ({"at": {"dense": {"kernel": 0}}}, r'`at\("dense"\) kernel` must be an integer from 1 to 32'),
        ({"at": {"dense": {"kernels": 8}}}, r'at\("dense"\) needs widths by role .* but got .*kernels'),
        ({"at": {"dense": 8}}, r'at\("dense"\) needs widths by role .* but got 8'),
    ],
)
def test_reference_widths_that_cannot_be_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        ReferenceBits(**options)


def test_unknown_sites_and_wrong_shapes_are_refused(dense):
    with pytest.raises(ConfigError, match="doesn't have: \\['other/kernel'\\]"):
        BitCost(dense)(Config({"other/kernel": QuantizerSpec(8)}))
    with pytest.raises(ConfigError, match=r"shape \(configs, 4\), but got \(1, 3\)"):
        BitCost(dense).batch(np.zeros((1, 3)))


def test_batched_costs_equal_single_ones_and_more_bits_never_cost_less():
    facts = facts_of(models.resnet8())
    cost, rng = BitCost(facts), np.random.default_rng(0)
    widths = rng.choice([4, 8, 16], (50, len(facts.sites)))
    parameters, activations = cost.batch(widths)
    for row, p, a in zip(widths, parameters, activations, strict=True):
        config = Config({site.name: QuantizerSpec(int(width)) for site, width in zip(facts.sites, row, strict=True)})
        assert (cost(config).parameter_bits, cost(config).activation_bits) == (p, a)
    wider = widths + rng.integers(0, 3, widths.shape)
    more_parameters, more_activations = cost.batch(wider)
    assert (more_parameters >= parameters).all()
    assert (more_activations >= activations).all()
