"""Metrics over whole splits and further metrics: in training, in studies, after fine-tuning."""

import csv
import json
from dataclasses import replace

import keras
import numpy as np
import pytest

import mpsearch
from mpsearch import Data, Space, Split, Task, Training, bits
from mpsearch.errors import ConfigError, DataError, TrainingError
from mpsearch.finetuning import finetuned_of
from mpsearch.measuring import Measured
from mpsearch.metrics import auc_by_file, pauc_by_file
from mpsearch.records import State
from mpsearch.task import Distillation
from mpsearch.training import Session, check_task, logging_callbacks

FEATURES = 8


def autoencoder():
    inputs = keras.Input((FEATURES,), name="input")
    x = keras.layers.Dense(3, activation="relu", name="squeeze")(inputs)
    return keras.Model(inputs, keras.layers.Dense(FEATURES, name="restore")(x), name="autoencoder")


def planes(kinds=(0, 1), seed=0, files=24):
    """Samples of files near a plane, those of anomalous files near another one."""
    rng = np.random.default_rng(seed)
    normal, other = np.random.default_rng(7).normal(0, 1, (2, 2, FEATURES))
    y = np.stack([np.repeat(np.arange(files), 5), np.repeat(np.resize(kinds, files), 5)], axis=1)
    near = np.where(y[:, 1:] == 1, 0.6 * other[0] + 0.4 * normal[0], normal[0])
    x = rng.normal(0, 1, (len(y), 1)) * near + rng.normal(0, 1, (len(y), 1)) * normal[1]
    return Split((x + rng.normal(0, 0.3, x.shape)).astype(np.float32), y)


def data_of(validation=(0, 1), test=(0, 1)):
    return Data(planes((0,)), planes(validation, 1), planes(test, 2), lambda x: x / 2, "planes", reconstructs=True)


def by_hand(model, data, split, metric):
    inputs = data.inputs(split.x)
    errors = np.mean((np.asarray(model(inputs), np.float64) - inputs) ** 2, axis=1)
    return metric(errors, split.y)


@pytest.fixture
def session():
    keras.utils.set_random_seed(0)
    further = ("mae", "pauc_by_file", "bounded_mean_squared_error")
    return Session(autoencoder(), "adam", "mean_squared_error", "auc_by_file", further=further)


def test_a_metric_over_the_whole_split_is_that_of_each_epoch(session, tmp_path):
    data, seen = data_of(), []

    def report(epoch, logs):
        seen.append(by_hand(session.model, data, data.validation, auc_by_file))
        assert logs["val_auc_by_file"] == pytest.approx(seen[-1])
        assert not {"auc_by_file", "val_mae", "val_pauc_by_file"} & set(logs)

    recipe = Training(epochs=40, batch_size=16, learning_rate=1e-3, patience=4)
    history = session.fit(data, recipe, 0, report, keep_best=True, callbacks=logging_callbacks(tmp_path)[:1])
    assert history.best_epoch == np.argmax(seen)
    assert len(seen) == history.best_epoch + 1 + 4 < 40
    rows = list(csv.DictReader((tmp_path / "epochs.csv").read_text().splitlines()))
    assert [float(row["val_auc_by_file"]) for row in rows] == pytest.approx(seen)
    for variable, value in zip(session.model.weights, history.best_state, strict=True):
        variable.assign(value)
    assert by_hand(session.model, data, data.validation, auc_by_file) == pytest.approx(max(seen))


def test_further_metrics_are_those_of_the_whole_split(session):
    data = data_of()
    inputs = data.inputs(data.test.x)
    outputs = np.asarray(session.model(inputs), np.float64)
    found = session.evaluate(data, data.test)
    assert set(found) == {"loss", "auc_by_file", "mae", "pauc_by_file", "bounded_mean_squared_error"}
    assert found["mae"] == pytest.approx(np.abs(outputs - inputs).mean(), rel=1e-5)
    assert found["loss"] == pytest.approx(np.mean((outputs - inputs) ** 2), rel=1e-5)
    assert found["auc_by_file"] == pytest.approx(by_hand(session.model, data, data.test, auc_by_file))
    assert found["pauc_by_file"] == pytest.approx(by_hand(session.model, data, data.test, pauc_by_file))
    assert set(session.evaluate(data, data.test, further=False)) == {"loss", "auc_by_file"}


def test_what_cannot_be_judged_by_files_is_said(session):
    normal = data_of(validation=(0,))
    with pytest.raises(DataError, match="the validation split has 24 normal and 0 anomalous ones: search by metric="):
        session.evaluate(normal, normal.validation)
    with pytest.raises(ConfigError, match=r"give Data\(…, reconstructs=True\)"):
        session.whole(replace(normal, reconstructs=False), normal.test, ["auc_by_file"])
    session.model.get_layer("restore").kernel.assign(np.full((3, FEATURES), np.nan))
    with pytest.raises(TrainingError, match="reconstructions of the test split became NaN"):
        session.whole(normal, normal.test, ["auc_by_file"])


def test_a_stream_of_files_is_judged_as_its_arrays(session):
    data = data_of()
    stream = replace(data, test=lambda: ((batch.x, batch.y) for batch in data.test.batches(7)))
    assert session.evaluate(stream, stream.test) == pytest.approx(session.evaluate(data, data.test))


