"""The knapsack against brute force over all selections."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpsearch import Space, bits
from mpsearch.errors import ConfigError
from mpsearch.searching.knapsack import Knapsack, Row, total
from tests.costs.nets import two_layers

SEEDS = st.integers(0, 2**32 - 1)


def small(*limits):
    """Six choices, with limits between their widths."""
    space = Space(
        kernel=bits(2, 4, 8, alpha="auto"), bias=bits(8, 16, alpha="auto_po2"), activation=bits(2, 4, 8, alpha="auto")
    )
    for limit in limits:
        space.limit(*limit)
    return space.resolve(two_layers())


SPACES = [
    small(),
    small(("kernel", "<=", "activation")),
    small(("kernel", "<", "bias"), ("kernel", "==", "activation")),
]


def brute_force(space, damages, rows):
    """The least damage of all configs that keep the limits; None where there is none."""
    sizes = [range(len(choice.specs)) for choice in space.choices]
    found = None
    for picks in itertools.product(*sizes):
        if next(space.configs(np.array([picks]))) not in space:
            continue
        if any(total(row.amounts, picks) > row.most for row in rows):
            continue
        harm = total(damages, picks)
        found = harm if found is None else min(found, harm)
    return found


@settings(max_examples=60)
@given(st.sampled_from(SPACES), SEEDS, st.integers(1, 2))
def test_it_is_what_brute_force_finds(space, seed, count):
    rng = np.random.default_rng(seed)
    damages = [rng.exponential(10.0 ** rng.integers(-4, 3), len(c.specs)) for c in space.choices]
    rows = []
    for _ in range(count):
        amounts = [np.sort(rng.integers(1, 1000, len(c.specs)) * 10.0 ** rng.integers(0, 3)) for c in space.choices]
        least, most = (sum(float(pick(a)) for a in amounts) for pick in (np.min, np.max))
        rows.append(Row(amounts, float(np.floor(least + rng.random() * (most - least) * 1.1 - 0.05 * (most - least)))))
    expected = brute_force(space, damages, rows)
    picks = Knapsack(space).solve(damages, rows)
    if expected is None:
        assert picks is None
        return
    assert next(space.configs(picks[None])) in space
    for row in rows:
        assert total(row.amounts, picks) <= row.most * (1 + 1e-9)
    assert total(damages, picks) == pytest.approx(expected, rel=1e-5, abs=1e-9 * sum(map(np.max, damages)))


def test_without_limits_the_least_damage_is_taken():
    space = SPACES[0]
    damages = [np.arange(len(c.specs), 0, -1.0) for c in space.choices]
    assert Knapsack(space).solve(damages, []).tolist() == [len(c.specs) - 1 for c in space.choices]


def test_arrays_that_are_of_another_space_are_refused():
    space = SPACES[0]
    with pytest.raises(ConfigError, match=r"an array for each menu, of \[3, 3, 2, 3, 3, 3\] specs, but got \[3\]"):
        Knapsack(space).solve([np.zeros(3)], [])
