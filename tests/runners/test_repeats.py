"""Repeats: other seeds, resumable, unseen by the search."""

import pytest

from mpsearch.errors import StudyError, TrainingError
from mpsearch.ranking import ranked, repeat_key
from mpsearch.runners.inprocess import run
from mpsearch.runners.repeats import missing_repeats, repeat, to_repeat
from mpsearch.searching.engine import Outcome
from mpsearch.study import open_study
from mpsearch.training import History


class Silent:
    def __init__(self, interrupt_at=None):
        self.ended, self.interrupt_at = [], interrupt_at

    def trial_started(self, number, config): ...
    def epoch_ended(self, number, epoch, logs): ...
    def trial_ended(self, record): ...

    def repeat_ended(self, record, index, score, cause):
        self.ended.append((record.number, index))
        if len(self.ended) == self.interrupt_at:
            raise KeyboardInterrupt


@pytest.fixture
def seeds(tiny_engine, monkeypatch):
    """Training in no time, whose metric is a function of the seed; the seeds it was called with."""
    used = []

    def train(config, seed, recipe=None, report=None, **options):
        used.append(seed)
        report(0, {"val_accuracy": seed % 1000 / 1000})
        return Outcome(seed % 1000 / 1000, History([]), seconds=0.0, state=[])

    monkeypatch.setattr(tiny_engine, "train", train)
    return used


def test_repeats_have_seeds_of_their_own_and_go_on_where_they_were_cut_off(tiny_study, tiny_engine, seeds):
    study = tiny_study()
    run(study, tiny_engine, 3, Silent())
    chosen, first = to_repeat(study, 2), list(seeds)
    seeds.clear()
    with pytest.raises(KeyboardInterrupt):
        repeat(study, tiny_engine, chosen, 3, Silent(interrupt_at=4))
    assert missing_repeats(study, chosen, 3) == 2
    study = open_study("tiny")
    repeat(study, tiny_engine, chosen, 3, Silent())
    assert len(set(seeds)) == len(seeds) == 6
    assert not set(seeds) & set(first)
    assert missing_repeats(study, chosen, 3) == 0
    repeat(study, tiny_engine, chosen, 3, Silent())
    assert len(seeds) == 6
    kept = study.kept("repeat ")
    assert kept[repeat_key(chosen[0].number, 2)]["seed"] in seeds
    again = tiny_study("again")
    run(again, tiny_engine, 3, Silent())
    repeat(again, tiny_engine, to_repeat(again, 1), 3, Silent())
    same = {key: value["score"] for key, value in again.kept("repeat ").items()}
    assert same == {key: kept[key]["score"] for key in same}


def test_the_search_goes_on_as_if_there_were_no_repeats(tiny_study, tiny_engine, seeds):
    plain, repeated = tiny_study("plain", "tpe"), tiny_study("repeated", "tpe")
    run(plain, tiny_engine, 4, Silent())
    run(repeated, tiny_engine, 2, Silent())
    repeat(repeated, tiny_engine, to_repeat(repeated, 2), 2, Silent())
    run(repeated, tiny_engine, 4, Silent())
    assert [r.fingerprint for r in repeated.records()] == [r.fingerprint for r in plain.records()]


def test_a_repeat_that_breaks_down_is_kept_with_its_cause(tiny_study, tiny_engine, seeds, monkeypatch):
    study = tiny_study()
    run(study, tiny_engine, 1, Silent())

    def broken(config, seed, report):
        raise TrainingError("the loss became nan")

    monkeypatch.setattr(tiny_engine, "train", broken)
    repeat(study, tiny_engine, to_repeat(study, 1), 2, Silent())
    (candidate,) = ranked(study)
    assert (candidate.failed, len(candidate.scores)) == (2, 1)
    assert study.kept("repeat ")[repeat_key(0, 1)]["cause"] == "TrainingError: the loss became nan"


def test_trials_from_before_a_change_are_not_repeated(tiny_study, tiny_engine, seeds):
    study = tiny_study()
    with pytest.raises(StudyError, match="no complete trial yet"):
        to_repeat(study, 1)
    run(study, tiny_engine, 1, Silent())
    record = study.record(0)
    study.accept({"data_fingerprint": "other"})
    with pytest.raises(StudyError, match="no complete trial yet"):
        to_repeat(study, 1)
    with pytest.raises(StudyError, match="was trained before a change"):
        repeat(study, tiny_engine, [study.record(record.number)], 1, Silent())