def task_of(**changes):
    options = {"loss": "mean_squared_error", "metric": "bounded_mean_squared_error", **changes}
    return Task(autoencoder, data_of, **options)


@pytest.mark.parametrize(
    ("changes", "data", "message"),
    [
        ({"metric": "auc_by_file"}, data_of(validation=(0,)), "the validation split has 24 normal and 0"),
        ({"metric": "auc_by_file"}, data_of(test=(1,)), "the test split has 0 normal and 24 anomalous"),
        ({"further_metrics": ("pauc_by_file",)}, data_of(test=(0,)), "`pauc_by_file` needs .* the test split has 24"),
        ({"further_metrics": ("restore/auc_by_file",)}, data_of(), "needs a model of one input and one output"),
        ({"training": Training(class_weights="balanced")}, data_of(), "`class_weights` weighs classes"),
        ({"training": Training(distillation=Distillation())}, data_of(), "`distillation` needs class scores"),
    ],
)
def test_what_does_not_fit_a_reconstruction_is_refused_before_there_is_a_study(changes, data, message):
    check_task(task_of(further_metrics=("auc_by_file",)), autoencoder(), data_of(validation=(0,)))
    with pytest.raises((ConfigError, DataError), match=message):
        check_task(task_of(**changes), autoencoder(), data)


def test_a_model_that_makes_something_else_is_refused():
    inputs = keras.Input((FEATURES,))
    squeezed = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    with pytest.raises(ConfigError, match=r"makes outputs \[\(1,\)\] of inputs \[\(8,\)\]"):
        check_task(task_of(), squeezed, data_of())


def test_metrics_are_logged_under_their_own_names():
    measured = Measured.of(["one/accuracy", "mae", "auc_by_file"], ["one", "two"])
    assert measured.metrics == [["accuracy", "mae"], ["mae"]]
    logs = {"one_accuracy": 0.5, "val_one_mae": 1.0, "val_two_mae": 3.0, "loss": 2.0}
    assert measured.named(logs) == {"one/accuracy": 0.5, "val_mae": 2.0}


SPACE = Space(kernel=bits(4, 8), bias=bits(16, alpha="auto_po2"), activation=bits(4, 8))


def test_a_study_is_searched_by_files_and_reports_further_metrics(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data, recipe = data_of(), Training(epochs=3, batch_size=16, learning_rate=1e-2)
    found = mpsearch.search(
        autoencoder, data, SPACE, trials=4, loss="mean_squared_error", metric="auc_by_file", training=recipe,
        further_metrics=("mae", "pauc_by_file"), pruner="median", pruner_options={"n_startup_trials": 1}, quiet=True,
    )  # fmt: skip
    records = found.study.records()
    assert all(record.state in (State.COMPLETE, State.PRUNED) for record in records)
    best = max(records, key=lambda record: record.score or 0)
    assert best.metric == max(logs["val_auc_by_file"] for logs in best.curve)
    assert not any("mae" in name for record in records for logs in record.curve for name in logs)

    tuned = found.finetune(best.number)
    engine = found.engine()
    engine.network.set_config(best.config)
    engine.network.load_state(finetuned_of(found.study, best)[1])
    assert tuned.test == pytest.approx(by_hand(engine.network.model, data, data.test, auc_by_file))
    assert set(tuned.further) == {"mae", "pauc_by_file"}
    assert tuned.further["pauc_by_file"] == pytest.approx(
        by_hand(engine.network.model, data, data.test, pauc_by_file), abs=1e-6
    )
    stored = json.loads((tuned.folder / "result.json").read_text())
    assert stored["further"] == tuned.further
    exported = found.export(tmp_path / "out", best.number, formats=["keras", "onnx"])
    for file in exported:  # files are told apart by the metric of whole files of sound, by the runtime's outputs
        assert file.comparison.top1_agreement is None
        assert file.comparison.exported == pytest.approx(file.comparison.searched, abs=1e-6)

    del stored["further"]  # as older versions wrote it
    (tuned.folder / "result.json").write_text(json.dumps(stored))
    assert finetuned_of(found.study, best)[0] == best.config


def test_a_metric_that_leaves_its_bounds_fails_the_trial(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (300, 4)).astype(np.float32)
    y = (x @ np.array([[1.0], [2.0], [-1.0], [0.5]])).astype(np.float32)

    def line():
        inputs = keras.Input((4,), name="input")
        return keras.Model(inputs, keras.layers.Dense(1, name="sum")(inputs), name="line")

    data = Data(Split(x[:200], y[:200]), Split(x[200:250], y[200:250]), Split(x[250:], y[250:]))
    found = mpsearch.search(
        line, data, SPACE, trials=1, loss="mse", metric="R2Score", quiet=True,
        float_training=Training(epochs=40, learning_rate=5e-2), training=Training(epochs=1, learning_rate=50.0),
    )  # fmt: skip
    (record,) = found.study.records()
    assert record.state is State.FAILED
    assert "must lie between 0 (bad) and 1 (good), but 'R2Score' of epoch 1 is -" in record.cause
