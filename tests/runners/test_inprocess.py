"""Running a study: records, answers, failures, interruptions, determinism."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

from mpsearch.errors import DataError, StudyError
from mpsearch.ranking import Candidate
from mpsearch.records import State
from mpsearch.runners.inprocess import run
from mpsearch.runners.weights import KEPT, load_weights, save_weights, weights_file
from mpsearch.searching.engine import Outcome
from mpsearch.searching.scoring import Scoring
from mpsearch.study import Study, open_study
from mpsearch.training import History

ROOT = Path(__file__).resolve().parents[2]


class Silent:
    """Keeps what a run tells; may raise at a given epoch, as Ctrl-C would."""

    def __init__(self, interrupt_at=None):
        self.started, self.epochs, self.ended, self.interrupt_at = [], [], [], interrupt_at

    def trial_started(self, number, config):
        self.started.append(number)

    def epoch_ended(self, number, epoch, logs):
        self.epochs.append((number, epoch))
        if (number, epoch) == self.interrupt_at:
            raise KeyboardInterrupt

    def waiting(self, numbers):
        """Not kept."""

    def trial_ended(self, record):
        self.ended.append(record)


def told(records):
    """What a trial is, without times and numbers."""
    return [(r.sequence, r.fingerprint, r.metric, r.score, r.curve) for r in records if r.state is State.COMPLETE]


def test_a_run_stores_all_that_is_known_of_a_trial(tiny_study, tiny_engine):
    study, progress = tiny_study(), Silent()
    run(study, tiny_engine, 3, progress)
    records = open_study("tiny").records()
    assert [r.number for r in records] == [0, 1, 2] == progress.started
    for record in records:
        costs = tiny_engine.costs(record.config)
        assert record.costs == {
            "parameter_bits": costs.parameter_bits,
            "activation_bits": costs.activation_bits,
            "total_bits": costs.total_bits,
        }
        assert record.metric == max(logs["val_accuracy"] for logs in record.curve)
        assert record.score == pytest.approx(tiny_engine.score(record.metric, costs))
        assert record.epochs == len(record.curve) == 2
        assert record.seconds > 0
        assert record.fingerprint == record.config.fingerprint
        assert record.config in tiny_engine.network.space
    frozen = study._study.get_trials()[0]
    assert [frozen.intermediate_values[i] for i in range(2)] == [logs["score"] for logs in records[0].curve]
    best = study.best()[0]
    assert best.score == max(r.score for r in records)
    tiny_engine.network.set_config(best.config)
    tiny_engine.network.load_state(load_weights(weights_file(study, best.number), best.config))
    session = tiny_engine.session("adam")
    assert session.evaluate(tiny_engine.data, tiny_engine.data.validation)["accuracy"] == pytest.approx(best.metric)


def test_the_same_seed_gives_the_same_trials_in_one_run_and_in_two(tiny_study, tiny_engine):
    whole, parts, other = tiny_study("a", "tpe"), tiny_study("b", "tpe"), tiny_study("c", "tpe", seed=1)
    run(whole, tiny_engine, 4, Silent())
    run(parts, tiny_engine, 2, Silent())
    run(open_study("b"), tiny_engine, 4, Silent())
    run(other, tiny_engine, 1, Silent())
    assert told(whole.records()) == told(parts.records())
    assert other.records()[0].fingerprint != whole.records()[0].fingerprint


def test_an_interrupted_trial_is_broken_and_its_config_tried_again_with_its_seeds(tiny_study, tiny_engine):
    whole, cut = tiny_study("whole"), tiny_study("cut")
    run(whole, tiny_engine, 3, Silent())
    with pytest.raises(KeyboardInterrupt):
        run(cut, tiny_engine, 3, Silent(interrupt_at=(1, 0)))
    assert [r.state for r in cut.records()] == [State.COMPLETE, State.BROKEN, State.WAITING]
    run(open_study("cut"), tiny_engine, 3, Silent())
    records = open_study("cut").records()
    assert [r.state for r in records] == [State.COMPLETE, State.BROKEN, State.COMPLETE, State.COMPLETE]
    assert records[1].cause == "interrupted"
    assert records[2].fingerprint == records[1].fingerprint
    assert told(whole.records()) == told(records)


def test_ctrl_c_just_after_a_trial_ended_leaves_it_as_it_ended(tiny_study, tiny_engine):
    study = tiny_study()

    class Late(Silent):
        def trial_ended(self, record):
            raise KeyboardInterrupt

    complete = study.complete

    def completed_and_interrupted(number, record, values):
        complete(number, record, values)
        raise KeyboardInterrupt

    study.complete = completed_and_interrupted
    with pytest.raises(KeyboardInterrupt):
        run(study, tiny_engine, 2, Silent())
    with pytest.raises(KeyboardInterrupt):
        run(open_study("tiny"), tiny_engine, 2, Late())
    assert [r.state for r in open_study("tiny").records()] == [State.COMPLETE, State.COMPLETE]


WRITES = (
    "create_new_trial",
    "set_trial_param",
    "set_trial_user_attr",
    "set_trial_system_attr",
    "set_trial_state_values",
    "set_trial_intermediate_value",
)


class Killed(BaseException):
    """The process is dead: nothing that it does after this reaches the storage."""


class Mortal(optuna.storages.InMemoryStorage):
    """A storage whose process dies before the write with a given number."""

    writes, dies_at = 0, None


def _counted(name):
    def method(self, *args, **options):
        if self.dies_at is not None and self.writes >= self.dies_at:
            raise Killed
        self.writes += 1
        return getattr(optuna.storages.InMemoryStorage, name)(self, *args, **options)

    return method


for _name in WRITES:
    setattr(Mortal, _name, _counted(_name))


SAMPLERS = {
    "tpe": {"n_startup_trials": 1},
    "grid": {},
    "qmc": {},
    "nsga2": {"population_size": 2},
    "cmaes": {"popsize": 4},
}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_death_before_any_write_loses_nothing_and_changes_nothing(
    tiny_study, tiny_engine, tmp_path, monkeypatch, sampler
):
    """Dies before every write, or every third, and then once more in the next run; each time the study goes on."""
    made = tiny_study(sampler=sampler, sampler_options=SAMPLERS[sampler])
    provenance, space, trials = made.provenance, tiny_engine.network.space, {"nsga2": 5, "cmaes": 6}.get(sampler, 3)

    def train(config, seed, recipe=None, report=None, **options):
        metric = seed % 1000 / 1000
        report(0, {"val_accuracy": metric})
        return Outcome(metric, History([]), seconds=0.0, state=[])

    monkeypatch.setattr(tiny_engine, "train", train)

    def new():
        storage = Mortal()
        study = optuna.create_study(storage=storage)
        study.set_user_attr("mpsearch", vars(provenance))
        made = Study(study, tmp_path / "runs")
        if sampler not in ("grid", "qmc"):
            made.enqueue(space, space.uniform(8), "uniform 8")
        storage.writes = 0
        return made, storage

    def attempt(study, storage, dies_at=None):
        storage.writes, storage.dies_at = 0, dies_at
        try:
            run(Study(study._study, study.folder), tiny_engine, trials, Silent())
        except Killed:
            return False
        return True

    whole, storage = new()
    assert attempt(whole, storage)
    expected, writes = told(whole.records()), storage.writes
    assert len(expected) == trials
    assert writes > 3 * trials
    for first in range(0, writes, 1 if sampler in ("tpe", "grid") else 3):
        for second in (None, *range(first % 9, writes, 9)) if first % 6 == 0 else (None,):
            study, storage = new()
            assert not attempt(study, storage, first)
            if second is not None:
                attempt(study, storage, second)
            assert attempt(study, storage)
            assert told(study.records()) == expected, (first, second)
            origins = {r.origin for r in study.records() if r.state is State.COMPLETE}
            assert origins == ({sampler} if sampler in ("grid", "qmc") else {"uniform 8", sampler}), (first, second)


def test_a_config_whose_process_dies_three_times_is_failed(tiny_study, tiny_engine):
    study = tiny_study()
    for _ in range(3):
        study.ask(tiny_engine.network.space)
        open_study("tiny").recover()
    records = study.records()
    assert [r.state for r in records] == [State.BROKEN, State.BROKEN, State.FAILED]
    assert len({r.fingerprint for r in records}) == 1
    assert records[-1].cause == "its process died; tried 3 times"


def test_a_config_is_never_given_up_for_interruptions_by_its_user(tiny_study, tiny_engine):
    study = tiny_study()
    for attempt in range(4):
        with pytest.raises(KeyboardInterrupt):
            run(study, tiny_engine, 1, Silent(interrupt_at=(attempt, 0)))
    run(study, tiny_engine, 1, Silent())
    records = study.records()
    assert [r.state for r in records] == [State.BROKEN] * 4 + [State.COMPLETE]
    assert len({r.fingerprint for r in records}) == 1


def test_a_config_trained_before_is_answered_and_marked(tiny_study, tiny_engine):
    study, space = tiny_study(), tiny_engine.network.space
    for _ in range(2):
        study.enqueue(space, space.uniform(8), "uniform 8")
    progress = Silent()
    run(study, tiny_engine, 2, progress)
    first, second = study.records()
    assert second.answered_from == 0
    assert (second.score, second.curve, second.costs) == (first.score, first.curve, first.costs)
    assert {number for number, _ in progress.epochs} == {0}
    assert [r.origin for r in (first, second)] == ["uniform 8", "uniform 8"]
    assert study.best(5) == [first]


@pytest.mark.parametrize(
    ("broken", "cause"),
    [
        ("logits/kernel", "the loss became nan"),
        # some processors make zeros of NaN in a ReLU that oneDNN computes, and the loss doesn't show it
        ("conv/kernel", "(the loss became nan|weights of conv/kernel became NaN or infinite)"),
    ],
)
def test_broken_weights_fail_the_trial_with_their_cause_and_the_study_goes_on(
    tiny_study, tiny_engine, monkeypatch, broken, cause
):
    study, train = tiny_study(), tiny_engine.train
    place = [variable.path for variable in tiny_engine.network.state_variables].index(broken)
    calls = []

    def poisoned(config, seed, recipe=None, report=None, **options):
        calls.append(seed)
        if len(calls) > 1:
            return train(config, seed, recipe, report, **options)
        state = tiny_engine.network.state()
        state[place][:] = float("nan")
        return train(config, seed, recipe, report, start=state)

    monkeypatch.setattr(tiny_engine, "train", poisoned)
    run(study, tiny_engine, 2, Silent())
    assert [r.state for r in study.records()] == [State.FAILED, State.COMPLETE]
    assert re.match(f"TrainingError: {cause} in epoch 1", study.records()[0].cause)
    assert study.records()[0].seconds > 0
    assert study.records()[1].metric > 0.2  # the NaN left nothing behind


def test_the_median_pruner_stops_hopeless_trials_and_keeps_their_curve(tiny_study, tiny_engine, monkeypatch):
    study = tiny_study(pruner="median", pruner_options={"n_startup_trials": 5})
    space = tiny_engine.network.space
    run(study, tiny_engine, 5, Silent())
    score = Scoring.score
    monkeypatch.setattr(Scoring, "score", lambda self, metric, costs: score(self, metric, costs) / 100)
    study.enqueue(space, space.uniform(4), "hopeless")
    run(study, tiny_engine, 6, Silent())
    pruned = study.records()[-1]
    assert pruned.state is State.PRUNED
    assert len(pruned.curve) == pruned.epochs == 1
    assert "pruned after epoch 1" in pruned.cause
    assert pruned.seconds > 0


def test_a_trial_at_its_last_epoch_is_not_pruned(tiny_study, tiny_engine, monkeypatch):
    """Nothing would be saved, and its result lost."""
    study, metrics = (
        tiny_study("late", "random", "median", pruner_options={"n_startup_trials": 1}),
        iter((0.9, 0.1, 0.2)),
    )

    def train(config, seed, recipe=None, report=None, **options):
        metric = next(metrics)
        report(1, {"val_accuracy": metric})  # the second of two epochs
        return Outcome(metric, History([]), seconds=0.0, state=[])

    monkeypatch.setattr(tiny_engine, "train", train)
    assert tiny_engine.task.training.epochs == 2
    run(study, tiny_engine, 3, Silent())
    assert [record.state for record in study.records()] == [State.COMPLETE] * 3


def test_a_mistake_that_no_config_can_mend_ends_the_run_and_costs_no_trial(tiny_study, tiny_engine, monkeypatch):
    study, train = tiny_study(), tiny_engine.train

    def mistaken(*args, **options):
        raise DataError("augmentation must keep the inputs' shape")

    with monkeypatch.context() as patch:
        patch.setattr(tiny_engine, "train", mistaken)
        for _ in range(4):  # however often
            with pytest.raises(DataError, match="must keep the inputs' shape"):
                run(study, tiny_engine, 3, Silent())
    assert study.finished == 0
    assert study.record(0).cause == "DataError: augmentation must keep the inputs' shape"
    assert tiny_engine.train == train
    run(study, tiny_engine, 1, Silent())
    whole = tiny_study("whole")
    run(whole, tiny_engine, 1, Silent())
    assert told(study.records()) == told(whole.records())


def test_grid_visits_every_config_once_and_then_says_so(tiny_study, tiny_engine, monkeypatch):
    study, space = tiny_study(sampler="grid"), tiny_engine.network.space
    run(study, tiny_engine, 3, Silent())
    assert [r.config for r in study.records()] == [space.nth(i) for i in range(3)]
    monkeypatch.setattr(type(space), "size", 3)
    assert run(study, tiny_engine, 4, Silent()) == "all 3 configs of the grid were tried"
    assert len(study.records()) == 3


def test_only_the_best_weights_are_kept(tiny_study, tiny_engine, monkeypatch):
    monkeypatch.setattr("mpsearch.runners.weights.KEPT", 2)
    study = tiny_study()
    run(study, tiny_engine, 4, Silent())
    assert {path.name for path in study.folder.glob("*.npz")} == {f"trial-{r.number}.npz" for r in study.best(2)}
    assert KEPT >= 2


def test_the_weights_of_what_is_believed_best_are_kept_as_well(tiny_study, tiny_engine, monkeypatch):
    def lowest(study, count):
        return [Candidate(record, (0.0,), (0.0,)) for record in study.best(None)[-1:]]

    monkeypatch.setattr("mpsearch.runners.weights.KEPT", 1)
    monkeypatch.setattr("mpsearch.runners.weights.ranked", lowest)
    study = tiny_study()
    run(study, tiny_engine, 4, Silent())
    ends = study.best()[0], study.best(None)[-1]
    assert {path.name for path in study.folder.glob("*.npz")} == {f"trial-{record.number}.npz" for record in ends}


def test_weights_of_another_config_are_refused(tiny_study, tiny_engine):
    study, space = tiny_study(), tiny_engine.network.space
    path = weights_file(study, 0)
    save_weights(path, tiny_engine.network.state(), space.uniform(8))
    load_weights(path, space.uniform(8))
    with pytest.raises(StudyError, match="are of another config"):
        load_weights(path, space.uniform(4))


def test_a_study_that_is_being_changed_is_not_run(tiny_study, tiny_engine, monkeypatch):
    study = tiny_study()
    monkeypatch.setattr("mpsearch.study.LOCK_WAIT", 0.1)
    with study.exclusive(), pytest.raises(StudyError, match="another process is changing the study `tiny`"):
        run(study, tiny_engine, 1, Silent())


def killed_while_training(name, command, folder):
    """Start a command and kill -9 it while a trial after the first runs; the finished trials.

    A trial may end between the look and the kill; then the command is started once more.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "tensorflow"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for _ in range(4):
        with subprocess.Popen(command, cwd=folder, env=environment, **quiet) as process:
            done = len(told(open_study(name).records()))
            while process.poll() is None:
                records = open_study(name).records()
                if len(told(records)) > done and records[-1].state is State.RUNNING:
                    break
                time.sleep(0.05)
            process.send_signal(signal.SIGKILL)
            assert process.wait(timeout=60) == -signal.SIGKILL
        records = open_study(name).records()
        if any(record.state is State.RUNNING for record in records):
            return told(records)
    raise AssertionError("no trial was running at any of four kills")


def test_after_kill_9_the_next_run_carries_on(tiny_study, tiny_engine, tmp_path):
    whole = tiny_study("whole")
    tiny_study("killed")
    script = "import sys; from mpsearch.cli.app import main; main()"
    before = killed_while_training(
        "killed", [sys.executable, "-c", script, "study", "run", "killed", "--trials", "50"], tmp_path
    )
    assert before
    run(open_study("killed"), tiny_engine, len(before) + 2, Silent())
    records = open_study("killed").records()
    (broken,) = (r for r in records if r.state is State.BROKEN)
    assert broken.cause == "its process died"
    after = told(records)
    assert after[: len(before)] == before
    run(whole, tiny_engine, len(before) + 2, Silent())
    assert [t[:2] for t in after] == [t[:2] for t in told(whole.records())]
