"""Fine-tuning: best epoch kept, judged on the test split, scale modes switched."""

import json

import numpy as np
import pytest

from mpsearch.config import Alpha
from mpsearch.errors import StudyError
from mpsearch.finetuning import finetune, finetuned_of
from mpsearch.runners.inprocess import load_weights, run, weights_file


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
    config, state = finetuned_of(study, 0)
    assert config == record.config
    tiny_engine.network.set_config(config)
    tiny_engine.network.load_state(state)
    session, data = tiny_engine.session("adam"), tiny_engine.data
    assert session.evaluate(data, data.test)["accuracy"] == pytest.approx(result.test)
    assert session.evaluate(data, data.validation)["accuracy"] == pytest.approx(result.validation)
    names = {path.name for path in result.folder.iterdir()}
    assert {"weights.npz", "result.json", "epochs.csv", "tensorboard"} <= names
    assert len((result.folder / "epochs.csv").read_text().splitlines()) == result.epochs + 1
    assert study.notes("finetuned")["finetuned trial-0"]["test"] == result.test
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
    for kept, trials in zip(finetuned_of(study, 0)[1], load_weights(weights_file(study, 0)), strict=True):
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
    assert finetuned_of(study, 0, Alpha.AUTO_PO2)[0] == result.config
    assert finetuned_of(study, 0) is None


def test_a_trial_without_config_is_refused(study, tiny_engine):
    space = tiny_engine.network.space
    study.enqueue(space, space.uniform(4), "mine")
    with pytest.raises(StudyError, match="trial 1 of `tiny` has no config"):
        finetune(study, tiny_engine, study.record(1))
