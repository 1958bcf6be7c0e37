"""Resolved spaces in batches and as descriptions."""

import json
import random

import numpy as np
import pytest

from mpsearch.errors import ConfigError
from mpsearch.menu import bits
from mpsearch.space import Space
from tests.space.networks import chain, parts

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
