"""Tasks: models built anew under the same names."""

import dataclasses

import keras
import pytest

from mpsearch.creation import check_unchanged, provenance_of, resolve
from mpsearch.errors import ModelError
from mpsearch.floatmodel import cached_weights
from mpsearch.network.canonical import functional
from mpsearch.records import State
from mpsearch.runners.inprocess import run
from mpsearch.search.engine import Engine
from mpsearch.space import Space
from mpsearch.study import create_study, open_study
from mpsearch.task import Task


class Silent:
    def trial_started(self, number, config): ...
    def epoch_ended(self, number, epoch, logs): ...
    def trial_ended(self, record): ...


def unnamed():
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(8, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )


def test_unnamed_layers_get_the_same_names_each_time():
    task = Task(model=unnamed, data=lambda: None)
    names = [[layer.name for layer in functional(task.build()).layers] for _ in range(3)]
    assert names[0] == names[1] == names[2] == ["input_layer", "conv2d", "flatten", "dense", "dense_1"]
    assert keras.layers.Dense(3).name not in names[0]  # what is built later still gets a name of its own


def test_a_model_with_unnamed_layers_is_searched(tiny_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = dataclasses.replace(tiny_file.task, model=unnamed, float_training=tiny_file.task.training)
    file = dataclasses.replace(tiny_file, task=task, space=Space(kernel=tiny_file.space.kernel))
    data = task.data()
    create_study("unnamed", provenance_of(file, data, resolve(file, data), 0, "random", "none"))
    engine, study = Engine(file), open_study("unnamed")
    check_unchanged(study, file, data, engine.network.space)
    run(study, engine, 1, Silent())
    assert [record.state for record in study.records()] == [State.COMPLETE]
    assert cached_weights(task, data).exists()


def test_a_model_function_that_returns_no_model_is_refused():
    with pytest.raises(ModelError, match=r"returns a keras\.Model, but it returned Dense"):
        Task(model=lambda: keras.layers.Dense(3), data=lambda: None).build()
