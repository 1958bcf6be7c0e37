"""Resolved spaces: counted, listed, sampled, drawn in batches, described."""

import itertools
import json
import random
import re
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.config import Config, QuantizerSpec
from mpsearch.errors import ConfigError
from mpsearch.menu import Menu, bits
from mpsearch.space import Space
from tests.space.networks import chain, net, parts

FACTS = chain("conv_0", "conv_1", "dense")
SPACE = (
    Space(kernel=bits(4, 8, 16, alpha=["auto", "auto_po2"]), activation=bits(4, 8))
    .tie("conv_*", roles=["kernel"])
    .limit("kernel", "<=", "activation")
    .resolve(FACTS)
)


def test_drawing_repeats_with_the_seed_and_is_uniform_over_configs():
    positions = SPACE.draw(np.random.default_rng(3), 20_000)
    assert (positions == SPACE.draw(np.random.default_rng(3), 20_000)).all()
    assert SPACE.draw(np.random.default_rng(3), 0).shape == (0, len(SPACE.choices))
    unique, counts = np.unique(positions, axis=0, return_counts=True)
    share, degrees = 20_000 / SPACE.size, SPACE.size - 1
    assert len(unique) == SPACE.size
    assert ((counts - share) ** 2 / share).sum() < degrees + 5 * (2 * degrees) ** 0.5


def test_single_samples_are_uniform_under_limits():
    rng, counts = random.Random(0), dict.fromkeys(SPACE, 0)
    for _ in range(50 * SPACE.size):
        counts[SPACE.sample(rng)] += 1
    degrees = SPACE.size - 1
    assert sum((n - 50) ** 2 / 50 for n in counts.values()) < degrees + 5 * (2 * degrees) ** 0.5


def test_widths_are_those_of_the_configs_and_32_in_float():
    positions = SPACE.draw(np.random.default_rng(0), 100)
    found = SPACE.widths(positions)
    assert found.dtype == np.int64
    for row, config in zip(found, SPACE.configs(positions), strict=True):
        assert list(row) == [config[s.name].bits if s.name in config else 32 for s in FACTS.sites]
    assert {32} == set(found[:, [s.name in SPACE.floats for s in FACTS.sites]].flat)


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        (np.zeros((2, 3), int), r"integers of shape \(configs, 6\), but got int64 \(2, 3\)"),
        (np.zeros(6, int), r"but got int64 \(6,\)"),
        (np.zeros((2, 6)), "but got float64"),
        (np.full((1, 6), -1), "some are below 0 or beyond the last spec"),
        (np.full((1, 6), 4), "some are below 0 or beyond the last spec"),
    ],
)
def test_positions_outside_the_menus_are_refused(positions, message):
    assert len(SPACE.choices) == 6
    for method in (SPACE.widths, SPACE.configs):
        with pytest.raises(ConfigError, match=message):
            method(positions)


def test_a_description_is_a_table_and_plain_data():
    described = SPACE.describe()
    assert str(described) == str(SPACE)
    data = json.loads(json.dumps(described.to_json()))
    assert data["size"] == str(SPACE.size)
    assert data["fingerprint"] == SPACE.fingerprint
    assert data["rows"] == SPACE.rows()
    assert (data["model"], data["sites"], data["choices"]) == ("chain", 7, 6)
    assert data["notes"][0] == "the limits leave `conv_0/kernel` 4/8 of 4/8/16 bits"
    assert data["limits"] == [
        'limit("kernel", "<=", "activation"): conv_0/kernel <= conv_0/activation, '
        "conv_0/kernel <= conv_1/activation, dense/kernel <= dense/activation"
    ]
    space = Space(kernel=bits(4, 8))
    assert space.describe(FACTS) == space.resolve(FACTS).describe()


