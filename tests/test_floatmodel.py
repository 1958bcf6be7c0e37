"""Float weights: from files of either form, or trained once and cached."""

import dataclasses

import keras
import numpy as np
import pytest

from mpsearch import datasets, models
from mpsearch.errors import DataMissingError, ModelError
from mpsearch.floatmodel import cached_weights, find_weights, float_model, with_weights
from mpsearch.network.canonical import canonical


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


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5"])
def test_own_files_of_every_kind_are_read(small_model, tmp_path, suffix):
    path = tmp_path / f"mine{suffix}"
    if suffix == ".h5":
        small_model.save_weights(tmp_path / "mine.weights.h5")
        path = tmp_path / "mine.weights.h5"
    elif suffix == ".keras":
        small_model.save(path)
    else:
        small_model.save_weights(path)
    fresh = keras.models.clone_model(small_model)
    for a, b in zip(with_weights(fresh, path).weights, small_model.weights, strict=True):
        assert np.array_equal(a, b)


def test_weights_that_do_not_fit_are_refused_with_the_layer(shared):
    with pytest.raises(ModelError, match="don't fit the model `ds_cnn`"):
        with_weights(models.ds_cnn(), shared / "models" / "resnet8_cifar10jpeg.h5")


def test_a_file_that_is_none_is_refused(small_model, tmp_path):
    (tmp_path / "broken.h5").write_bytes(b"no HDF5")
    with pytest.raises(ModelError, match="isn't a Keras weights file"):
        with_weights(small_model, tmp_path / "broken.h5")


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
    monkeypatch.setattr("mpsearch.floatmodel.train_float", lambda *a: pytest.fail("trained again"))
    model = float_model(tiny_file.task, tiny_engine.data, tiny_file.path.parent)
    for a, b in zip(canonical(model).weights, tiny_engine.network.float_model.weights, strict=True):
        assert np.array_equal(a, b)
    longer = dataclasses.replace(tiny_file.task.float_recipe, epochs=7)
    assert cached_weights(dataclasses.replace(tiny_file.task, float_training=longer), tiny_engine.data) != cached
    other = dataclasses.replace(tiny_engine.data, train=tiny_engine.data.train.head(9))
    assert cached_weights(tiny_file.task, other) != cached
