"""What happens when processes, machines, disks and databases die in the middle of a study; all of it for real.

Workers are processes of `benchmarks.simulation`, whose trials sleep: what is tried is the ledger, the leases and the
storages. `tests/runners` does the same with real training.
"""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import simulation
from mpsearch.records import State
from mpsearch.runners.limits import Limits
from mpsearch.runners.processes import run_in_processes
from mpsearch.study import open_study
from tests.signals import heed_ctrl_c

ROOT = Path(__file__).resolve().parents[2]
STORAGES = ("postgres", "journal", "sqlite")
ONE = ["postgres", *(pytest.param(kind, marks=pytest.mark.slow) for kind in STORAGES[1:])]  # each try takes 15 s


@pytest.fixture
def storage(request, tmp_path, monkeypatch):
    """The URL of a storage: of the kind that the test asks for."""
    monkeypatch.chdir(tmp_path)
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return f"{request.param}:///{tmp_path / 'studies'}"


@pytest.fixture
def start():
    """Starts processes in groups of their own; those that are left when the test ends are killed."""
    started = []

    def begin(*command):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "preexec_fn": heed_ctrl_c}
        started.append(subprocess.Popen([*map(str, command)], env=environment, start_new_session=True, **options))
        return started[-1]

    yield begin
    for process in started:
        kill(process)


def kill(process):
    """Kill a process with all that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.fixture
def worker(start):
    """Starts workers of a study."""

    def begin(storage, name, trials, seconds, *options):
        command = [sys.executable, "-m", "benchmarks.simulation", storage, name]
        return start(*command, "--trials", trials, "--seconds", seconds, *options)

    return begin


def until(process, what):
    """Read what a worker says until it says something; all of it."""
    said = []
    for line in process.stdout:
        said.append(json.loads(line))
        if what(said[-1]):
            return said
    raise AssertionError(f"the worker ended: {process.stderr.read()}")


def ended(*processes, seconds=120):
    """Wait until workers end well; what each said."""
    outputs = []
    for process in processes:
        out, errors = process.communicate(timeout=seconds)
        assert process.returncode == 0, errors
        outputs.append([json.loads(line) for line in out.splitlines()])
    return outputs


def check_ledger(study, trials):
    """Every trial ended once, none runs, none was trained to its end twice, no curve has a gap.

    Configs may wait that are tried again, or that were one too many.
    """
    records = study.records()
    states = Counter(record.state for record in records)
    assert states[State.RUNNING] == 0
    asked = len(records) - states[State.BROKEN] - states[State.WAITING]
    assert asked == states[State.COMPLETE] + states[State.PRUNED] + states[State.FAILED] == trials
    trained = Counter(r.fingerprint for r in records if r.state is State.COMPLETE and r.answered_from is None)
    assert set(trained.values()) <= {1}
    for record, frozen in zip(records, study.frozen_trials(), strict=True):
        values = [frozen.intermediate_values[epoch] for epoch in sorted(frozen.intermediate_values)]
        assert sorted(frozen.intermediate_values) == list(range(len(values)))
        if record.state is State.COMPLETE:
            assert values == [logs["score"] for logs in record.curve]
            assert len(values) == simulation.EPOCHS
            assert record.metric == simulation.metric(record.config, simulation.EPOCHS - 1)
    return states


@pytest.mark.parametrize("storage", ONE, indirect=True)
def test_a_study_is_whole_though_its_workers_are_killed(storage, worker):
    study = simulation.create("killed", storage)
    workers = [worker(storage, "killed", 24, 0.6) for _ in range(3)]
    for _ in range(2):
        victim = workers.pop(0)
        until(victim, lambda said: "epoch" in said)
        kill(victim)
        workers.append(worker(storage, "killed", 24, 0.6))
    ended(*workers)
    states = check_ledger(study, 24)
    assert states[State.COMPLETE] == 24
    assert 1 <= states[State.BROKEN] <= 2  # a worker may be killed between two trials
    assert {r.cause for r in study.records() if r.state is State.BROKEN} == {"its process died"}


@pytest.mark.parametrize("storage", ["postgres"], indirect=True)
def test_a_database_that_is_away_for_20_seconds_loses_nothing(storage, postgres, worker):
    study = simulation.create("away", storage)
    workers = [worker(storage, "away", 10, 1.5) for _ in range(2)]
    for process in workers:
        until(process, lambda said: "epoch" in said)
    postgres.stop("immediate")
    time.sleep(20)
    postgres.start()
    ended(*workers)
    states = check_ledger(study, 10)
    assert states[State.BROKEN] == 0


@pytest.mark.parametrize("storage", ["journal"], indirect=True)
def test_clocks_that_differ_by_an_hour_break_no_living_trial_and_hide_no_death(storage, worker):
    """Of three machines one is an hour ahead, one an hour behind, and one dies."""
    study = simulation.create("clocks", storage)
    options = ("--grace", "8")
    dead = worker(storage, "clocks", 6, 300, "--machine", "dead", *options)
    until(dead, lambda said: "started" in said)
    kill(dead)
    slow = worker(storage, "clocks", 6, 18, "--machine", "behind", *options, "--clock", -3600)
    until(slow, lambda said: "started" in said)
    fast = worker(storage, "clocks", 6, 0.3, "--machine", "ahead", *options, "--clock", 3600)
    said = ended(slow, fast)
    states = check_ledger(study, 6)
    assert states[State.BROKEN] == 1
    assert study.records()[0].state is State.BROKEN  # the dead one's, not that of the slow one
    assert next(line["state"] for line in said[0] if "ended" in line) == "complete"


@pytest.mark.parametrize("url", ["sqlite:///s.db", "journal:///s.log"])
def test_a_full_disk_is_an_error_and_the_study_goes_on_when_there_is_room(tmp_path, url):
    """On a file system of one megabyte, which only the shell below sees."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    script = f"""
        set -e
        mount -t tmpfs -o size=1200k tmpfs {tmp_path}
        cd {tmp_path}
        {sys.executable} -c 'from benchmarks import simulation as s; s.create("full", "{url}")'
        dd if=/dev/zero of=filler bs=1k count=4000 2>/dev/null || true
        said=$({sys.executable} -m benchmarks.simulation {url} full --trials 8 --seconds 0 2>&1) && exit 9
        tail -1 <<<"$said"
        rm filler
        {sys.executable} -m benchmarks.simulation {url} full --trials 8 --seconds 0 >/dev/null
        {sys.executable} -c 'from mpsearch.study import open_study