def test_tables_show_parts_and_applications_of_layers():
    rows = Space(bits(4), activation=bits(8)).resolve(parts()).rows()
    assert [(row["layer"], row["tensor"]) for row in rows] == [
        ("sep_depthwise", "kernel"),
        ("sep_pointwise", "kernel"),
        ("sep_pointwise", "activation"),
        ("encoder.dense", "kernel"),
        ("encoder.dense", "activation"),
        ("encoder.dense.2", "activation"),
    ]


def test_a_space_without_a_choice_says_so():
    assert "the space has one config: there is nothing to search" in Space(kernel=bits(8)).resolve(FACTS).notes


# Counting, listing, describing

NET = net()


def space_of(**menus: Menu) -> Space:
    return Space(**{"kernel": bits(4, 8, 16), **menus})


def test_size_is_exact_at_10_to_the_60():
    space = Space(kernel=bits(2, 4, 8, 16, 32), bias=bits(4, 8, 16), activation=bits(4, 8)).resolve(net(41))
    assert space.size == 5**42 * 3**42 * 2**44
    assert space.size > 10**60
    assert f"{space.size:,} configs" in str(space)
    assert space.nth(space.size - 1) == Config({site: menu.specs[-1] for site, menu in space.menus.items()})
    assert space.nth(space.size // 3) in space
    with pytest.raises(IndexError, match=f"{space.size} configs, so there is no config number {space.size}"):
        space.nth(space.size)
    with pytest.raises(IndexError, match="no config number -1"):
        space.nth(-1)


menus = st.lists(st.integers(2, 9), min_size=1, max_size=3, unique=True).flatmap(
    lambda widths: st.lists(st.sampled_from(["auto", "auto_po2"]), min_size=1, max_size=2, unique=True).map(
        lambda alphas: bits(*widths, alpha=alphas)
    )
)
spaces = st.builds(
    lambda kernel, bias, own, tied: (Space(kernel, bias).at("conv_1", kernel=own).tie(*tied)).resolve(NET),
    menus,
    st.none() | menus,
    menus,
    st.sampled_from([("conv_0", "conv_2"), ("conv_0", "logits"), ("conv_0", "conv_2", "logits")]),
)


@given(spaces)
def test_iteration_is_the_product_of_the_menus(space):
    expected = itertools.product(*(choice.specs for choice in space.choices))
    count = 0
    for index, (config, specs) in enumerate(zip(space, expected, strict=False)):
        count += 1
        assert config == space.nth(index)
        assert [config[choice.name] for choice in space.choices] == list(specs)
        if index == 60:
            break
    assert count == min(space.size, 61)
    assert space.size == prod(len(choice.specs) for choice in space.choices)


def test_a_small_space_lists_each_config_once():
    space = space_of().tie("conv_*").resolve(NET)
    assert len({config.fingerprint for config in space}) == space.size == 9


@given(spaces, st.integers(0, 2**32))
def test_samples_lie_inside_and_repeat_with_the_seed(space, seed):
    config = space.sample(random.Random(seed))
    assert config in space
    assert config == space.sample(random.Random(seed))
    assert tuple(config) == space.sites
    assert space.config(space.picks(config)) == config
    assert Config.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_samples_are_uniform():
    space = space_of(kernel=bits(4, 8)).tie("conv_*").resolve(NET)
    rng = random.Random(0)
    counts = [0] * 4
    order = {config: i for i, config in enumerate(space)}
    for _ in range(2000):
        counts[order[space.sample(rng)]] += 1
    assert all(440 < count < 560 for count in counts)


def test_uniform_takes_the_nearest_width_that_is_not_below():
    space = space_of(bias=bits(16, 31)).at("conv_0", kernel=bits(2, 3)).pin("logits", kernel=16).resolve(NET)
    config = space.uniform(8)
    assert [config[site].bits for site in space.sites] == [3, 16, 8, 16, 8, 16, 16, 16]
    assert config in space


def test_picks_and_configs_outside_the_space_are_refused():
    space = space_of().tie("conv_0", "conv_1").pin("logits", kernel=8).resolve(NET)
    config = space.nth(0)
    four, five, eight = (QuantizerSpec(n) for n in (4, 5, 8))
    with pytest.raises(ConfigError, match=re.escape("no choice named ['conv_9/kernel']; did you mean `conv_")):
        space.config({"conv_9/kernel": four})
    with pytest.raises(ConfigError, match=r"choice `conv_2/kernel` has no spec; it may be one of: 4/8/16 auto"):
        space.config({"conv_0/kernel": four})
    with pytest.raises(ConfigError, match=r"choice `conv_0/kernel` may be one of: 4/8/16 auto, but got 5 auto"):
        space.config({"conv_0/kernel": five, "conv_2/kernel": four})
    assert space.config({"conv_0/kernel": four, "conv_2/kernel": four}) == config
    for wrong, message in (
        ({**config, "conv_1/kernel": eight}, r"`conv_1/kernel` is tied to `conv_0/kernel` \(4 auto\), but has 8 auto"),
        ({**config, "conv_2/kernel": five}, "`conv_2/kernel` may be one of: 4/8/16 auto, but the config has 5 auto"),
        ({**config, "x": four}, r"missing \[\], not in the space \['x'\]"),
        ({"conv_0/kernel": four}, r"missing \['conv_1/kernel', .*\], not in the space \[\]"),
    ):
        assert Config(wrong) not in space
        with pytest.raises(ConfigError, match=message):
            space.picks(Config(wrong))


def test_a_fingerprint_tells_spaces_apart():
    made = [
        space_of(),
        space_of(kernel=bits(4, 8)),
        space_of(kernel=bits(4, 8, 16, alpha="auto_po2")),
        space_of().pin("conv_0", kernel=8),
        space_of().tie("conv_*"),
        space_of().skip("conv_0"),
    ]
    prints = [space.resolve(NET).fingerprint for space in made]
    assert len(set(prints)) == len(prints)
    assert prints == [space.resolve(net()).fingerprint for space in made]
    assert space_of().resolve(net(4)).fingerprint not in prints


def test_the_table_has_layer_tensor_shape_elements_and_menu():
    space = space_of(activation=bits(8)).tie("conv_0", "conv_1", roles=["kernel"]).skip("add").resolve(NET)
    rows = {f"{row['layer']}/{row['tensor']}": row for row in space.rows()}
    assert rows["conv_0/kernel"] == {
        "layer": "conv_0",
        "tensor": "kernel",
        "shape": "3×3×1×4",
        "elements": 36,
        "menu": "4/8/16 auto",
    }
    assert rows["conv_1/kernel"]["menu"] == "4/8/16 auto (tied to conv_0/kernel)"
    assert rows["add/activation"]["menu"] == rows["conv_0/bias"]["menu"] == "float"
    text = str(space).splitlines()
    assert text[0].split() == ["layer", "tensor", "shape", "elements", "menu"]
    assert len(text) == len(rows) + 3
    assert text[-2] == f"{len(space.sites)} sites, 3 choices, 27 configs"
    assert not any(line.endswith(" ") for line in text)


def test_widths_above_24_bits_carry_a_note():
    space = space_of(bias=bits(16, 31), activation=bits(8)).resolve(NET)
    assert space.notes == (
        "4 sites have widths above 24 bits: trained in float32, whose rounding (2^-24) bounds their precision",
    )
    assert str(space).endswith(space.notes[0])
    assert space_of(bias=bits(16, 24), activation=bits(8)).resolve(NET).notes == ()


def test_sites_left_in_float_carry_a_note():
    space = space_of(activation=bits(8)).skip("logits", roles=["bias"]).skip("*", roles=["bias"]).resolve(NET)
    assert space.notes == (
        "4 sites stay in float, and count 32 bits: conv_0/bias, conv_1/bias, conv_2/bias, logits/bias",
    )
