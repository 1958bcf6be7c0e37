"""Ranking by means, with confidence intervals checked against SciPy's own."""

import random

import pytest
from scipy import stats

from mpsearch.ranking import Candidate, doubts, gap, ranked, repeat_key
from mpsearch.records import State, TrialRecord


def keep_trial(study, engine, score):
    number, *_ = study.ask(engine.network.space)
    costs = {"total_bits": 1}
    record = TrialRecord(number, State.COMPLETE, metric=score / 2, score=score, costs=costs, delta=0.0)
    study.complete(number, record)
    return number


def keep_repeats(study, number, *scores):
    for index, score in enumerate(scores, 1):
        study.keep(
            repeat_key(number, index), {"score": score, "metric": None if score is None else score / 2, "curve": []}
        )


def test_the_interval_is_students():
    scores = tuple(random.Random(0).gauss(0.9, 0.01) for _ in range(5))
    candidate = Candidate(TrialRecord(0, State.COMPLETE), scores, scores)
    low, high = stats.t.interval(0.95, 4, loc=candidate.mean, scale=stats.sem(scores))
    assert candidate.mean - candidate.half_width == pytest.approx(low)
    assert candidate.mean + candidate.half_width == pytest.approx(high)
    assert Candidate(TrialRecord(0, State.COMPLETE), (0.9,), (0.9,)).half_width is None


def test_means_rank_and_a_lucky_single_score_falls(tiny_study, tiny_engine):
    study = tiny_study()
    lucky, steady, last = (keep_trial(study, tiny_engine, score) for score in (0.95, 0.90, 0.80))
    assert [c.record.number for c in ranked(study)] == [lucky, steady, last]
    keep_repeats(study, lucky, 0.84, 0.85, 0.83)
    keep_repeats(study, steady, 0.91, None, 0.89)
    found = ranked(study)
    assert [c.record.number for c in found] == [steady, lucky, last]
    assert found[0].scores == (0.90, 0.91, 0.89)
    assert found[0].metrics == (0.45, 0.455, 0.445)
    assert found[0].failed == 1
    assert found[1].mean == pytest.approx((0.95 + 0.84 + 0.85 + 0.83) / 4)
    assert [c.record.number for c in ranked(study, 1)] == [steady]


def test_repeats_of_trial_1_are_not_those_of_trial_11(tiny_study, tiny_engine):
    study = tiny_study()
    for score in (0.5, 0.6):
        keep_trial(study, tiny_engine, score)
    keep_repeats(study, 11, 0.5)
    assert [len(candidate.scores) for candidate in ranked(study)] == [1, 1]
    keep_repeats(study, 1, 0.5)
    assert [len(candidate.scores) for candidate in ranked(study)] == [2, 1]


def test_a_best_config_that_was_trained_once_raises_doubts(tiny_study, tiny_engine):
    study = tiny_study()
    number = keep_trial(study, tiny_engine, 0.9)
    assert "mpsearch study repeat tiny" in doubts(ranked(study), "tiny")[0]
    keep_repeats(study, number, 0.9)
    assert doubts(ranked(study), "tiny") == []
    assert doubts([], "tiny") == []


def test_the_gap_is_what_validation_promises_above_test(tiny_study, tiny_engine):
    study = tiny_study()
    number = keep_trial(study, tiny_engine, 0.9)
    study.keep("finetuned trial-0", {"trial": number, "validation": 0.98, "test": 0.95, "changed_alpha": None})
    (candidate,) = ranked(study)
    assert gap(candidate.finetuned[0]) == pytest.approx(0.03)
    assert candidate.to_json()["finetuned"][0]["gap"] == pytest.approx(0.03)


def test_a_candidate_is_shown_in_one_line():
    record = TrialRecord(3, State.COMPLETE, metric=0.5, score=0.5)
    assert repr(Candidate(record, (0.5,), (0.5,))) == "<trial 3: mean score 0.5000, trainings 1>"
    assert repr(Candidate(record, (0.5, 0.7), (0.5, 0.7))).startswith("<trial 3: mean score 0.6000 ± 1.2706 (95%)")
