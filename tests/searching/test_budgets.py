"""Budgets: no config beyond a limit is left, and limits that can't be met are refused with numbers."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpsearch import Space, bits, facts_of, models
from mpsearch.config import Config
from mpsearch.costs.registry import cost_names, make_cost, register_cost
from mpsearch.costs.specs import Specs
from mpsearch.errors import ConfigError
from mpsearch.searching.arrays import SpecArrays
from mpsearch.searching.budgets import Budget
from tests.costs.nets import two_layers

SMALL = Space(kernel=bits(4, 8, 16, alpha=["auto", "auto_po2"]), bias=bits(16, 31), activation=bits(4, 8, 16)).resolve(
    two_layers()
)


@pytest.fixture(scope="module")
def resnet8():
    space = Space(kernel=bits(4, 8, 16), bias=bits(16, 31, alpha="auto_po2"), activation=bits(4, 8, 16))
    return space.resolve(facts_of(models.resnet8(), nonnegative_inputs=True))


def budget(space, **most):
    return Budget(space, [make_cost(name, space.facts) for name in most], list(most.values()))


@given(st.integers(0, SMALL.size - 1))
def test_arrays_are_the_specs_of_the_configs(number):
    config = SMALL.nth(number)
    positions = SMALL.positions([config])
    found, expected = SpecArrays(SMALL).at(positions, with_configs=True), Specs.of(SMALL.facts, [config])
    for name in ("widths", "floats", "free", "signed", "affine"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name
    assert found.configs == (config,)


LIMITS = st.fixed_dictionaries(
    {}, optional={"flash": st.floats(60, 250), "ram": st.floats(10, 40), "bits": st.floats(250, 1500),
                  "energy": st.floats(10, 60), "rescaling": st.floats(0.5, 8), "accumulator": st.floats(12, 36)}
)  # fmt: skip


@settings(max_examples=150)
@given(LIMITS, st.integers(0, SMALL.size - 1))
def test_a_config_is_moved_inside_or_there_is_none_inside(most, number):
    bounds, config = budget(SMALL, **most), SMALL.nth(number)
    try:
        found = bounds.repaired(config)
    except ConfigError:
        everything = SMALL.positions(list(SMALL))
        assert (bounds.excess(everything) > 0).all(), "brute force finds one"
        return
    assert bounds.broken(found) == []
    assert found in SMALL
    if not bounds.broken(config):
        assert found == config
    else:
        changed = {site for site in config if config[site] != found[site]}
        assert changed
        assert all(found[site].bits <= config[site].bits for site in changed)


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_large_networks_are_moved_inside_three_limits_at_once(resnet8, seed):
    bounds = budget(resnet8, flash=60_000, ram=30_000, energy=2e6)
    for row in resnet8.configs(resnet8.draw(np.random.default_rng(seed), 5)):
        assert bounds.broken(bounds.repaired(row)) == []


def test_no_more_is_given_up_than_the_limits_ask_for(resnet8):
    wide = resnet8.uniform(16)
    flash = make_cost("flash", resnet8.facts)
    bounds = budget(resnet8, flash=flash(wide) - 1000)
    found = bounds.repaired(wide)
    assert sum(found[site] != wide[site] for site in wide) == 1, "one layer's kernel is enough"
    assert flash(wide) - 1000 >= flash(found)


FINE = Space(kernel=bits(2, 3, 4, 5, 6, 7, 8), bias=bits(8, 16, 31), activation=bits(4, 6, 8, 12, 16)).resolve(
    two_layers()
)


@settings(max_examples=150)
@given(LIMITS, st.integers(0, FINE.size - 1))
def test_nothing_is_given_up_that_could_have_stayed_as_it_was(most, number):
    """Menus whose single steps need not change a cost: codes of 5 to 8 bits take a byte all alike."""
    bounds, config = budget(FINE, **most), FINE.nth(number)
    try:
        found = bounds.repaired(config)
    except ConfigError:
        narrow = FINE.positions([FINE.uniform(2)])
        assert bounds.excess(narrow)[0] > 0
        return
    assert bounds.broken(found) == []
    for site in config:
        if found[site] != config[site]:
            back = Config({**found, site: config[site]})
            assert bounds.broken(back), f"{site} could have stayed {config[site]}"


def test_a_limit_a_little_below_uniform_8_keeps_most_of_it(resnet8):
    space = Space(kernel=bits(2, 4, 6, 8), bias=bits(16), activation=bits(4, 8)).resolve(resnet8.facts)
    flash, wide = make_cost("flash", space.facts), space.uniform(8)
    bounds = budget(space, flash=0.9 * flash(wide))
    found = bounds.repaired(wide)
    assert 0.8 * flash(wide) < flash(found) <= 0.9 * flash(wide)
    assert sum(found[site] != wide[site] for site in wide) <= 2


def test_limits_of_the_space_are_kept():
    space = Space(kernel=bits(4, 8, 16), activation=bits(4, 8, 16)).limit("kernel", "<=", "activation")
    resolved = space.resolve(two_layers())
    bounds = budget(resolved, ram=15.0)
    for config in itertools.islice(resolved, 50):
        assert bounds.repaired(config) in resolved
        assert bounds.broken(bounds.repaired(config)) == []


def test_what_holds_a_limit_back_is_said(resnet8):
    rows = budget(resnet8, flash=30_000, ram=40_000).feasible()
    assert [row.met for row in rows] == [False, True]
    assert rows[0].least == make_cost("flash", resnet8.facts)(resnet8.uniform(4))
    assert rows[0].by[0][0] == "conv_7/kernel"
    assert str(rows[0]) == (
        "flash: the cheapest config has 39.9 KB > 29.3 KB, most of it conv_7/kernel (18.2 KB), conv_6/kernel (9.2 KB), "
        "conv_4/kernel (4.6 KB)"
    )
    with pytest.raises(ConfigError, match=r"no config of the space meets these limits: .*\n  flash: .*\n  ram: .* ≤ "):
        budget(resnet8, flash=30_000, ram=40_000).repaired(resnet8.uniform(8))


def test_the_smallest_limit_that_is_said_can_be_met(resnet8):
    for name in [name for name in cost_names() if name not in ("macs", "latency", "rescaling")][:9]:
        least = budget(resnet8, **{name: 1e-3}).feasible()[0].least
        assert budget(resnet8, **{name: least}).repaired(resnet8.uniform(16))


def test_a_users_cost_that_falls_with_widths_can_be_a_limit():
    register_cost("lost", lambda facts, config: sum(16 - spec.bits for spec in config.values()), "bits")
    space = Space(kernel=bits(4, 8, 16), activation=bits(4, 8, 16)).resolve(two_layers())
    bounds = budget(space, lost=30.0)
    assert bounds.broken(space.uniform(16)) == []
    assert bounds.repaired(space.uniform(16)) == space.uniform(16)
    assert bounds.broken(space.uniform(4)) == ["lost 60 bits > 30 bits"]
    assert isinstance(bounds.repaired(space.uniform(4)), Config)
