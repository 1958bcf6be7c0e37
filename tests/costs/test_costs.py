"""Costs: cases computed by hand, brute force on random networks, and properties that hold for all."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpsearch import facts_of, models
from mpsearch.config import Config, QuantizerSpec, Role
from mpsearch.costs.accounting import made_of
from mpsearch.costs.flash import FlashBytes
from mpsearch.costs.products import AccumulatorBits, Bops, Ebops, Macs
from mpsearch.costs.profile import load_profile
from mpsearch.costs.ram import RamBytes
from mpsearch.costs.registry import Device, cost_names, make_cost, register_cost
from mpsearch.costs.rescaling import RescalingMultiplications
from mpsearch.costs.sizes import NAMED
from mpsearch.costs.specs import Specs
from mpsearch.errors import ConfigError
from tests.costs.nets import config, random_config, random_net, two_layers

FACTS = two_layers()
DEVICE = Device(load_profile("stm32h7b3"))
SEEDS = st.integers(0, 2**32 - 1)


def test_flash_by_hand():
    cost = FlashBytes(FACTS)
    # kernels 24 and 12 bytes with 4 and 3 scales, 4 biases of two bytes with one, three feature maps with one each
    assert cost(config(FACTS)) == 24 + 16 + 12 + 12 + 8 + 4 + 3 * 4
    assert cost(config(FACTS, a__kernel=4)) == cost(config(FACTS)) - 12
    assert cost(config(FACTS, a__kernel=3)) == cost(config(FACTS, a__kernel=2)) == cost(config(FACTS, a__kernel=4))
    assert cost(config(FACTS, a__kernel=9)) == cost(config(FACTS, a__kernel=16)) == cost(config(FACTS)) + 24
    assert cost(config(FACTS, a__bias=16)) == cost(config(FACTS))
    assert cost(config(FACTS, a__bias=31)) == cost(config(FACTS)) + 8
    assert cost(config(FACTS, a__activation=2)) == cost(config(FACTS))
    assert cost(Config({})) == 4 * (24 + 4 + 12), "floats have no scales"
    odd = replace(FACTS, sites=(replace(FACTS.sites[1], shape=(5, 1), scales=1),), tensors=(), operations=())
    assert FlashBytes(odd)(Config({"a/kernel": QuantizerSpec(4)})) == 3 + 4, "five codes of half a byte"
    affine = Config({**config(FACTS), "b/activation": QuantizerSpec(16, affine=True)})
    assert cost(affine) == cost(config(FACTS)) + 2, "a zero-point of 16 bits"


def test_ram_by_hand():
    cost = RamBytes(FACTS)
    # input and a are there at once, then a and b, then b, over which its float softmax of 12 bytes is written
    assert cost.parts(Specs.of(FACTS, [config(FACTS)]))[1].tolist() == [[10.0, 7.0, 12.0]]
    wide = config(FACTS, b__activation=32)
    assert cost.parts(Specs.of(FACTS, [wide]))[1].tolist() == [[10.0, 16.0, 12.0]]
    assert cost(config(FACTS, input__activation=3, a__activation=3)) == 12
    three = config(FACTS, input__activation=3, a__activation=3, b__activation=32)
    assert cost.parts(Specs.of(FACTS, [three]))[1].tolist() == [[3 + 2, 2 + 12, 12]], "18 and 12 bits, packed"
    assert RamBytes(FACTS, packed=False).parts(Specs.of(FACTS, [three]))[1].tolist() == [[10, 16, 12]]


def largest_by_brute_force(facts, chosen):
    """Bytes in memory at once, by walking through the network and asking of each tensor whether it is needed."""
    bits = {t.name: t.elements * (chosen[t.sites[0]].bits if t.sites else 32) for t in facts.tensors}
    size = {name: math.ceil(b / 8) for name, b in bits.items()}
    made = {name for operation in facts.operations for name in operation.outputs}
    there, largest = {name for name in size if name not in made}, 0
    for step, operation in enumerate(facts.operations):
        later = {name for other in facts.operations[step + 1 :] for name in other.inputs} | set(facts.outputs)
        there |= set(operation.outputs)
        total = sum(size[name] for name in there)
        free = [size[name] for name in operation.inputs if name not in later]
        if operation.in_place and free:
            total -= min(max(free), size[operation.outputs[0]])
        largest = max(largest, total)
        there = {name for name in there if name in later}
    return largest


@settings(max_examples=200)
@given(SEEDS, SEEDS)
def test_ram_is_what_brute_force_finds(seed, drawn):
    facts = random_net(seed)
    chosen = random_config(facts, drawn)
    assert RamBytes(facts)(chosen) == largest_by_brute_force(facts, chosen)


def test_work_by_hand():
    mixed = config(FACTS, a__kernel=4, input__activation=2, b__kernel=16)
    assert Macs(FACTS)(mixed) == 36
    assert Ebops(FACTS)(mixed) == 24 * 4 * 2 + 12 * 16 * 8
    assert Bops(FACTS)(mixed) == pytest.approx(24 * (8 + 4 + 2 + math.log2(6)) + 12 * (128 + 16 + 8 + 2))
    assert Ebops(FACTS)(Config({})) == 36 * 32 * 32


def test_accumulators_by_hand():
    cost = AccumulatorBits(FACTS)
    # 6 · 127 · 255 = 194,310 needs 18 bits and a sign; 4 · 127 · 255 = 129,540 needs 17
    assert cost.parts(Specs.of(FACTS, [config(FACTS)]))[1].tolist() == [[19.0, 18.0, 0.0]]
    signed = Config({**config(FACTS), "input/activation": QuantizerSpec(8, signed=True)})
    assert cost.parts(Specs.of(FACTS, [signed]))[1][0, 0] == 18.0  # 6 · 127 · 127 = 96,774
    affine = Config({**config(FACTS), "input/activation": QuantizerSpec(8, affine=True)})
    assert cost(affine) == 19.0
    assert cost(Config({})) == 32.0


@given(st.integers(2, 8), st.integers(2, 8), st.integers(1, 40))
def test_an_accumulator_holds_the_largest_sum_and_not_much_more(kernel, operand, fan_in):
    facts = two_layers()
    product = replace(facts.operations[0].products[0], fan_in=fan_in)
    facts = replace(facts, operations=(replace(facts.operations[0], products=(product,)),))
    bits = int(AccumulatorBits(facts)(config(facts, a__kernel=kernel, input__activation=operand)))
    largest = fan_in * (2 ** (kernel - 1) - 1) * (2**operand - 1)
    assert 2 ** (bits - 2) - 1 < largest <= 2 ** (bits - 1) - 1


def test_rescaling_by_hand():
    cost = RescalingMultiplications(FACTS)
    assert cost(config(FACTS)) == 4 + 3
    po2 = config(FACTS, alpha="auto_po2")
    assert cost(po2) == 0
    assert cost(Config({**po2, "b/kernel": QuantizerSpec(8)})) == 3
    assert cost(Config({**po2, "a/activation": QuantizerSpec(8)})) == 7, "a layer writes it, the next one reads it"
    assert cost(Config({**po2, "input/activation": QuantizerSpec(8)})) == 4
    assert cost(Config({**po2, "a/bias": QuantizerSpec(8)})) == 0, "biases are brought to the sums' scale beforehand"
    fixed = Config({site.name: QuantizerSpec(8, "fixed", 0) for site in FACTS.sites})
    assert cost(fixed) == 0


def test_a_merge_rescales_each_input():
    facts = facts_of(models.resnet8(), nonnegative_inputs=True)
    every = Config({site.name: QuantizerSpec(8) for site in facts.sites})
    po2 = Config({site.name: QuantizerSpec(8, "auto_po2") for site in facts.sites})
    cost = RescalingMultiplications(facts)
    elements = {tensor.name: tensor.elements for tensor in facts.tensors}
    computed = [t for t in elements if t not in ("input", "softmax")]
    merges = ["add", "add_1", "add_2"]
    assert cost(every) == sum(elements[name] for name in computed + merges)
    assert cost(po2) == 0


COSTS = cost_names()


def costs_of(facts):
    return {name: make_cost(name, facts, DEVICE) for name in COSTS}


@pytest.fixture(scope="module", params=["resnet8", "mbv2", "mobilenetv3large"])
def real(request):
    facts = facts_of(getattr(models, request.param)(), nonnegative_inputs=True, requantize_merge_inputs=True)
    return facts, costs_of(facts)


def test_batches_are_single_configs(real):
    facts, costs = real
    configs = [random_config(facts, seed) for seed in range(5)] + [Config({})]
    specs = Specs.of(facts, configs)
    for name, cost in costs.items():
        found = cost.batch(specs)
        assert found.dtype == np.float64
        assert found.tolist() == [cost(chosen) for chosen in configs], name


def test_units_are_known_without_the_costs(real):
    _, costs = real
    assert {name: cost.unit for name, cost in costs.items()} == {n: u for n, u in NAMED.items() if n != "total_bits"}


def test_parts_add_up_or_the_largest_counts(real):
    facts, costs = real
    specs = Specs.of(facts, [random_config(facts, seed) for seed in range(3)])
    for name, cost in costs.items():
        parts = cost.parts(specs)
        if parts is not None:
            whole = parts[1].max(axis=1) if cost.is_maximum else parts[1].sum(axis=1)
            assert whole == pytest.approx(cost.batch(specs), rel=1e-12), name
            assert parts[1].shape == (3, len(parts[0]))


@settings(max_examples=15)
@given(seed=SEEDS)
def test_more_bits_never_cost_less(real, seed):
    facts, costs = real
    rng = np.random.default_rng(seed)
    low = random_config(facts, seed)
    raised = {
        site: replace(spec, bits=min(spec.bits + int(rng.integers(0, 5)), 16)) if rng.integers(2) else spec
        for site, spec in low.items()
    }
    specs = Specs.of(facts, [low, Config(raised)])
    for name, cost in costs.items():
        if cost.falls_with_widths:
            continue
        less, more = cost.batch(specs)
        # an output that needs more bytes than its dying input has no place in it any more: never less either
        assert more >= less * (1 - 1e-12), name


@settings(max_examples=15)
@given(seed=SEEDS)
def test_powers_of_two_never_cost_more(real, seed):
    facts, costs = real
    free = random_config(facts, seed)
    po2 = Config({site: replace(spec, alpha="auto_po2") for site, spec in free.items()})
    specs = Specs.of(facts, [po2, free])
    for name, cost in costs.items():
        less, more = cost.batch(specs)
        assert less <= more, name
        if name in ("rescaling", "energy"):
            assert less < more, name


def test_what_costs_are_made_of_is_said():
    rows = made_of(make_cost("flash", FACTS), config(FACTS), 2)
    assert rows == [("a/kernel", 40.0), ("b/kernel", 24.0)]
    assert made_of(make_cost("bits", FACTS), config(FACTS), 2) == [("a/kernel", 192.0), ("b/kernel", 96.0)]
    assert made_of(make_cost("activation_bits", FACTS), Config({}), 1) == [("input/activation", 192.0)]


def test_a_users_cost_is_known_by_its_name():
    def narrowest(facts, config):
        return min(spec.bits for spec in config.values())

    assert register_cost("narrowest", narrowest, "bits") is narrowest
    cost = make_cost("narrowest", FACTS)
    assert cost(config(FACTS, a__kernel=3)) == 3.0
    assert cost.batch(Specs.of(FACTS, [config(FACTS), config(FACTS, b__kernel=2)])).tolist() == [8.0, 2.0]
    assert (cost.name, cost.unit) == ("narrowest", "bits")
    register_cost("broken", lambda facts, config: 1 / 0)
    with pytest.raises(ConfigError, match="the cost 'broken' failed: ZeroDivisionError"):
        make_cost("broken", FACTS)(config(FACTS))
    register_cost("endless", lambda facts, config: math.inf)
    with pytest.raises(ConfigError, match="must be a finite number"):
        make_cost("endless", FACTS)(config(FACTS))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_cost("flsh", FACTS), "there is no cost 'flsh'; did you mean 'flash'"),
        (lambda: make_cost("latency", FACTS), "latency needs a device: --profile NAME"),
        (lambda: register_cost("flash", max), "a name of its own"),
        (lambda: register_cost("no name", max), "a name of its own"),
        (lambda: register_cost("three", 3), "must be a function"),
        (lambda: make_cost("latency", FACTS, Device(load_profile("generic-mcu"))), "has no speed"),
        (lambda: FlashBytes(FACTS)(Config({"z/kernel": QuantizerSpec(8)})), "`two` doesn't have: .*z/kernel"),
    ],
)
def test_what_there_is_not_is_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


def test_roles_are_those_of_flash():
    parts, values = FlashBytes(FACTS).parts(Specs.of(FACTS, [config(FACTS)]))
    by_role = dict.fromkeys(Role, 0.0)
    for name, value in zip(parts, values[0], strict=True):
        by_role[FACTS.by_name[name].role] += value
    assert by_role == {Role.KERNEL: 64.0, Role.BIAS: 12.0, Role.ACTIVATION: 12.0}
