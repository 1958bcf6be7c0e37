"""When a run ends."""

import time

import pytest

from mpsearch.errors import ConfigError
from mpsearch.records import State, TrialRecord
from mpsearch.runners.limits import Limits, duration, parse_duration


def records(*scores):
    """Complete trials with these scores; None is a failed one."""
    return [
        TrialRecord(i, State.FAILED if score is None else State.COMPLETE, score=score, sequence=i)
        for i, score in enumerate(scores)
    ]


def reached(limits, *scores, waited=0.0):
    return limits.reached(records(*scores), time.monotonic() - waited)


def test_a_number_of_trials_counts_those_that_ended():
    limits = Limits(trials=2)
    assert reached(limits, 0.5) is None
    assert reached(limits, 0.5, None) == ""
    broken = TrialRecord(1, State.BROKEN, sequence=1)
    assert limits.reached([*records(0.5), broken], 0.0) is None


def test_a_score_ends_the_run_and_names_its_trial():
    assert reached(Limits(score=0.88), 0.5, 0.87) is None
    assert reached(Limits(score=0.88), 0.5, 0.88, 0.6) == "trial 1 has score 0.8800, and 0.88 was asked for"


def test_patience_counts_trials_since_the_best_failed_ones_included():
    limits = Limits(patience=3)
    assert reached(limits, 0.5, 0.6, 0.4, None) is None
    assert reached(limits, 0.5, 0.6, 0.4, None, 0.6) == "3 trials without a better score: none better than 0.6000"
    assert reached(limits, None, None, None) == "3 trials without a better score: no trial completed"


def test_patience_goes_by_places_not_by_numbers():
    """A trial that was cut off and tried again has a later number, but its old place."""
    tried_again = [TrialRecord(9, State.COMPLETE, score=0.9, sequence=0), *records(0.1, 0.2, 0.3)[1:]]
    assert Limits(patience=2).reached(tried_again, 0.0) is not None
    assert Limits(patience=3).reached(tried_again, 0.0) is None


def test_time_is_that_of_the_run():
    assert reached(Limits(seconds=60), 0.5, waited=59.0) is None
    assert reached(Limits(seconds=60), 0.5, waited=60.0) == "the time of 1m is over"


def test_the_first_limit_counts():
    assert reached(Limits(trials=2, score=0.5), 0.5, 0.6) != ""
    assert reached(Limits(trials=2, patience=5), 0.5, 0.6) == ""


@pytest.mark.parametrize("options", [{}, {"trials": 0}, {"seconds": -1.0}, {"patience": 0}])
def test_a_run_needs_an_end_that_can_be_reached(options):
    with pytest.raises(ConfigError, match=r"a run needs an end|must be above 0"):
        Limits(**options)


@pytest.mark.parametrize(
    ("text", "seconds"), [("2h", 7200), ("1h30m", 5400), ("90m", 5400), ("45s", 45), ("600", 600), ("0.5h", 1800)]
)
def test_durations_are_written_as_one_says_them(text, seconds):
    assert parse_duration(text) == seconds
    assert parse_duration(duration(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "2 days", "h", ".s", "-5m", "1.2.3h", "soon", "1h30", "2m5", "1h 30"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ConfigError, match="a duration is written as 2h"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0", "0s", "0.0m", "0h0m"])
def test_a_duration_of_nothing_is_refused_as_such(text):
    with pytest.raises(ConfigError, match=f"a duration must be above zero, but got '{text}'"):
        parse_duration(text)


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_no_trial_reaches_is_refused(score):
    with pytest.raises(ConfigError, match="a number that a trial can reach"):
        Limits(score=score)
