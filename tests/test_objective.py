"""The Forgiving Factor against its formula and the published figures."""

import math

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


@pytest.mark.parametrize("options", [{"rate": 1.0}, {"stress": 0.0}])
def test_meaningless_options_are_refused(options):
    with pytest.raises(ConfigError, match="must be above"):
        ForgivingFactor(**options)


def test_costs_of_zero_are_refused():
    with pytest.raises(ConfigError, match="above 0"):
        ForgivingFactor().delta(0, 100)
