"""Tasks: models built anew under the same names."""

import dataclasses

import cloudpickle
import keras
import pytest

from mpsearch import Data, Split, bits, facts_of
from mpsearch.creation import check_unchanged, provenance_of, resolve
from mpsearch.errors import ConfigError, ModelError
from mpsearch.floatmodel import cached_weights
from mpsearch.network.graph import functional
from mpsearch.records import State
from mpsearch.runners.inprocess import run
from mpsearch.searching.engine import Engine
from mpsearch.space import Space
from mpsearch.study import create_study, open_study
from mpsearch.task import Distillation, Task, Training


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


def test_the_example_is_built_once_and_stays_in_its_process(tiny_file):
    built = []
    task = Task(model=lambda: built.append(None) or unnamed(), data=lambda: None)
    assert task.example is task.example
    assert len(built) == 1
    copy = cloudpickle.loads(cloudpickle.dumps(task))
    assert "example" not in vars(copy)
    assert [layer.name for layer in copy.example.layers] == [layer.name for layer in task.example.layers]
    assert facts_of(task.example) == facts_of(task.example) == facts_of(task.build()), "looking at it changes nothing"
    changed = dataclasses.replace(task, model=lambda: functional(tiny_file.task.build()))
    assert changed.example.name == "tiny", "another model is another task's"


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


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_mixed_precision_is_refused_with_the_reason(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        with pytest.raises(ModelError, match=r"but quantizers need float32: .*set_dtype_policy"):
            Task(model=unnamed, data=lambda: None).build()
    finally:
        keras.config.set_dtype_policy(before)


def test_a_layer_of_mixed_precision_is_refused_as_well():
    def model():
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, dtype="mixed_float16")])

    with pytest.raises(ModelError, match="policy `mixed_float16`"):
        Task(model=model, data=lambda: None).build()


def test_float_training_has_neither_teacher_nor_widths():
    special = Training(distillation=Distillation(), warmup_epochs=1)
    with pytest.raises(ConfigError, match="float_training"):
        Task(model=unnamed, data=lambda: None, float_training=special)
    task = Task(model=unnamed, data=lambda: None, training=special)
    assert (task.float_recipe.distillation, task.float_recipe.warmup_epochs) == (None, 0)
    assert (task.finetune_recipe.distillation, task.finetune_recipe.warmup_epochs) == (Distillation(), 0)


def test_tensorboard_is_written_for_each_trial(tiny_study, tiny_engine, monkeypatch):
    task = tiny_engine.task
    monkeypatch.setattr(tiny_engine, "task", dataclasses.replace(task, training=Training(epochs=1, tensorboard=True)))
    study = tiny_study()
    run(study, tiny_engine, 2, Silent())
    folders = sorted((study.folder / "tensorboard").iterdir())
    assert [folder.name for folder in folders] == ["trial-0", "trial-1"]
    assert all(list(folder.rglob("events.out.tfevents.*")) for folder in folders)


def forked():
    a, b = keras.Input((8, 8, 1), name="a"), keras.Input((8, 8, 1), name="b")
    x = keras.layers.Concatenate(name="both")([a, b])
    x = keras.layers.Conv2D(4, 3, strides=2, activation="relu", name="conv")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    outputs = [
        keras.layers.Dense(10, activation="softmax", name="digit")(x),
        keras.layers.Dense(1, activation="sigmoid", name="small")(x),
    ]
    return keras.Model([a, b], outputs)


def test_a_model_with_several_inputs_and_outputs_is_searched(tiny_file, tiny_engine):
    def several(split):
        return Split({"b": split.x[::-1].copy(), "a": split.x}, {"small": (split.y < 5) * 1.0, "digit": split.y})

    data = tiny_engine.data
    forks = Data(several(data.train), several(data.validation), several(data.test), name="forks")
    task = dataclasses.replace(
        tiny_file.task,
        model=forked,
        data=lambda: forks,
        loss={"digit": "sparse_categorical_crossentropy", "small": "binary_crossentropy"},
        metric="digit/accuracy",
        float_training=Training(epochs=3, batch_size=16, learning_rate=5e-3),
    )
    engine = Engine(dataclasses.replace(tiny_file, task=task, space=Space(kernel=bits(4, 8), activation=bits(4, 8))))
    wide, narrow = (engine.train(engine.network.space.uniform(width), 0) for width in (8, 4))
    assert wide.metric == wide.history.best("val_digit/accuracy") > 0.25
    assert abs(wide.metric - engine.float_metric()) < 0.2
    assert wide.history.epochs[0]["loss"] != narrow.history.epochs[0]["loss"]


@pytest.mark.parametrize("further", [("accuracy",), ("mae", "mae")])
def test_further_metrics_are_each_another(tiny_engine, further):
    with pytest.raises(ConfigError, match=r"different from each other and from `metric`, .* beside 'accuracy'"):
        dataclasses.replace(tiny_engine.task, further_metrics=further)


@pytest.mark.parametrize("further", ["mae", ["mae"], (3,)])
def test_further_metrics_are_a_tuple_of_names(tiny_engine, further):
    with pytest.raises(ConfigError, match="`further_metrics` must be a tuple of names"):
        dataclasses.replace(tiny_engine.task, further_metrics=further)
