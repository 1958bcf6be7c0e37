"""Leases: whose trials count as dead, and when."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.leases import Holder, Pace, Watch, claim_of, held_by, holder_of, holding

PACE = Pace(renew=15.0, grace=120.0, confirm=30.0)
ELSEWHERE = Holder("other", "another machine", 1, "5").to_json()


class Clock:
    """A process's own clock, which only this test moves."""

    now = 0.0

    def __call__(self):
        return self.now


def test_a_trial_is_its_holders_as_long_as_that_has_it():
    watch = Watch()
    with holding() as (holder, held):
        attributes = {"holder": holder.to_json()}
        assert holder_of(attributes) == holder
        assert watch.is_dead(3, attributes)
        held.add(3)
        assert not watch.is_dead(3, attributes)
    assert watch.is_dead(3, attributes)
    assert watch.is_dead(3, {})  # begun by a version without leases


PROGRAM = """
import json, time
from mpsearch.leases import holding
with holding() as (holder, _):
    print(json.dumps(holder.to_json()), flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux has /proc, where processes are looked up")
def test_a_dead_process_of_this_machine_is_found_out_at_once_and_an_id_used_again_is_another_process():
    watch = Watch()
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        held = json.loads(process.stdout.readline())
        assert held["process"] == process.pid
        assert not watch.is_dead(0, {"holder": held})
        assert watch.is_dead(0, {"holder": {**held, "began": "1"}})
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie is dead as well
        assert watch.is_dead(0, {"holder": held})
    assert watch.is_dead(0, {"holder": held})


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux has /proc, where processes are looked up")
def test_a_living_process_of_this_machine_that_left_its_trial_is_found_out_by_its_heartbeat():
    clock = Clock()
    watch = Watch(PACE, clock)
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        left = {"holder": json.loads(process.stdout.readline()), "beat": 4}
        for seconds, dead in ((0.0, False), (121.0, False), (151.5, True)):
            clock.now = seconds
            assert watch.is_dead(0, left) == dead
        process.kill()


@pytest.mark.parametrize("error", [PermissionError, FileNotFoundError])
def test_a_process_that_proc_hides_from_this_user_is_judged_by_its_heartbeat(error, monkeypatch):
    def hide(path):
        raise error(path)

    def exists(process, number):
        assert (process, number) == (4711, 0)
        raise PermissionError

    with holding() as (holder, _):
        hidden = {"holder": {**holder.to_json(), "token": "theirs", "process": 4711}, "beat": 1}
    watch = Watch(PACE, Clock())
    monkeypatch.setattr("mpsearch.leases._machine", lambda: hidden["holder"]["machine"])
    monkeypatch.setattr(Path, "read_text", hide)
    monkeypatch.setattr(os, "kill", exists)
    assert not watch.is_dead(0, hidden)


def test_elsewhere_a_heartbeat_that_stands_still_is_a_death_after_the_grace_and_a_second_look():
    clock = Clock()
    watch = Watch(PACE, clock)
    attributes = {"holder": ELSEWHERE, "beat": 4}
    assert not watch.is_dead(0, attributes)
    clock.now = 119.0
    assert not watch.is_dead(0, attributes)
    clock.now = 121.0
    assert not watch.is_dead(0, attributes)  # perhaps the database was away: it is looked at once more
    clock.now = 150.0
    assert not watch.is_dead(0, attributes)
    clock.now = 151.5
    assert watch.is_dead(0, attributes)
    assert not watch.is_dead(0, {**attributes, "beat": 5})  # it lives after all


@given(
    epoch_seconds=st.floats(1.0, 4 * 3600.0),
    looks=st.lists(st.floats(0.1, 600.0), min_size=1, max_size=60),
    away=st.tuples(st.floats(0.0, 3600.0), st.floats(0.0, 3600.0)),
    offset=st.floats(-1e6, 1e6),
)
def test_a_living_holder_is_never_taken_for_dead(epoch_seconds, looks, away, offset):
    """However long an epoch takes, however seldom one looks, and though the database was away for a while.

    While it is away nobody looks and nobody renews; when it is back a holder renews within its pace.
    """
    begins, ends = away[0], away[0] + away[1]
    clock = Clock()
    watch = Watch(PACE, clock)

    def beat(now):
        """The last renewal that reached the database: every 15 s by the holder's clock, but not while it was away."""
        last = int(now // PACE.renew)
        return last if now < begins else int(begins // PACE.renew) if now < ends + PACE.renew else last

    now = 0.0
    for step in looks:
        now += step
        if now > epoch_seconds:
            break
        if begins <= now < ends:
            continue
        clock.now = now + offset
        assert not watch.is_dead(0, {"holder": ELSEWHERE, "beat": beat(now)})


@given(st.lists(st.floats(0.5, 40.0), min_size=20, max_size=60), st.integers(0, 9))
def test_a_dead_holder_is_found_out_by_anybody_who_looks_often(looks, beat):
    clock = Clock()
    watch, found = Watch(PACE, clock), None
    for step in [*looks, *([30.0] * 10)]:
        clock.now += step
        if watch.is_dead(0, {"holder": ELSEWHERE, "beat": beat}):
            found = clock.now
            break
    assert found is not None
    assert found - looks[0] <= PACE.grace + PACE.confirm + 2 * 40.0


def test_a_trial_whose_holder_died_before_it_could_say_so_is_that_of_those_that_claimed_it():
    clock = Clock()
    watch = Watch(PACE, clock)
    other = Holder("third", "third machine", 1, "5")
    with holding() as (holder, held):
        ours = claim_of(holder)
        assert watch.is_dead(0, ours)  # this process claimed it, and hasn't got it
        held.add(0)
        assert not watch.is_dead(0, ours)
    assert watch.is_dead(0, ours)
    assert not watch.is_dead(0, {**ours, **claim_of(other)})
    assert watch.is_dead(0, {**claim_of(other), **held_by(holder)})
    clock.now = 121.0
    assert not watch.is_dead(0, {**ours, **claim_of(other)})
    clock.now = 152.0
    assert watch.is_dead(0, {**ours, **claim_of(other)})
