"""Running a study on Ray Tune: nodes, actors, pruning, deaths, mistakes."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

ray = pytest.importorskip("ray")

from ray import tune  # noqa: E402
from ray.cluster_utils import Cluster as RayCluster  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

from benchmarks import simulation  # noqa: E402
from benchmarks.simulation_ray import SleepingTrainable  # noqa: E402
from mpsearch.errors import ConfigError, StudyError  # noqa: E402
from mpsearch.records import State  # noqa: E402
from mpsearch.runners import ray_tune  # noqa: E402
from mpsearch.runners.ledger import Ledger  # noqa: E402
from mpsearch.runners.limits import Limits  # noqa: E402
from mpsearch.runners.ray_trainable import SAID, TrialTrainable  # noqa: E402
from mpsearch.runners.ray_tune import Cluster, run_actors, run_on_ray  # noqa: E402
from mpsearch.runners.weights import load_weights, weights_file  # noqa: E402
from mpsearch.study import open_study  # noqa: E402
from tests.signals import heed_ctrl_c  # noqa: E402

ROOT = Path(__file__).parents[2]


class Silent:
    """Shows nothing."""

    def trial_started(self, number, config):
        """Not shown."""

    def epoch_ended(self, number, epoch, logs):
        """Not shown."""

    def waiting(self, numbers):
        """Not kept."""

    def trial_ended(self, record):
        """Not shown."""


@pytest.fixture(scope="module")
def cluster():
    """A cluster whose head has one CPU; the driver is connected to it."""
    noticed = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": noticed}
    made = RayCluster(initialize_head=True, connect=False, head_node_args=head)
    ray.init(address=made.address, log_to_driver=False, logging_level="error")
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def said(monkeypatch):
    """What actors say when they are ready, by Tune's trials."""
    heard, take = {}, ray_tune._Bridge.ready

    def hear(bridge, trial_id, said):
        heard[trial_id] = said
        return take(bridge, trial_id, said)

    monkeypatch.setattr(ray_tune._Bridge, "ready", hear)
    return heard


