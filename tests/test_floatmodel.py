"""Float weights: from files of either form, or trained once and cached."""

import dataclasses
import errno
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from mpsearch import datasets, floatmodel, models
from mpsearch.errors import DataMissingError, ModelError
from mpsearch.floatmodel import architecture, cached_weights, find_weights, float_model, with_weights
from mpsearch.network.canonical import canonical, has_batch_norm
from mpsearch.network.graph import functional


def test_folded_and_unfolded_files_of_resnet8_give_the_same_model(shared):
    folded = with_weights(models.resnet8(), shared / "models" / "resnet8_cifar10jpeg_folded.h5")
    plain = with_weights(models.resnet8(), shared / "models" / "resnet8_cifar10jpeg.h5")
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in folded.layers)
    x = np.random.default_rng(0).random((8, 32, 32, 3), dtype=np.float32)
    assert np.abs(np.asarray(folded(x)) - np.asarray(plain(x, training=False))).max() < 1e-4


def test_published_accuracy_of_the_weights_is_found_again(shared, monkeypatch):
    monkeypatch.setenv("MPSEARCH_DATA", str(shared))
    data = datasets.cifar10(train=1, validation=1, validation_from="test")
    model = with_weights(models.resnet8(), shared / "models" / "resnet8_cifar10jpeg_folded.h5")
    predicted = model.predict(data.inputs(data.test.x[:3000]), verbose=0, batch_size=500).argmax(axis=1)
    assert abs(np.mean(predicted == data.test.y[:3000]) - 0.834) < 0.015


@pytest.mark.parametrize("folded", [False, True], ids=["as built", "folded"])
@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
def test_own_files_of_every_kind_and_form_are_read(small_model, tmp_path, suffix, folded):
    path = tmp_path / f"mine{suffix}"
    saved = canonical(small_model) if folded else small_model
    if suffix == ".weights.h5":
        saved.save_weights(path)
    else:
        saved.save(path)
    found = with_weights(keras.models.clone_model(small_model), path)
    assert has_batch_norm(found) != folded
    for a, b in zip(found.weights, saved.weights, strict=True):
        assert np.array_equal(a, b)


def test_weights_that_do_not_fit_are_refused_with_the_layer(shared):
    with pytest.raises(ModelError, match="don't fit the model `ds_cnn`"):
        with_weights(models.ds_cnn(), shared / "models" / "resnet8_cifar10jpeg.h5")


def test_weights_h5_of_another_model_are_refused(small_model, tmp_path):
    path = tmp_path / "mine.weights.h5"
    models.small_cnn().save_weights(path)
    with pytest.raises(ModelError, match=r"mine\.weights\.h5 don't fit the model `small` \(as built: .*; folded: "):
        with_weights(keras.models.clone_model(small_model), path)


def test_weights_h5_with_a_batch_norm_that_the_model_lacks_are_refused(tmp_path):
    def dense(*more):
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), *more])

    dense(keras.layers.BatchNormalization()).save_weights(tmp_path / "mine.weights.h5")
    with pytest.raises(ModelError, match="15 weights, but the file has 27"):
        with_weights(dense(), tmp_path / "mine.weights.h5")


@pytest.mark.parametrize("name", ["broken.h5", "broken.weights.h5"])
def test_a_file_that_is_none_is_refused(small_model, tmp_path, name):
    (tmp_path / name).write_bytes(b"no HDF5")
    with pytest.raises(ModelError, match="isn't a Keras weights file"):
        with_weights(small_model, tmp_path / name)


def test_a_missing_file_is_named_with_the_places(tmp_path, monkeypatch):
    monkeypatch.setenv("MPSEARCH_DATA", str(tmp_path / "data"))
    with pytest.raises(DataMissingError, match=r"there is no weights file `none\.h5`.*data"):
        find_weights("none.h5", tmp_path)
    (tmp_path / "data" / "models").mkdir(parents=True)
    (tmp_path / "data" / "models" / "none.h5").touch()
    assert find_weights("none.h5", tmp_path) == tmp_path / "data" / "models" / "none.h5"


def test_float_weights_are_trained_once_and_cached_by_what_they_depend_on(tiny_file, tiny_engine, monkeypatch):
    cached = cached_weights(tiny_file.task, tiny_engine.data)
    assert cached.exists()
    monkeypatch.setattr("mpsearch.floatmodel._train", lambda *a: pytest.fail("trained again"))
    model = float_model(tiny_file.task, tiny_engine.data, tiny_file.path.parent)
    for a, b in zip(canonical(model).weights, tiny_engine.network.float_model.weights, strict=True):
        assert np.array_equal(a, b)
    longer = dataclasses.replace(tiny_file.task.float_recipe, epochs=7)
    assert cached_weights(dataclasses.replace(tiny_file.task, float_training=longer), tiny_engine.data) != cached
    other = dataclasses.replace(tiny_engine.data, train=tiny_engine.data.train.head(9))
    assert cached_weights(tiny_file.task, other) != cached


@pytest.fixture
def untrained(tiny_file, tiny_engine, tmp_path, monkeypatch):
    """A cache folder without the tiny task's weights: where they will be, and how often they are trained."""
    trained = []

    def train(task, data, report, cached):
        trained.append(cached)
        floatmodel._save(functional(task.build()), cached)

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(floatmodel, "_train", train)
    return cached_weights(tiny_file.task, tiny_engine.data), trained


