"""The ledger between a study and its runner: how runs are left, and how leases are kept meanwhile."""

import errno
import signal
import time

import pytest

from benchmarks import simulation
from mpsearch.errors import ConfigError, StudyError
from mpsearch.leases import Pace, Watch, holding
from mpsearch.records import State
from mpsearch.runners.job import Ending
from mpsearch.runners.ledger import Ledger
from mpsearch.runners.limits import Limits
from mpsearch.runners.weights import save_weights, weights_file
from mpsearch.study import open_study

LOGS = {"loss": 1.0, "val_accuracy": 0.5}


class Silent:
    """Shows nothing."""

    def trial_started(self, number, config):
        """Not shown."""

    def epoch_ended(self, number, epoch, logs):
        """Not shown."""

    def trial_ended(self, record):
        """Not shown."""

    def waiting(self, numbers):
        """Not shown."""


@pytest.fixture
def study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return simulation.create("s", None)


def entered(study, pace=None):
    """A ledger of a run of six trials."""
    return Ledger(study, simulation.FILE, simulation.space(), Limits(6), Silent(), pace=pace)


@pytest.mark.parametrize(
    ("error", "attempt"),
    [(BrokenPipeError("head ended"), 2), (ConfigError("no such loss"), 1), (KeyboardInterrupt(), 1)],
)
def test_trials_that_run_as_a_run_ends_by_an_error_are_tried_again(study, error, attempt):
    def run():
        with entered(study) as ledger:
            for _ in range(3):
                ledger.next()
            raise error

    with pytest.raises(type(error)):
        run()
    assert [record.state for record in study.records()] == [State.BROKEN] * 3 + [State.WAITING] * 3
    assert [trial.user_attrs["attempt"] for trial in study.frozen_trials()[3:]] == [attempt] * 3


def test_a_config_that_breaks_the_run_each_time_fails_after_three_tries(study):
    def run():
        with entered(study) as ledger:
            ledger.next()
            raise ZeroDivisionError("a fault")

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            run()
    records = study.records()
    assert [record.state for record in records] == [State.BROKEN, State.BROKEN, State.FAILED]
    assert records[2].cause == "ZeroDivisionError: a fault; tried 3 times"


def test_endings_are_taken_for_what_they_are(study):
    with entered(study) as ledger:
        numbers = [ledger.next().number for _ in range(3)]
        for epoch in range(simulation.EPOCHS):
            ledger.epoch(numbers[0], epoch, LOGS)
        ledger.take(numbers[0], Ending(seconds=2.5))
        ledger.take(numbers[1], Ending(failed="NaN"))
        ledger.take(numbers[2], Ending(exhausted="out of memory"))
    records = study.records()
    assert [r.state for r in records] == [State.COMPLETE, State.FAILED, State.BROKEN, State.WAITING]
    assert (records[0].seconds, records[0].epochs) == (2.5, simulation.EPOCHS)
    assert [r.cause for r in records[1:3]] == ["NaN", "out of memory"]


def test_a_run_that_ends_as_its_storage_is_away_does_not_wait_for_it(study, monkeypatch):
    """Nor does the thread that renews leases; the trials keep their leases, and are found by them."""
    patience = []

    def run():
        with entered(study) as ledger:
            ledger.next()
            ledger.next()

            def gone(number, cause="interrupted"):
                patience.append(study._study._storage.patience)
                raise StudyError("the storage is away")

            monkeypatch.setattr(study, "interrupt", gone)
            raise StudyError("the storage was away for 120 s")

    before = study._study._storage.patience
    with pytest.raises(StudyError, match="was away for 120 s"):
        run()
    assert patience == [0.0]
    assert study._study._storage.patience == before > 0
    assert len(study.running()) == 2
    assert study.recover() == [0, 1]


def test_a_busy_run_watches_other_machines_leases(study, monkeypatch):
    """So that a death is found out while it trains, not only between its trials."""
    other, pace = open_study("s"), Pace(renew=0.05, grace=0.2, confirm=0.1)
    seen = []
    is_dead = Watch.is_dead

    def note(watch, number, attributes):
        seen.append(number)
        return is_dead(watch, number, attributes)

    monkeypatch.setattr(Watch, "is_dead", note)
    with holding() as (elsewhere, held):
        held.add(other.ask(simulation.space(), elsewhere).number)
        with entered(study, pace) as ledger:
            job = ledger.next()
            seen.clear()
            end = time.monotonic() + 20
            while 0 not in seen and time.monotonic() < end:
                time.sleep(0.05)
            assert 0 in seen
            beats = study._study.get_trials()[job.number].user_attrs.get("beat", 0)
            while study._study.get_trials()[job.number].user_attrs.get("beat", 0) <= beats and time.monotonic() < end:
                time.sleep(0.05)
            assert study._study.get_trials()[job.number].user_attrs["beat"] > beats


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_while_a_run_is_left_by_ctrl_c_passes_once(study, monkeypatch, capsys, times):
    interrupt, pressed = study.interrupt, []

    def press(number, cause="interrupted"):
        if len(pressed) < times:
            pressed.append(number)
            signal.raise_signal(signal.SIGINT)
        interrupt(number, cause)

    def run():
        with entered(study) as ledger:
            for _ in range(3):
                ledger.next()
            monkeypatch.setattr(study, "interrupt", press)
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "ending in good order; once more breaks that off\n"
    assert len(study.running()) == (0 if times == 1 else 2)
    study.recover()
    attempts = [t.user_attrs["attempt"] for t in study.frozen_trials() if "retry_of" in t.user_attrs]
    assert attempts == ([1, 1, 1] if times == 1 else [1, 2, 2])


@pytest.mark.parametrize("asked", ["next", "epoch"])
def test_what_ends_the_heartbeat_ends_the_run(study, monkeypatch, asked):
    def gone(number, beat):
        raise KeyError("no such trial")

    def run():
        with entered(study, Pace(renew=0.01)) as ledger:
            job = ledger.next()
            monkeypatch.setattr(study, "renew", gone)
            end = time.monotonic() + 30
            while time.monotonic() < end:
                time.sleep(0.01)
                ledger.next() if asked == "next" else ledger.epoch(job.number, 0, LOGS)

    with pytest.raises(KeyError, match="no such trial"):
        run()
    assert not study.running()
    attempts = {trial.user_attrs["attempt"] for trial in study.frozen_trials() if "retry_of" in trial.user_attrs}
    assert attempts == {1}


def test_a_trial_taken_for_dead_while_it_is_answered_is_left_as_it_ended(study, monkeypatch):
    answer = study.answer

    def late(number, earlier):
        monkeypatch.setattr(study, "answer", answer)
        study.interrupt(number, "taken for dead")
        return answer(number, earlier)

    config = simulation.space().uniform(8)
    for _ in range(2):
        study.enqueue(simulation.space(), config, "twice")
    with entered(study) as ledger:
        job = ledger.next()
        ledger.epoch(job.number, 0, LOGS)
        ledger.trained(job.number)
        monkeypatch.setattr(study, "answer", late)
        assert ledger.next().number != job.number
    assert study.records()[1].cause == "taken for dead"


def test_weights_that_cannot_be_written_are_an_error_of_the_disk_not_of_the_config(study, monkeypatch):
    def write_half(file, *arrays, **named):
        file.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("numpy.savez", write_half)
    path = weights_file(study, 0)
    with pytest.raises(StudyError, match=r"weights can't be written to .*trial-0\.npz: No space left on device"):
        save_weights(path, [], simulation.space().uniform(8))
    assert list(path.parent.iterdir()) == []
