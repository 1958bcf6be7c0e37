"""The Forgiving Factor against its formula and the published figures."""

import math

import numpy as np
import pytest

from mpsearch.errors import ConfigError
from mpsearch.objective import ForgivingFactor


def test_published_delta_and_score():
    assert round(ForgivingFactor().delta(574820, 1535460) * 100, 2) == 7.09
    assert ForgivingFactor().score(0.8, 574820, 1535460) == pytest.approx(0.8 * 1.0709, abs=5e-5)


def test_dearer_trials_lose_by_delta_n_and_stress_scales_the_reference():
    factor = ForgivingFactor(delta_p=5, delta_n=8, rate=2)
    assert factor.delta(200, 100) == pytest.approx(-0.08)
    assert factor.delta(50, 100) == pytest.approx(0.05)
    assert ForgivingFactor(stress=0.5).delta(50, 100) == 0.0
    assert ForgivingFactor(rate=math.e).delta(100 / math.e, 100) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 1.0}, "`rate` must be above 1, but got 1.0"),
        ({"stress": 0.0}, "`stress` must be above 0, but got 0.0"),
        ({"delta_p": -5}, "`delta_p` must be at least 0, but got -5"),
        ({"delta_n": math.nan}, "`delta_n` must be a number, but got nan"),
        ({"delta_p": "x"}, "`delta_p` must be a number, but got 'x'"),
        ({"rate": True}, "`rate` must be a number, but got True"),
        ({"stress": math.inf}, "`stress` must be a number, but got inf"),
    ],
)
def test_meaningless_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        ForgivingFactor(**options)


def test_costs_of_zero_are_refused():
    for cost, reference in ((0, 100), (100, 0), (np.array([3, 0]), 100), (math.nan, 100)):
        with pytest.raises(ConfigError, match="above 0"):
            ForgivingFactor().delta(cost, reference)


def test_arrays_give_what_their_numbers_give():
    factor, costs = ForgivingFactor(delta_p=7, delta_n=3, rate=3, stress=0.8), np.arange(1, 400).reshape(3, 133)
    deltas, scores = factor.delta(costs, 100), factor.score(0.9, costs, 100)
    assert deltas.shape == scores.shape == costs.shape
    assert {type(factor.delta(50, 100)), type(factor.score(0.9, 50, 100))} == {float}
    for index in np.ndindex(costs.shape):
        assert deltas[index] == factor.delta(int(costs[index]), 100)
        assert scores[index] == factor.score(0.9, int(costs[index]), 100)
    metrics = np.linspace(0, 1, 133)
    np.testing.assert_array_equal(factor.score(metrics, costs, 100), metrics * (1 + deltas))
