"""Learning-rate schedules against their formulas."""

import pytest

from mpsearch.errors import ConfigError
from mpsearch.schedules import cosine, exponential, steps
from mpsearch.task import Training


def rates(schedule, epochs):
    return [Training(epochs=epochs, learning_rate=schedule).learning_rate_at(epoch) for epoch in range(epochs)]


def test_schedules_follow_their_formulas():
    assert rates(exponential(1e-3, 0.99), 4) == pytest.approx([1e-3 * 0.99**n for n in range(4)])
    assert rates(steps({0: 1e-3, 2: 1e-4}), 4) == [1e-3, 1e-3, 1e-4, 1e-4]
    found = rates(cosine(1e-3, 5, end=1e-5), 6)
    assert found[0] == 1e-3
    assert found[2] == pytest.approx((1e-3 + 1e-5) / 2)
    assert found[4:] == pytest.approx([1e-5, 1e-5])
    assert found == sorted(found, reverse=True)
    assert rates(cosine(1e-3, 1), 1) == [1e-3]


def test_a_schedule_prints_like_its_call():
    assert repr(exponential(0.001, 0.99)) == "exponential(start=0.001, factor=0.99)"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: exponential(0, 0.9), "`start` must be positive"),
        (lambda: steps({1: 1e-3}), "0 among them"),
        (lambda: steps({0: 1e-3, 3: -1}), r"rates\[3\]"),
        (lambda: cosine(1e-3, 5, end=1), "0 <= end <= start"),
    ],
)
def test_impossible_schedules_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