def meet(folder):
    """Wait until two actors have come here, so that neither trains all trials before the other is there."""
    (folder / str(os.getpid())).touch()
    end = time.monotonic() + 200
    while len(list(folder.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.1)


class Together(TrialTrainable):
    """Trains when another one is ready as well."""

    def build(self, setup, data, threads):
        super().build(setup, data, threads)
        self._meeting = Path(setup.folder).parent / "meeting"

    def train_job(self, job, report):
        meet(self._meeting)
        return super().train_job(job, report)


def simulated(actor, trials, progress=None, scheduler="study", meeting=None, **options):
    """The study of a run with actors that sleep, two at a time on one CPU, and the error that ended the run."""
    study, error = simulation.create("s", None, **options), None
    given = tune.with_parameters(actor, seconds=0.15, **({} if meeting is None else {"meeting": meeting}))
    half = Cluster(cpus=0.5, scheduler=scheduler)
    try:
        run_actors(study, simulation.FILE, simulation.space(), Limits(trials), progress or Silent(), half, given)
    except (Exception, KeyboardInterrupt) as caught:
        error = caught
    return open_study("s"), error


def whole(study):
    """Records of a study in which nothing runs, and no config was trained twice."""
    records = study.records()
    assert all(record.state is not State.RUNNING for record in records)
    trained = [record.fingerprint for record in records if record.state is State.COMPLETE]
    assert len(set(trained)) == len(trained)
    return records


def test_a_study_on_two_nodes_is_whole_though_one_of_them_dies(tiny_study, tiny_engine, cluster, said, monkeypatch):
    study, died, take = tiny_study(), [], ray_tune._Bridge.epoch
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()

    def take_and_kill(bridge, trial_id, epoch):
        if said[trial_id]["node"] == second.node_id and not died:
            died.append(bridge._jobs[trial_id].number)
            cluster.remove_node(second, allow_graceful=False)
        return take(bridge, trial_id, epoch)

    monkeypatch.setattr(ray_tune._Bridge, "epoch", take_and_kill)
    monkeypatch.setattr(ray_tune, "TrialTrainable", Together)
    (study.folder.parent / "meeting").mkdir(parents=True)
    file, data, space = tiny_engine.file, tiny_engine.data, tiny_engine.network.space
    assert run_on_ray(study, file, data, space, Limits(6), Silent(), Cluster()) == ""
    records = open_study("tiny").records()
    states = [record.state for record in records]
    assert len({heard["node"] for heard in said.values()}) == 2
    assert [record.number for record in records if record.state is State.BROKEN] == died
    assert states.count(State.COMPLETE) == 6
    assert len(states) == 7
    assert sorted(record.sequence for record in records if record.state is State.COMPLETE) == [0, 1, 2, 3, 4, 5]
    for record in records:
        if record.state is State.COMPLETE:
            assert record.epochs == len(record.curve) == 2
            assert record.metric == max(logs["val_accuracy"] for logs in record.curve)
    best = study.best()[0]
    tiny_engine.network.set_config(best.config)
    tiny_engine.network.load_state(load_weights(weights_file(study, best.number), best.config))
    session = tiny_engine.session("adam")
    assert session.evaluate(data, data.validation)["accuracy"] == pytest.approx(best.metric)


class Dying(SleepingTrainable):
    """Sleeps when another one is ready as well, and dies in the second epoch of trial 1."""

    def build(self, seconds, meeting):
        super().build(seconds)
        self._meeting = meeting

    def train_job(self, job, report):
        def report_or_die(epoch, logs):
            if (job.number, epoch) == (1, 1):
                os.kill(os.getpid(), signal.SIGKILL)
            return report(epoch, logs)

        meet(self._meeting)
        return super().train_job(job, report_or_die)


def test_actors_train_side_by_side_and_the_trial_of_one_that_dies_is_tried_again(cluster, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "meeting").mkdir()
    study, error = simulated(Dying, 12, meeting=tmp_path / "meeting")
    assert error is None
    records = whole(study)
    assert [record.state for record in records].count(State.COMPLETE) == 12
    assert (records[1].state, len(records)) == (State.BROKEN, 13)
    assert records[1].cause.startswith("its actor died: The actor died unexpectedly")
    assert len({heard["process"] for heard in said.values()}) <= 4 < len(said) == 13  # an actor trains many trials
    assert study.kept("float") == {"float": {"validation": 0.9}}


@pytest.mark.parametrize(
    ("scheduler", "pruner", "by"),
    [
        ("study", "median", ""),
        pytest.param("asha", "none", "by Tune's ASHA ", marks=pytest.mark.slow),
    ],
)
def test_a_pruned_trial_is_pruned_with_its_curve(cluster, tmp_path, monkeypatch, scheduler, pruner, by):
    monkeypatch.chdir(tmp_path)
    study, error = simulated(SleepingTrainable, 20, scheduler=scheduler, pruner=pruner)
    assert error is None
    records = whole(study)
    pruned = [record for record in records if record.state is State.PRUNED]
    assert pruned
    assert len(pruned) + sum(record.state is State.COMPLETE for record in records) == 20
    for record in pruned:
        assert 1 <= len(record.curve) == record.epochs < simulation.EPOCHS
        assert record.cause.startswith(f"pruned {by}after epoch {record.epochs}: score 0.")
        assert not weights_file(study, record.number).exists()


class Unborn(SleepingTrainable):
    """Never gets ready."""

    def build(self, seconds):
        raise OSError("no such accelerator")


@pytest.mark.slow
def test_actors_that_never_get_ready_end_the_run_and_cost_no_trial_a_try(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study, error = simulated(Unborn, 4)
    assert isinstance(error, StudyError)
    assert "3 actors ended before they could train" in str(error)
    assert "no such accelerator" in str(error)
    assert {record.state for record in whole(study)} == {State.BROKEN, State.WAITING}
    assert all(trial.user_attrs.get("attempt", 1) == 1 for trial in study.frozen_trials())


class Mistaken(SleepingTrainable):
    """Finds a mistake of its user in trial 1."""

    def train_job(self, job, report):
        if job.number == 1:
            raise ConfigError("no such loss")
        return super().train_job(job, report)


class Crashing(SleepingTrainable):
    """Has a fault of its own in trial 1."""

    def train_job(self, job, report):
        if job.number == 1:
            raise ZeroDivisionError("a fault")
        return super().train_job(job, report)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("actor", "kind", "text", "attempt"),
    [(Mistaken, ConfigError, "no such loss", 1), (Crashing, StudyError, "ZeroDivisionError: a fault", 2)],
)
def test_what_no_config_is_to_blame_for_ends_the_run_and_is_tried_again(
    cluster, tmp_path, monkeypatch, actor, kind, text, attempt
):
    monkeypatch.chdir(tmp_path)
    study, error = simulated(actor, 6)
    assert isinstance(error, kind)
    assert text in str(error)
    assert whole(study)[1].state is State.BROKEN
    (again,) = [t for t in study.frozen_trials() if t.user_attrs.get("retry_of") == 1]
    assert again.user_attrs["attempt"] == attempt
    assert all(record.state is not State.FAILED for record in study.records())


@pytest.mark.slow
def test_an_error_of_the_study_completes_no_trial_with_half_a_curve(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    take = Ledger.epoch

    def fail_late(ledger, number, epoch, logs):
        if (number, epoch) == (2, 1):
            raise StudyError("the disk is full")
        return take(ledger, number, epoch, logs)

    monkeypatch.setattr(Ledger, "epoch", fail_late)
    study, error = simulated(SleepingTrainable, 6)
    assert isinstance(error, StudyError)
    assert str(error) == "the disk is full"
    assert whole(study)[2].state is State.BROKEN
    assert all(record.epochs == simulation.EPOCHS for record in study.records() if record.state is State.COMPLETE)


class Interrupting(Silent):
    """Presses Ctrl-C in the second epoch of trial 2."""

    def epoch_ended(self, number, epoch, logs):
        if (number, epoch) == (2, 1):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.slow
def test_ctrl_c_queues_what_runs_again(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        study, error = simulated(SleepingTrainable, 6, Interrupting())
    finally:
        signal.signal(signal.SIGINT, before)
    assert isinstance(error, KeyboardInterrupt)
    records = whole(study)
    assert records[2].state is State.BROKEN
    assert [t.user_attrs["attempt"] for t in study.frozen_trials() if t.user_attrs.get("retry_of") == 2] == [1]
    assert all(record.state is not State.FAILED for record in records)


@pytest.mark.parametrize("most", [None, 4])
def test_resources_that_no_node_has_are_refused_at_once(cluster, tmp_path, monkeypatch, most):
    monkeypatch.chdir(tmp_path)
    study, wanted = simulation.create("s", None), Cluster(gpus=0.5, max_concurrent=most)
    with pytest.raises(ConfigError, match=r"needs 1 CPUs, 0\.5 GPUs, but the cluster's nodes have 1 CPUs, 0 GPUs"):
        run_actors(study, simulation.FILE, simulation.space(), Limits(2), Silent(), wanted, SleepingTrainable)
    assert study.records() == []


@pytest.mark.slow
def test_the_death_of_the_driver_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    simulation.create("s", None)
    command = [sys.executable, "-m", "benchmarks.simulation_ray", "sqlite:///studies/mpsearch.db", "s"]
    command += ["--trials", "8", "--seconds", "0.6", "--workers", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    driver = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, preexec_fn=heed_ctrl_c, start_new_session=True
    )
    for line in driver.stdout:
        if json.loads(line).get("epoch") == 1:
            break
    driver.kill()
    driver.wait()
    driver.stdout.close()
    study = open_study("s")
    left = [record.number for record in study.records() if record.state is State.RUNNING]
    assert left
    simulation.work(study, Limits(8), 0.0, Silent())
    records = whole(study)
    assert [record.number for record in records if record.state is State.BROKEN] == left
    assert sum(record.state is State.COMPLETE for record in records) == 8


# what follows needs no actors: the bridge between Tune's trials and the study's, told what actors would tell it


@pytest.fixture
def bridged(tmp_path, monkeypatch):
    """A study, and a function that enters a run of it with two trials open, as Tune's `one` and `two`."""
    monkeypatch.chdir(tmp_path)
    study = simulation.create("s", None)

    @contextmanager
    def run():
        with Ledger(study, simulation.FILE, simulation.space(), Limits(6), Silent()) as ledger:
            bridge = ray_tune._Bridge(study, ledger, 2, simulation.EPOCHS)
            assert [bridge.next(name)["number"] for name in ("one", "two")] == [0, 1]
            assert bridge.next("three") is None
            yield bridge

    return study, run


def told(**said):
    """An actor's result."""
    return {SAID: json.dumps(said)}


EPOCH = {"loss": 1.0, "val_accuracy": 0.5}


def test_a_trial_that_an_error_of_the_run_stops_does_not_count_as_trained(bridged, monkeypatch):
    study, run = bridged

    def stop():
        with run() as bridge:
            bridge.ready("one", {"float": 0.9})
            bridge.epoch("one", {"epoch": 0, "logs": EPOCH})
            bridge.error = StudyError("the disk is full")
            bridge.end("one", told(epoch=0, logs=EPOCH))  # as Tune does when it stops it
            bridge.end("two", None)
            raise bridge.error

    with pytest.raises(StudyError, match="the disk is full"):
        stop()
    assert [record.state for record in whole(study)] == [State.BROKEN, State.BROKEN, State.WAITING, State.WAITING]
    assert {trial.user_attrs.get("attempt", 1) for trial in study.frozen_trials()} == {1}


def test_deaths_before_actors_are_ready_cost_no_try_and_three_in_a_row_end_the_run(bridged):
    study, run = bridged
    with run() as bridge:
        bridge.lose("one", "its actor died: no such accelerator")
        bridge.end("one", None)
        bridge.end("two", None)
        assert bridge.error is None
        bridge.next("three")
        bridge.ready("three", {"float": 0.9})
        bridge.end("three", None)  # it could train
        assert bridge.error is None
        for name in ("four", "five"):
            assert isinstance(bridge.next(name), dict)
            bridge.end(name, None)
        assert bridge.error is None
        bridge.next("six")
        bridge.lose("six", "its actor died: no such accelerator")
        bridge.end("six", None)
        assert "3 actors ended before they could train; of the last one: its actor died: no such" in str(bridge.error)
        assert bridge.next("seven") == Searcher.FINISHED
    assert study.records()[0].cause == "its actor died: no such accelerator"
    attempts = [trial.user_attrs.get("attempt", 1) for trial in study.frozen_trials()]
    assert sorted(set(attempts)) == [1, 2]
    assert {record.state for record in whole(study)} == {State.BROKEN, State.WAITING}


@pytest.mark.parametrize(
    ("said", "kind", "attempt"),
    [
        ({"mistaken": ["ConfigError", "no such loss"]}, ConfigError, 1),
        ({"crashed": "Traceback\nZeroDivisionError: no such loss"}, StudyError, 2),
    ],
)
def test_what_no_config_is_to_blame_for_is_tried_again(bridged, said, kind, attempt):
    study, run = bridged
    with run() as bridge:
        bridge.ready("two", {"float": 0.9})
        bridge.end("two", told(**said))
        assert isinstance(bridge.error, kind)
        assert "no such loss" in str(bridge.error)
        assert study.record(1).state is State.BROKEN
        assert study.frozen_trials()[2].user_attrs["attempt"] == attempt


def test_a_config_that_cannot_be_trained_fails_and_one_without_memory_is_tried_again(bridged):
    study, run = bridged
    with run() as bridge:
        bridge.end("one", told(ended={"failed": "TrainingError: NaN"}))
        bridge.end("two", told(ended={"exhausted": "out of memory"}))
        assert bridge.error is None
        records = study.records()
        assert [record.state for record in records] == [State.FAILED, State.BROKEN, State.WAITING]
        assert [record.cause for record in records[:2]] == ["TrainingError: NaN", "out of memory"]


def test_the_last_words_that_tune_kept_of_an_actor_are_its_cause(tmp_path):
    file = tmp_path / "error.txt"
    assert ray_tune._cause(None) == ray_tune._cause(str(file)) == "its actor died"
    file.write_text("Failure # 1 (occurred at x)\nThe actor died unexpectedly\n\tnode: 7\n")
    assert ray_tune._cause(str(file)) == "its actor died: The actor died unexpectedly node: 7"
    file.write_text('Failure # 1\nold\nFailure # 2\nTraceback (most recent)\n  File "x"\nOSError: none\n')
    assert ray_tune._cause(str(file)) == "its actor died: OSError: none"
