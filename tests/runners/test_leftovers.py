"""What dead processes left of a study at its end is found; living ones are left alone."""

import dataclasses

import pytest

from benchmarks import simulation
from mpsearch.leases import Pace, holding
from mpsearch.records import State
from mpsearch.runners import leftovers
from mpsearch.study import open_study


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(leftovers, "POLL", 0.01)
    simulation.create("ended", None)
    return open_study("ended")


@pytest.mark.parametrize("alive", [False, True])
def test_a_process_on_another_machine_is_waited_for_until_it_is_known_whether_it_lives(study, monkeypatch, alive):
    with holding() as (holder, _):
        elsewhere = dataclasses.replace(holder, token="other", machine="another")
        asked = study.ask(simulation.space(), elsewhere)
    said = []

    def say(line):
        said.append(line)
        if alive:
            open_study("ended").renew(asked.number, 1)

    leftovers.settle(study, say, Pace(grace=0.05, confirm=0.05))
    assert said == ["looking whether the processes of running trials live: 0 …"]
    states = [record.state for record in study.records()]
    assert states == ([State.RUNNING] if alive else [State.BROKEN, State.WAITING])


def test_without_running_trials_nothing_is_looked_for(study):
    study.enqueue(simulation.space(), simulation.space().uniform(8), "mine")
    leftovers.settle(study, pytest.fail)
    assert [record.state for record in study.records()] == [State.WAITING]
