"""Processes that ask for trials of one study at the same moment."""

import pytest

from benchmarks import simulation
from mpsearch.leases import holding
from mpsearch.records import State
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