for r in open_study("full", "{url}").records(): print(r.state, r.sequence)'
    """
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script], env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
        capture_output=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    error, *trials = done.stdout.splitlines()
    assert "full" in error
    complete = [line for line in trials if line.startswith("complete")]
    assert len(complete) == 8
    assert sorted(int(line.split()[1]) for line in complete) == list(range(8))


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_ctrl_c_twice_leaves_a_study_that_goes_on_and_costs_no_try(storage, worker):
    """Another process holds the database while the first one takes its effect, so that the second one comes then."""
    study = simulation.create("twice", storage)
    process = worker(storage, "twice", 3, 0.9)
    until(process, lambda said: "epoch" in said)
    with contextlib.closing(sqlite3.connect(storage.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        process.send_signal(signal.SIGINT)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        other.execute("COMMIT")
    errors = process.communicate(timeout=60)[1]
    assert errors.startswith("ending in good order; once more breaks that off\n")
    assert process.returncode != 0
    ended(worker(storage, "twice", 3, 0.1))
    states = check_ledger(study, 3)
    assert states[State.COMPLETE] == 3
    assert states[State.BROKEN] == 1
    assert [trial.user_attrs["attempt"] for trial in study.frozen_trials() if "retry_of" in trial.user_attrs] == [1]


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_8_workers_of_one_file_never_find_it_locked(storage, worker):
    study = simulation.create("eight", storage)
    workers = [worker(storage, "eight", 60, 0.02) for _ in range(8)]
    for process in workers:
        errors = process.communicate(timeout=180)[1]
        assert (process.returncode, errors) == (0, "")
    states = check_ledger(study, 60)
    assert (states[State.COMPLETE], states[State.BROKEN]) == (60, 0)


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_the_death_of_a_worker_is_seen_though_a_process_that_it_started_lives_on(storage, tmp_path):
    study = simulation.create("forking", storage)
    file = replace(simulation.FILE, path=tmp_path / "forking.py")
    run_in_processes(study, file, simulation.space(), Limits(4), simulation.Told(), 1, module="tests.faults.workers")
    child = int((study.folder / "child").read_text())
    assert alive(child)
    os.kill(child, signal.SIGKILL)
    assert check_ledger(study, 4) == {State.COMPLETE: 4, State.BROKEN: 1}


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_a_trial_out_of_memory_is_tried_three_times_and_the_study_goes_on(storage, tmp_path):
    study, space = simulation.create("hungry", storage), simulation.space()
    study.enqueue(space, space.uniform(16), "hungry")
    file = replace(simulation.FILE, path=tmp_path / "hungry.py")
    run_in_processes(study, file, space, Limits(4), simulation.Told(), 1, module="tests.faults.workers")
    records = study.records()
    assert Counter(record.state for record in records) == {State.BROKEN: 2, State.FAILED: 1, State.COMPLETE: 3}
    (failed,) = [record for record in records if record.state is State.FAILED]
    assert failed.config == space.uniform(16)
    assert failed.cause.startswith("out of memory: Unable to allocate 256. MiB")
    assert failed.cause.endswith("; tried 3 times")


DRIVER = """
import sys
from pathlib import Path
from dataclasses import replace
from benchmarks import simulation
from mpsearch.runners.limits import Limits
from mpsearch.runners.processes import run_in_processes
from mpsearch.study import open_study
file = replace(simulation.FILE, path=Path(sys.argv[2] + ".py"))
run_in_processes(open_study("driver", sys.argv[1]), file, simulation.space(), Limits(int(sys.argv[3])),
                 simulation.Told(), int(sys.argv[4]), module="benchmarks.simulation_worker")