def test_of_those_that_begin_together_one_trains_and_the_others_wait_and_read(
    tiny_file, tiny_engine, untrained, monkeypatch
):
    cached, trained = untrained
    begun, waits, train, said = threading.Event(), threading.Event(), floatmodel._train, []

    def say(line):
        said.append(line)
        waits.set()

    def train_slowly(*given):
        begun.set()
        assert waits.wait(60)
        train(*given)

    monkeypatch.setattr(floatmodel, "_say", say)
    monkeypatch.setattr(floatmodel, "_train", train_slowly)
    with ThreadPoolExecutor(2) as pool:  # a lock tells threads apart as it does processes
        first = pool.submit(float_model, tiny_file.task, tiny_engine.data, Path())
        assert begun.wait(60)
        second = pool.submit(float_model, tiny_file.task, tiny_engine.data, Path())
        models = [first.result(60), second.result(60)]
    assert trained == [cached]
    assert said == [f"another process trains the float model ({cached}.lock): waiting for its weights"]
    for a, b in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_a_dead_process_left_half_written_goes(tiny_file, tiny_engine, untrained):
    cached, _ = untrained
    cached.parent.mkdir(parents=True)
    for left in ("partial-", "partial-0a1b2c3d-"):  # the first by an earlier version
        cached.with_name(f"{left}{cached.name}").write_bytes(b"half")
    other = cached.with_name("partial-0a1b2c3d-other.weights.h5")
    other.touch()
    float_model(tiny_file.task, tiny_engine.data, Path())
    assert set(cached.parent.iterdir()) == {cached, cached.with_name(f"{cached.name}.lock"), other}


def test_a_file_that_another_process_is_writing_is_in_nobodys_way(small_model, tmp_path):
    """Where files can't be locked, several may write at the same time; HDF5 refuses a file that another one has."""

    class Slow:
        def save_weights(self, path):
            with h5py.File(path, "w"):
                floatmodel._save(small_model, tmp_path / "mine.weights.h5")
            small_model.save_weights(path)

    floatmodel._save(Slow(), tmp_path / "mine.weights.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.weights.h5"]


def test_where_files_cannot_be_locked_a_note_says_so(tiny_file, tiny_engine, untrained, monkeypatch, capsys):
    def refuse(lock, timeout=None):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    float_model(tiny_file.task, tiny_engine.data, Path())
    assert untrained[1] == [untrained[0]]
    assert "No locks available): other processes may train the float model as well" in capsys.readouterr().err


def net(name=None, filters=4, activation="relu", dropout=0.1, shortcut=True, inner="relu", **conv):
    """A small model with a shortcut and a model within; only the first layer's name can be given."""
    from keras import Input, Model, Sequential, layers

    inputs = Input((6, 6, 1))
    x = y = layers.Conv2D(filters, 3, activation=activation, name=name, **{"padding": "same", **conv})(inputs)
    y = layers.Conv2D(filters, 1)(y)
    z = layers.Conv2D(filters, 1)(y)
    x = layers.Add()([x, z] if shortcut else [y, z])
    x = layers.Dropout(dropout)(layers.Flatten()(x))
    x = Sequential([Input((x.shape[-1],)), layers.Dense(5, activation=inner)])(x)
    return Model(inputs, layers.Dense(3, activation="softmax")(x))


CHANGES = [
    {"activation": "tanh"},
    {"inner": "tanh"},
    {"strides": 2, "padding": "valid"},
    {"padding": "valid"},
    {"dropout": 0.2},
    {"kernel_regularizer": "l2"},
    {"filters": 5},
    {"shortcut": False},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_what_a_model_computes_is_told_apart(change):
    assert architecture(functional(net(**change))) != architecture(functional(net()))


def test_names_make_no_difference_to_what_a_model_computes():
    assert architecture(functional(net("first"))) == architecture(functional(net()))


def test_the_cache_tells_architectures_and_first_weights_apart(tiny_file, tiny_engine):
    def path(build):
        return cached_weights(dataclasses.replace(tiny_file.task, model=build), tiny_engine.data)

    def pretrained():
        model = net()
        model.layers[1].set_weights([w + 1 for w in model.layers[1].get_weights()])
        return model

    random.seed(7)
    np.random.seed(7)
    expected = random.random(), np.random.random()
    random.seed(7)
    np.random.seed(7)
    assert path(net) == path(lambda: net("other"))
    assert (random.random(), np.random.random()) == expected  # the caller's random numbers go on
    assert len({path(net), path(lambda: net(activation="tanh")), path(pretrained)}) == 3


def test_a_compiled_and_fitted_model_and_its_file_give_their_weights(tmp_path):
    """Such a file has the optimizer's variables as well."""
    from mpsearch.floatmodel import keep_weights

    def made():
        i = keras.Input((4,), name="i")
        return keras.Model(i, keras.layers.Dense(3, name="d")(i))

    model = made()
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(np.ones((8, 4)), np.ones((8, 3)), epochs=1, verbose=0)
    model.save_weights(tmp_path / "fitted.weights.h5")
    for path in (tmp_path / "fitted.weights.h5", keep_weights(model)):
        loaded = with_weights(made(), path)
        for a, b in zip(loaded.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", [list, dict])
def test_any_number_of_inputs_and_outputs_is_described(count, kind):
    inputs = [keras.Input((2,), name=f"i{n}") for n in range(count)]
    outputs = [keras.layers.Dense(2, name=f"o{n}")(x) for n, x in enumerate(inputs)]
    ends = outputs if kind is list else {f"out {n}": output for n, output in enumerate(outputs)}
    told = architecture(keras.Model(inputs, ends))
    numbers = keras.tree.flatten([told["input_layers"], told["output_layers"]])
    assert all(isinstance(number, int) for number in numbers)  # layers' numbers, no names
    assert len(numbers) == 3 * 2 * count
