"""The diagram of allowed combinations against brute force."""

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.errors import SpaceError
from mpsearch.space.choices import Comparison
from mpsearch.space.diagram import Diagram


@st.composite
def problems(draw):
    """Menus of up to five choices, a width perhaps twice (two scale modes), and limits between them."""
    widths = st.lists(st.sampled_from([2, 4, 8, 16]), min_size=1, max_size=4).map(sorted)
    menus = draw(st.lists(widths, min_size=2, max_size=5))
    pairs = st.permutations(range(len(menus))).map(lambda order: order[:2])
    limits = draw(st.lists(st.tuples(pairs, st.sampled_from(Comparison)), max_size=6))
    return menus, [(i, comparison, j) for (i, j), comparison in limits]


def allowed(menus, limits):
    """All combinations that keep the limits, in order: the oracle."""
    return [
        list(combination)
        for combination in itertools.product(*(range(len(menu)) for menu in menus))
        if all(eval(f"{menus[i][combination[i]]} {c.value} {menus[j][combination[j]]}") for i, c, j in limits)
    ]


@given(problems())
def test_it_holds_what_brute_force_finds_in_the_same_order(problem):
    menus, limits = problem
    diagram, expected = Diagram(menus, limits), allowed(menus, limits)
    assert diagram.size == len(expected)
    assert [diagram.nth(index) for index in range(diagram.size)] == expected
    if expected:
        assert diagram.possible() == [sorted(set(column)) for column in zip(*expected, strict=True)]


@given(problems(), st.randoms(use_true_random=False))
def test_the_cheapest_is_the_least_of_all_sums(problem, rng):
    menus, limits = problem
    diagram, expected = Diagram(menus, limits), allowed(menus, limits)
    if not expected:
        return
    prices = [[rng.randint(-50, 50) for _ in menu] for menu in menus]

    def price(combination):
        return sum(row[p] for row, p in zip(prices, combination, strict=True))

    found = diagram.cheapest(prices)
    assert found in expected
    assert price(found) == min(map(price, expected))


@given(problems())
def test_a_choice_is_decided_where_those_before_it_always_leave_one_width(problem):
    menus, limits = problem
    expected = allowed(menus, limits)
    if not expected:
        return
    for number, (menu, decided) in enumerate(zip(menus, Diagram(menus, limits).decided(), strict=True)):
        # what comes before matters by its widths alone: two combinations that agree in them leave the same
        left: dict = {}
        for combination in expected:
            before = tuple(menus[i][p] for i, p in enumerate(combination[:number]))
            left.setdefault(before, set()).add(menu[combination[number]])
        assert decided == (len(set(menu)) > 1 and all(len(widths) == 1 for widths in left.values()))


@given(problems(), st.integers(0, 2**32))
def test_drawing_and_walking_never_leave_it(problem, seed):
    menus, limits = problem
    diagram, expected = Diagram(menus, limits), allowed(menus, limits)
    if not expected:
        return
    drawn = diagram.draw(np.random.default_rng(seed), 200)
    assert drawn.shape == (200, len(menus))
    assert {tuple(row) for row in drawn.tolist()} <= {tuple(row) for row in expected}
    rng = random.Random(seed)
    assert diagram.walk(lambda choice, positions: rng.choice(positions)) in expected


def test_what_only_later_choices_forbid_is_cut_off():
    # 8 and 16 leave the third choice something, but the second then leaves it nothing
    limits = [(0, Comparison.AT_MOST, 2), (2, Comparison.AT_MOST, 1)]
    diagram = Diagram([[2, 4, 8, 16], [2, 4], [2, 4, 8, 16]], limits)
    assert diagram.possible() == [[0, 1], [0, 1], [0, 1]]
    assert diagram.walk(lambda choice, positions: max(positions)) == [1, 1, 1]
    assert diagram.cheapest([[0, 0, -9, -9], [0, 0], [0, 0, 0, 0]]) == [0, 0, 0]


@pytest.mark.parametrize(
    "limits",
    [
        [],
        [(0, Comparison.AT_MOST, 1)],
        [(0, Comparison.AT_MOST, 2), (2, Comparison.BELOW, 1)],
        [(2, Comparison.EQUAL, 0), (1, Comparison.AT_MOST, 2)],
    ],
)
def test_drawing_is_uniform(limits):
    menus = [[2, 4, 8], [2, 4, 8], [2, 4, 4, 8]]
    expected, count = allowed(menus, limits), 20_000
    drawn = Diagram(menus, limits).draw(np.random.default_rng(1), count)
    found = np.array([(drawn == row).all(axis=1).sum() for row in expected])
    share = count / len(expected)
    assert found.sum() == count
    # Pearson's statistic has mean k and variance 2k for k degrees of freedom: five standard deviations
    degrees = len(expected) - 1
    assert ((found - share) ** 2 / share).sum() < degrees + 5 * (2 * degrees) ** 0.5


def test_a_long_chain_of_limits_and_a_star_stay_small_and_exact():
    menu, length = [2, 4, 8, 16], 120
    rising = Diagram([menu] * length, [(i, Comparison.AT_MOST, i + 1) for i in range(length - 1)])
    assert rising.size == 302621  # multisets of 120 of 4 widths: 123 over 3
    star = Diagram([menu] * length, [(0, Comparison.AT_MOST, i) for i in range(1, length)])
    assert star.size == sum(left ** (length - 1) for left in (4, 3, 2, 1))
    last = Diagram([menu] * 30, [(i, Comparison.AT_MOST, 29) for i in range(29)])
    assert last.size == sum(left**29 for left in (4, 3, 2, 1))
    assert last.nth(last.size - 1) == [3] * 30


def test_limits_that_bind_everything_to_everything_are_refused():
    menu, n = list(range(2, 33)), 3
    limits = [(i, Comparison.EQUAL, n + i) for i in range(n)]
    with pytest.raises(SpaceError, match=r"bind so many choices .* tie some of the choices"):
        Diagram([menu] * (2 * n), limits)
