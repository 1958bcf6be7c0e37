"""Processes that ask for trials of one study at the same moment."""

import pytest

from benchmarks import simulation
from mpsearch.leases import holding
from mpsearch.records import State, TrialRecord
from mpsearch.runners.limits import Limits
from mpsearch.study import open_study


@pytest.fixture
def studies(tmp_path, monkeypatch):
    """One study, as two processes have it open."""
    monkeypatch.chdir(tmp_path)
    simulation.create("shared", None)
    return open_study("shared"), open_study("shared")


def between(study, monkeypatch, name, act):
    """Let another process act just before a write of this one."""
    write = getattr(study._study._storage, name)

    def late(*arguments, **options):
        monkeypatch.setattr(study._study._storage, name, write)
        act()
        return write(*arguments, **options)

    monkeypatch.setattr(study._study._storage, name, late)


def test_a_config_that_two_processes_propose_at_the_same_moment_is_trained_by_the_faster_one(studies, monkeypatch):
    (slow, fast), space = studies, simulation.space()
    with holding() as (one, held), holding() as (other, held_by_other):
        begun = []
        between(slow, monkeypatch, "create_new_trial", lambda: begun.append(fast.ask(space, other)))
        second = slow.ask(space, one)
        first = begun[0]
        assert first.config != second.config
        held.add(second.number)
        held_by_other.add(first.number)
        assert slow.recover() == fast.recover() == []
        twin = slow.records()[1]
        assert (twin.state, twin.fingerprint) == (State.WAITING, first.config.fingerprint)
        assert slow.ask(space, one).number not in (0, 1, 2)  # the twin isn't trained beside the first


def test_a_queued_trial_that_two_processes_want_is_begun_once_and_has_the_right_holder(studies, monkeypatch):
    (slow, fast), space = studies, simulation.space()
    slow.enqueue(space, space.uniform(8), "mine")
    with holding() as (one, _), holding() as (other, held_by_other):
        begun = []
        between(slow, monkeypatch, "set_trial_user_attr", lambda: begun.append(fast.ask(space, other)))
        asked = slow.ask(space, one)
        assert (begun[0].number, asked.number) == (0, 1)
        held_by_other.add(0)
        assert fast.frozen_trials()[0].user_attrs["holder"] == other.to_json()
        assert slow.recover() == [1]  # its own, which it doesn't hold, and not the other's
        assert slow.record(0).state is State.RUNNING


def test_one_config_queued_twice_is_not_trained_by_two_processes_at_once(studies, monkeypatch):
    (slow, fast), space = studies, simulation.space()
    for _ in range(2):
        slow.enqueue(space, space.uniform(8), "mine")
    with holding() as (one, _), holding() as (other, held_by_other):
        slow.records()
        begun = fast.ask(space, other)
        held_by_other.add(begun.number)
        asked = slow.ask(space, one)
        assert asked.config != begun.config
        assert slow.record(1).state is State.WAITING


def test_a_queued_trial_that_another_process_began_and_ended_meanwhile_is_left_alone(studies, monkeypatch):
    (slow, fast), space = studies, simulation.space()
    slow.enqueue(space, space.uniform(8), "mine")
    with holding() as (one, _), holding() as (other, _):

        def train_it():
            fast.fail(fast.ask(space, other).number, "can't be trained")

        between(slow, monkeypatch, "set_trial_user_attr", train_it)
        assert slow.ask(space, one).number == 1
        assert slow.record(0).state is State.FAILED


@pytest.mark.parametrize("write", ["set_trial_user_attr", "create_new_trial", "set_trial_state_values"])
def test_a_dead_trial_that_two_processes_find_is_tried_again_once(studies, monkeypatch, write):
    (slow, fast), space = studies, simulation.space()
    with holding() as (lost, _), holding() as (one, held):
        slow.ask(space, lost)
        between(slow, monkeypatch, write, fast.recover)
        slow.recover()
        again = slow.ask(space, one)
        held.add(again.number)
        assert slow.record(again.number).fingerprint == slow.record(0).fingerprint
        held.add(slow.ask(space, one).number)
        records = slow.records()
        tries = [r for r in records if r.fingerprint == records[0].fingerprint]
        assert [r.state for r in tries if r.number not in (0, again.number)] in ([], [State.BROKEN])
        assert slow.record(0).state is State.BROKEN
        assert sum(record.state is State.RUNNING for record in records) == 2


def test_of_trials_begun_at_the_same_moment_those_that_are_too_many_give_way():
    def records(*states):
        return [TrialRecord(number, state) for number, state in enumerate(states)]

    limits, ended, runs, waits = Limits(trials=3), State.COMPLETE, State.RUNNING, State.WAITING
    assert not limits.surplus(records(ended, ended, runs), 2, queued=False)
    assert limits.surplus(records(ended, ended, runs, runs), 3, queued=False)
    assert not limits.surplus(records(ended, ended, runs, runs), 2, queued=False)
    assert limits.surplus(records(runs, ended, ended, runs), 0, queued=True)  # whichever of the two began first
    assert not limits.surplus(records(runs, ended, waits, runs), 0, queued=True)
