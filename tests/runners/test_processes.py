"""Running a study in local processes."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from mpsearch.errors import ConfigError, StudyError
from mpsearch.records import State
from mpsearch.runners.inprocess import run
from mpsearch.runners.limits import Limits
from mpsearch.runners.processes import run_in_processes, threads_each
from mpsearch.runners.setup import build_engine, setup_of
from mpsearch.runners.weights import load_weights, weights_file
from mpsearch.study import open_study


class Shown:
    """Keeps what a run tells, and does something at an epoch."""

    def __init__(self, at_epoch=lambda number: None):
        self.running, self.most, self.ended, self._at_epoch = set(), 0, [], at_epoch

    def trial_started(self, number, config):
        self.running.add(number)
        self.most = max(self.most, len(self.running))

    def epoch_ended(self, number, epoch, logs):
        self._at_epoch(number)

    def waiting(self, numbers):
        """Not kept."""

    def trial_ended(self, record):
        self.running.discard(record.number)
        self.ended.append(record)


def workers():
    """Process ids of this process's workers."""
    found = []
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"mpsearch.runners.worker_process" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return found


def test_processes_train_the_trials_that_one_process_trains(tiny_study, tiny_engine):
    space, file = tiny_engine.network.space, tiny_engine.file
    alone, together, shown = tiny_study("alone"), tiny_study("together"), Shown()
    for study in (alone, together):
        study.enqueue(space, space.uniform(8), "uniform 8")
        study.enqueue(space, space.uniform(8), "uniform 8")  # a twin, which mustn't be trained beside the first
    run(alone, tiny_engine, 5, Shown())
    killed = []

    def kill_one(number):
        if not killed and number > 0:
            killed.append(number)
            os.kill(workers()[0], signal.SIGKILL)

    shown = Shown(kill_one)
    assert run_in_processes(together, file, space, Limits(5), shown, 2) == ""
    assert workers() == []
    assert shown.most == 2
    assert killed
    found = {kind: [r for r in open_study("together").records() if r.state is kind] for kind in State}
    assert [r.cause for r in found[State.BROKEN]] == [
        "its process was ended by SIGKILL (where memory runs out, systems do that)"
    ]
    complete = {record.fingerprint: record for record in found[State.COMPLETE] if record.answered_from is None}
    assert sorted(record.sequence for record in found[State.COMPLETE]) == [0, 1, 2, 3, 4]
    assert not found[State.RUNNING]
    assert not found[State.WAITING]
    assert len(complete) == 4
    for record in alone.records():
        other = complete[record.fingerprint]
        assert (other.config, other.costs) == (record.config, record.costs)
        assert other.metric == pytest.approx(
            record.metric, abs=0.05
        )  # another number of threads, another order of sums
    best = together.best()[0]
    tiny_engine.network.set_config(best.config)
    tiny_engine.network.load_state(load_weights(weights_file(together, best.number), best.config))
    session = tiny_engine.session("adam")
    assert session.evaluate(tiny_engine.data, tiny_engine.data.validation)["accuracy"] == pytest.approx(best.metric)


@pytest.mark.parametrize("what", ["space_hash", "data_fingerprint", "float_weights"])
def test_a_worker_that_finds_another_task_says_so(tiny_study, tiny_engine, what):
    setup = setup_of(tiny_study(), tiny_engine.file)
    with pytest.raises(StudyError, match=f"a worker finds {what.replace('_', ' ')} .*, but the run began with 0123"):
        build_engine(replace(setup, **{what: "0123456789abcdef"}), tiny_engine.data)


def test_a_worker_that_fails_ends_the_run_with_what_it_said(tiny_study, tiny_engine, tmp_path):
    study, file = tiny_study(), replace(tiny_engine.file, path=tmp_path / "not a number.py")
    worker = "benchmarks.simulation_worker"
    with pytest.raises(StudyError, match=r"(?s)a worker failed where it shouldn't.*could not convert string to float"):
        run_in_processes(study, file, tiny_engine.network.space, Limits(2), Shown(), 1, module=worker)
    assert study.records() == []


def test_workers_that_cannot_start_end_the_run_with_what_they_said(tiny_study, tiny_engine, monkeypatch):
    monkeypatch.setattr("mpsearch.runners.processes.sys.executable", str(Path("/bin/false")))
    with pytest.raises(StudyError, match="3 workers ended before they were ready"):
        run_in_processes(tiny_study(), tiny_engine.file, tiny_engine.network.space, Limits(2), Shown(), 2)
    with pytest.raises(ConfigError, match="at least one process, but got 0"):
        run_in_processes(tiny_study("b"), tiny_engine.file, tiny_engine.network.space, Limits(2), Shown(), 0)


def test_threads_are_divided():
    assert [threads_each(jobs, cores=8) for jobs in (1, 3, 8, 20)] == [8, 2, 1, 1]
