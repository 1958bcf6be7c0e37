"""Tables of costs: what is looked up is what is computed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpsearch import Space, bits, facts_of, models
from mpsearch.config import Config, QuantizerSpec
from mpsearch.costs.measured import Row
from mpsearch.costs.model import TOLERANCE
from mpsearch.costs.profile import Profile, load_profile
from mpsearch.costs.registry import Device, cost_names, make_cost, register_cost
from mpsearch.errors import ConfigError
from mpsearch.searching import cost_tables
from mpsearch.searching.arrays import SpecArrays
from mpsearch.searching.budgets import Budget
from mpsearch.searching.cost_tables import CostTables, choices_of_parts, has_table
from tests.costs.nets import random_net, two_layers

MENUS = {
    "kernel": bits(2, 4, 8, alpha=["auto", "auto_po2"]), "bias": bits(16, 31), "activation": bits(4, 8, 16),
}  # fmt: skip
DEVICE = Device(load_profile("stm32h7b3"))
SEEDS = st.integers(0, 2**32 - 1)


SMALL = Space(**MENUS).resolve(two_layers())
TIED = Space(**MENUS).tie("*", roles=["kernel"]).resolve(two_layers())


@pytest.fixture(scope="module")
def spaces():
    return {
        "small": SMALL,
        "tied": TIED,
        "resnet8": Space(**MENUS).resolve(facts_of(models.resnet8(), nonnegative_inputs=True)),
    }


NAMED_SPACES = ("small", "tied", "resnet8")


def all_costs(space):
    names = [name for name in cost_names() if name in ("bits", "parameter_bits", "activation_bits", "flash", "ram",
             "macs", "bops", "ebops", "accumulator", "rescaling", "energy", "latency")]  # fmt: skip
    return [make_cost(name, space.facts, DEVICE) for name in names]


def computed(space, costs, most, positions):
    specs = SpecArrays(space).at(positions)
    return sum(cost.beyond(specs, limit).sum(axis=1) for cost, limit in zip(costs, most, strict=True))


@pytest.mark.parametrize("name", NAMED_SPACES)
def test_each_cost_that_is_looked_up_is_the_one_that_is_computed(spaces, name):
    space, rng = spaces[name], np.random.default_rng(0)
    positions = space.draw(rng, 40)
    for cost in all_costs(space):
        assert has_table(space, cost), cost.name
        values = cost.batch(SpecArrays(space).at(positions))
        for limit in (0.0, float(values.min()), float(np.median(values)), float(values.max())):
            table = CostTables(space, [cost], [limit])
            expected = computed(space, [cost], [limit], positions)
            assert table.excess(positions) == pytest.approx(expected, rel=1e-9, abs=1e-9), cost.name
            assert ((table.excess(positions) == 0) == (values <= limit * (1 + TOLERANCE))).all(), cost.name


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.sampled_from(NAMED_SPACES))
def test_several_limits_add_up_and_single_moves_are_those_that_are_computed(spaces, seed, name):
    space, rng = spaces[name], np.random.default_rng(seed)
    costs = [cost for cost in all_costs(space) if rng.integers(2)] or all_costs(space)
    here = space.draw(rng, 1)[0]
    values = [float(cost.batch(SpecArrays(space).at(here[None]))[0]) for cost in costs]
    most = [value * rng.uniform(0.3, 1.5) for value in values]
    moves = [
        (choice, position) for choice, one in enumerate(space.choices) for position in range(len(one.specs))
    ]  # fmt: skip
    after = np.repeat(here[None], len(moves), axis=0)
    for row, (choice, position) in enumerate(moves):
        after[row, choice] = position
    table = CostTables(space, costs, most)
    assert table.excess(after) == pytest.approx(computed(space, costs, most, after), rel=1e-9, abs=1e-9)
    assert table.excess_after(here) == pytest.approx(table.excess(after), rel=1e-9, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_what_a_part_depends_on_is_all_that_changes_it(seed):
    """On random networks, where feature maps stay in memory for long: parts change with no other site's spec."""
    space = Space(activation=bits(4, 8, 16, alpha=["auto", "auto_po2"])).resolve(random_net(seed))
    rng = np.random.default_rng(seed)
    for cost in (make_cost(name, space.facts) for name in ("ram", "energy", "rescaling", "flash", "bits")):
        for part, choices in enumerate(choices_of_parts(space, cost)):
            rows = space.draw(rng, 2)
            rows[1, list(choices)] = rows[0, list(choices)]
            first, second = cost.parts(SpecArrays(space).at(rows))[1][:, part]
            assert first == second, (cost.name, part)


def test_pairs_of_widths_that_a_device_lacks_are_looked_up(spaces):
    space = spaces["resnet8"]
    profile = Profile("a device", pairs=((8, 8), (4, 8)))
    cost = make_cost("unsupported", space.facts, Device(profile))
    positions = space.draw(np.random.default_rng(1), 30)
    assert CostTables(space, [cost], [0.0]).excess(positions) == pytest.approx(
        computed(space, [cost], [0.0], positions)
    )


def test_costs_without_a_table_are_computed_beside_those_that_have_one(monkeypatch):
    register_cost("narrow", lambda facts, config: sum(spec.bits for spec in config.values()), "bits")
    space = SMALL
    costs = [make_cost(name, space.facts) for name in ("narrow", "flash", "energy")]
    assert [has_table(space, cost) for cost in costs] == [False, True, True]
    most = [0.8 * cost(space.uniform(8)) for cost in costs]
    budget, positions = Budget(space, costs, most), space.draw(np.random.default_rng(2), 50)
    specs = SpecArrays(space).at(positions, with_configs=True)
    expected = sum(cost.beyond(specs, limit).sum(axis=1) for cost, limit in zip(costs, most, strict=True))
    assert budget.excess(positions) == pytest.approx(expected)
    moved = [budget.repaired(config) for config in space.configs(positions)]
    assert all(not budget.broken(config) for config in moved)
    monkeypatch.setattr(cost_tables, "MOST_ENTRIES", 5)  # of no operation any more
    assert [has_table(space, cost) for cost in costs] == [False, False, False]
    slow = Budget(space, costs, most)
    assert [slow.repaired(config) for config in space.configs(positions)] == moved


def test_measured_layers_without_rows_for_all_widths_can_be_limited():
    space = Space(kernel=bits(4, 8), bias=bits(16), activation=bits(4, 8)).resolve(two_layers())
    measured = {"a": [(None, None, 5.0)], "b": [(8, 8, 9.0), (4, None, 4.0)], "softmax": [(None, None, 1.0)]}
    rows = tuple(Row(layer, "*", "*", *widths) for layer, found in measured.items() for widths in found)
    cost = make_cost("latency", space.facts, Device(latencies=rows))
    assert not has_table(space, cost)
    budget = Budget(space, [cost], [10.0])
    with pytest.raises(ConfigError, match="no row for `b`"):  # a kernel of 8 bits that reads 4
        cost(Config({**space.uniform(8), "a/activation": QuantizerSpec(4, space.uniform(8)["a/activation"].alpha)}))
    assert budget.broken(space.uniform(8)) == ["latency 15 µs > 10 µs"]
    assert budget.broken(space.uniform(4)) == []
    assert budget.repaired(space.uniform(4)) == space.uniform(4)