"""


def alive(process):
    """Whether a process runs."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_when_the_parent_of_processes_is_killed_they_end_and_the_next_run_carries_on(storage, start):
    study = simulation.create("driver", storage)
    process = start(sys.executable, "-c", DRIVER, storage, 0.9, 10, 4)
    until(process, lambda said: said.get("epoch") == 1)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 4
    process.kill()
    process.communicate()
    ended(start(sys.executable, "-c", DRIVER, storage, 0.1, 10, 2))
    states = check_ledger(study, 10)
    assert 1 <= states[State.BROKEN] <= 4
    assert not any(alive(child) for child in children)


@pytest.mark.parametrize("storage", ["sqlite"], indirect=True)
def test_a_config_whose_process_dies_each_time_is_given_up_after_three_tries(storage, tmp_path):
    study = simulation.create("poison", storage)
    space = simulation.space()
    study.enqueue(space, space.uniform(16), "poison")

    class Killing(simulation.Told):
        def trial_started(self, number, config):
            self.poison = {*getattr(self, "poison", ()), *([number] if config == space.uniform(16) else ())}

        def epoch_ended(self, number, epoch, logs):
            if number in self.poison:
                for child in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                    if b"simulation_worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                        os.kill(int(child), signal.SIGKILL)

    file = replace(simulation.FILE, path=tmp_path / "0.1.py")
    run_in_processes(study, file, space, Limits(4), Killing(), 1, module="benchmarks.simulation_worker")
    states = check_ledger(study, 4)
    assert states == {State.BROKEN: 2, State.FAILED: 1, State.COMPLETE: 3}
    assert [r.cause for r in study.records() if r.state is State.FAILED] == [
        "its process was ended by SIGKILL (where memory runs out, systems do that); tried 3 times"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("storage", STORAGES, indirect=True)
def test_200_trials_of_4_workers_that_are_killed_at_random_end_once_each(storage, worker, record_property):
    study, rng, kills = simulation.create("soak", storage, pruner="median"), random.Random(0), 0
    workers = [worker(storage, "soak", 200, 0.9) for _ in range(4)]
    end = time.monotonic() + 600
    while open_study("soak", storage).finished < 200:
        assert time.monotonic() < end
        time.sleep(rng.uniform(0.3, 1.5))
        index = rng.randrange(4)
        if workers[index].poll() is not None:
            assert workers[index].returncode == 0  # the study has its trials
        elif kills < 40:
            kill(workers[index])
            kills += 1
            workers[index] = worker(storage, "soak", 200, 0.9)
    for process in workers:
        process.communicate(timeout=120)
        assert process.returncode == 0
    states = check_ledger(study, 200)
    record_property("kills", kills)
    record_property("states", {str(state): count for state, count in states.items()})
    assert kills >= 10
    failed = {record.cause for record in study.records() if record.state is State.FAILED}
    assert failed <= {"its process died; tried 3 times"}  # by chance one config met with death three times
    assert states[State.COMPLETE] + states[State.PRUNED] >= 190
