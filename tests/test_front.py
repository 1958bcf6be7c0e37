"""The Pareto front against brute force and Optuna."""

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpsearch.front import dominated_volume, front_of, nondominated

POINTS = st.lists(st.tuples(*[st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 0.9])] * 3), min_size=1, max_size=12)


def test_a_front_by_hand():
    metrics = [0.9, 0.8, 0.8, 0.7, 0.95]
    costs = np.array([[50.0], [20.0], [30.0], [10.0], [100.0]])
    front = front_of(metrics, costs, [100.0])
    assert front.members == (4, 0, 1, 3), "trial 2 has no better metric than trial 1, and costs more"
    # the last one lies on the border, where nothing is dominated: steps of 50, 20 and 10 to 100
    assert front.hypervolume == pytest.approx(0.5 * 0.9 + 0.3 * 0.8 + 0.1 * 0.7)
    # of 0.95 … 0.7 and 10 … 100, trial 0 has given up a fifth and 4/9, trial 1 three fifths and 1/9
    assert front.knee == 0


def test_equal_points_are_all_members():
    assert front_of([0.9, 0.9, 0.8], np.array([[5.0], [5.0], [5.0]]), [10.0]).members == (0, 1)


def test_a_cost_that_is_the_same_for_all_is_left_out_of_the_volume():
    metrics, costs = [0.9, 0.8], np.array([[50.0, 7.0], [20.0, 7.0]])
    assert front_of(metrics, costs, [100.0, 7.0]).hypervolume == front_of(metrics, costs[:, :1], [100.0]).hypervolume
    assert front_of(metrics, costs, [100.0, 6.0]).hypervolume == 0.0, "beyond the reference nothing counts"


def test_one_point_and_none():
    assert front_of([0.5], np.array([[5.0]]), [10.0]).knee == 0
    assert front_of([], np.zeros((0, 1)), [10.0]) == front_of([], np.zeros((0, 2)), [1.0, 1.0])


@given(POINTS)
def test_members_are_those_that_none_surpasses(points):
    values = np.array(points)
    expected = [
        n
        for n, p in enumerate(points)
        if not any(all(a <= b for a, b in zip(q, p, strict=True)) and q != p for q in points)
    ]
    assert nondominated(values) == expected


@settings(max_examples=50)
@given(POINTS)
def test_the_volume_is_what_optuna_and_counting_find(points):
    values = np.array(points)
    grid = np.stack(np.meshgrid(*[np.arange(0.025, 1.0, 0.05)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    counted = (grid[:, None] > values[None]).all(axis=2).any(axis=1).mean()
    assert dominated_volume(values) == pytest.approx(counted)
    theirs = optuna._hypervolume.compute_hypervolume(values, np.ones(3))
    assert dominated_volume(values) == pytest.approx(theirs)
