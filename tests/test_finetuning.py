"""Fine-tuning: best epoch kept, judged on the test split, scale modes switched."""

import dataclasses
import json

import numpy as np
import pytest

from mpsearch.config import Alpha
from mpsearch.errors import ConfigError, StudyError
from mpsearch.finetuning import finetune, finetuned_of, finetunings, weights_of
from mpsearch.records import config_to_tune
from mpsearch.runners.inprocess import run
from mpsearch.runners.weights import weights_file


class Silent:
    def trial_started(self, number, config): ...
    def epoch_ended(self, number, epoch, logs): ...
    def trial_ended(self, record): ...


@pytest.fixture
def study(tiny_study, tiny_engine):
    made = tiny_study()
    run(made, tiny_engine, 1, Silent())
    return made


def test_the_best_epoch_is_kept_and_judged_on_the_test_split(study, tiny_engine):
    record, seen = study.record(0), []
    result = finetune(study, tiny_engine, record, report=lambda epoch, logs: seen.append(logs["val_accuracy"]))
    assert result.epochs == len(seen) <= 3
    assert result.before == pytest.approx(record.metric)
    assert result.validation == max(result.before, *seen)
    assert result.best_epoch == ([result.before, *seen].index(result.validation) - 1)
    config, state = finetuned_of(study, record)
    assert config == record.config
    tiny_engine.network.set_config(config)
    tiny_engine.network.load_state(state)
    session, data = tiny_engine.session("adam"), tiny_engine.data
    assert session.evaluate(data, data.test)["accuracy"] == pytest.approx(result.test)
    assert session.evaluate(data, data.validation)["accuracy"] == pytest.approx(result.validation)
    names = {path.name for path in result.folder.iterdir()}
    assert {"weights.npz", "result.json", "epochs.csv", "tensorboard"} <= names
    assert len((result.folder / "epochs.csv").read_text().splitlines()) == result.epochs + 1
    assert study.kept("finetuned")["finetuned trial-0"]["test"] == result.test
    assert json.loads((result.folder / "result.json").read_text())["trial"] == 0


def test_where_no_epoch_is_better_the_trials_weights_are_kept(study, tiny_engine, monkeypatch):
    train, score = tiny_engine.train, study.record(0).metric

    def worse(config, seed, recipe, report, callbacks, start):
        return train(
            config, seed, recipe, lambda epoch, logs: report(epoch, {**logs, "val_accuracy": 0.1}), callbacks, start
        )

    monkeypatch.setattr(tiny_engine, "train", worse)
    result = finetune(study, tiny_engine, study.record(0))
    assert (result.validation, result.best_epoch) == (pytest.approx(score), -1)
    record = study.record(0)
    for kept, trials in zip(finetuned_of(study, record)[1], weights_of(study, record)[1], strict=True):
        np.testing.assert_array_equal(kept, trials)


def test_it_goes_on_from_the_trials_weights_where_they_were_kept(study, tiny_engine, monkeypatch):
    starts = []
    train = tiny_engine.train
    monkeypatch.setattr(tiny_engine, "train", lambda *a, **k: starts.append(k["start"]) or train(*a, **k))
    finetune(study, tiny_engine, study.record(0))
    weights_file(study, 0).unlink()
    finetune(study, tiny_engine, study.record(0))
    assert isinstance(starts[0][0], np.ndarray)
    assert starts[1] is None


def test_auto_can_be_switched_to_auto_po2(study, tiny_engine):
    result = finetune(study, tiny_engine, study.record(0), changed_alpha=Alpha.AUTO_PO2)
    assert {spec.alpha for spec in result.config.values()} == {Alpha.AUTO_PO2}
    assert {spec.bits for spec in result.config.values()} == {spec.bits for spec in study.record(0).config.values()}
    record = study.record(0)
    assert finetuned_of(study, record, Alpha.AUTO_PO2)[0] == result.config
    assert finetuned_of(study, record) is None
    assert finetunings(study, record) == [Alpha.AUTO_PO2]


@pytest.mark.parametrize("alpha", [Alpha.QKERAS_PO2, Alpha.FIXED, Alpha.AUTO])
def test_only_changes_of_scale_mode_that_work_everywhere_are_taken(study, alpha):
    with pytest.raises(ConfigError, match="--alpha must be auto_po2"):
        config_to_tune(study.record(0), alpha)


def test_a_change_of_scale_mode_that_changes_nothing_is_refused(study):
    record = study.record(0)
    already = dataclasses.replace(record, config=record.config.with_alpha(Alpha.AUTO, Alpha.AUTO_PO2))
    with pytest.raises(ConfigError, match="no site with scale mode auto"):
        config_to_tune(already, Alpha.AUTO_PO2)


def test_an_interrupted_fine_tuning_leaves_the_earlier_one_as_it_was(study, tiny_engine):
    finetune(study, tiny_engine, study.record(0))
    folder = study.folder / "finetuned" / "trial-0"
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    def interrupt(epoch, logs):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune(study, tiny_engine, study.record(0), report=interrupt)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["trial-0"]


def test_a_fine_tuning_of_another_config_is_refused(study, tiny_engine):
    result = finetune(study, tiny_engine, study.record(0))
    stored = json.loads((result.folder / "result.json").read_text())
    stored["config"] = tiny_engine.network.space.uniform(8).to_json()
    (result.folder / "result.json").write_text(json.dumps(stored))
    with pytest.raises(StudyError, match="is of another config than trial 0"):
        finetuned_of(study, study.record(0))


def test_an_answered_trial_has_the_weights_and_fine_tuning_of_the_one_it_was_answered_from(study, tiny_engine):
    study.enqueue(tiny_engine.network.space, study.record(0).config, "again")
    run(study, tiny_engine, 2, Silent())
    answered = study.record(1)
    assert answered.answered_from == 0
    for own, first in zip(weights_of(study, answered)[1], weights_of(study, study.record(0))[1], strict=True):
        np.testing.assert_array_equal(own, first)
    result = finetune(study, tiny_engine, answered)
    assert result.trial == 0
    assert result.before == pytest.approx(study.record(0).metric)
    assert finetuned_of(study, answered)[0] == answered.config


def test_a_trial_without_config_is_refused(study, tiny_engine):
    space = tiny_engine.network.space
    study.enqueue(space, space.uniform(4), "mine")
    with pytest.raises(StudyError, match="trial 1 has no config"):
        finetune(study, tiny_engine, study.record(1))
