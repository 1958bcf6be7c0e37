"""The sampler gp: how it looks for the most promising config, and which trials it learns from."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.searching import gp
from mpsearch.searching.gp import GPSampler, climb, in_parts, telling

MENUS = st.lists(st.integers(1, 4).map(lambda count: np.arange(count) / 4), min_size=1, max_size=6)


def quadratic(seed, dimensions):
    """A function with interactions of all parameters."""
    rng = np.random.default_rng(seed)
    square, line = rng.normal(size=(dimensions, dimensions)), rng.normal(size=dimensions)
    return lambda points: np.einsum("ni,ij,nj->n", points, square, points) + points @ line


def single_changes(point, menus):
    for place, menu in enumerate(menus):
        for value in menu:
            yield np.array([*point[:place], value, *point[place + 1 :]])


@given(MENUS, st.integers(0, 10**6))
def test_no_change_of_one_parameter_betters_what_a_climb_finds(menus, seed):
    evaluate, rng = quadratic(seed, len(menus)), np.random.default_rng(seed)
    start = np.array([rng.choice(menu) for menu in menus])
    found, height = climb(evaluate, start, menus)
    assert height == pytest.approx(evaluate(found[np.newaxis])[0])
    assert height >= evaluate(start[np.newaxis])[0]
    assert all(value in menu for value, menu in zip(found, menus, strict=True))
    assert all(evaluate(point[np.newaxis])[0] <= height + 1e-8 for point in single_changes(found, menus))


@given(MENUS, st.integers(0, 10**6))
def test_without_interactions_a_climb_finds_the_highest_point_of_all(menus, seed):
    weights = np.random.default_rng(seed).normal(size=len(menus))
    _, height = climb(lambda points: points @ weights, np.array([menu[0] for menu in menus]), menus)
    everything = np.array(list(itertools.product(*menus)))
    assert height == pytest.approx((everything @ weights).max())


def test_a_climb_takes_few_calls_with_many_parameters():
    calls, weights = [], np.random.default_rng(0).normal(size=184)

    def evaluate(points):
        calls.append(len(points))
        return points @ weights

    climb(evaluate, np.full(184, 0.5), [np.array([0, 0.5, 1.0])] * 184)
    assert len(calls) <= 2 * 3 + 1


def test_evaluating_in_parts_changes_nothing(monkeypatch):
    monkeypatch.setattr(gp, "POINTS_A_CALL", 7)
    sizes = []

    def evaluate(points):
        sizes.append(len(points))
        return points.sum(axis=1)

    for count in (1, 7, 8, 30):
        points = np.random.default_rng(count).normal(size=(count, 3))
        np.testing.assert_array_equal(in_parts(evaluate)(points), points.sum(axis=1))
    assert max(sizes) == 7


def test_it_learns_from_the_best_and_the_latest_trials_where_there_are_too_many():
    trials = [SimpleNamespace(number=number, values=[float(value)]) for number, value in enumerate((3, 9, 1, 9, 2, 0))]
    assert telling(trials, 6) == trials
    assert [trial.number for trial in telling(trials, 4)] == [1, 3, 4, 5]
    assert [trial.number for trial in telling(trials, 3)] == [1, 4, 5]
    assert [trial.number for trial in telling(trials, 1)] == [5]


def proposals(make, count=6):
    """Values that a sampler finds in a space of 30 menus, of which each has one best width."""
    pytest.importorskip("torch")
    distribution = optuna.distributions.IntDistribution(0, 3)
    names = [f"p{number}" for number in range(30)]
    best = np.random.default_rng(1).integers(0, 4, 30)
    study = optuna.create_study(direction="maximize")

    def value(parameters):
        return -float(np.mean(np.abs(best - [parameters[name] for name in names])))

    rng = np.random.default_rng(0)
    for _ in range(20):
        parameters = {name: int(rng.integers(0, 4)) for name in names}
        given = {"params": parameters, "distributions": dict.fromkeys(names, distribution)}
        study.add_trial(optuna.trial.create_trial(value=value(parameters), **given))
    for seed in range(count):
        study.sampler = make(seed)
        trial = study.ask(dict.fromkeys(names, distribution))
        study.tell(trial, value(trial.params))
    return [trial.value for trial in study.trials[20:]], max(trial.value for trial in study.trials[:20])


def test_it_finds_what_optunas_search_for_the_most_promising_config_finds():
    ours, random = proposals(lambda seed: GPSampler(seed=seed))
    optunas, _ = proposals(lambda seed: optuna.samplers.GPSampler(seed=seed))
    assert max(ours) > random
    assert max(ours) >= max(optunas) - 0.1
    assert math.isfinite(min(ours))
