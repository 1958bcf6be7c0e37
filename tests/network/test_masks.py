"""Tests of masks: loss and metric leave out what the float model's leave out, evaluated and trained."""

import keras
import numpy as np
import pytest
from keras import Input, layers

from mpsearch.menu import bits
from mpsearch.network.canonical import canonical
from mpsearch.network.elastic import ElasticNetwork
from mpsearch.space import Space
from tests.conftest import randomise

STEPS, WORDS, CLASSES = 7, 12, 4


def words():
    return Input((STEPS,), dtype="int32", name="words")


def embedded(inputs, name="embedding"):
    return layers.Embedding(WORDS, 6, mask_zero=True, name=name)(inputs)


def tagger(inputs, x):
    return keras.Model(inputs, layers.Dense(CLASSES, activation="softmax", name="tags")(x))


def embedding():
    inputs = words()
    return tagger(inputs, embedded(inputs))


def recurrent():
    inputs = words()
    return tagger(inputs, layers.LSTM(5, return_sequences=True, name="lstm")(embedded(inputs)))


def by_keyword():
    inputs = words()
    x = layers.Embedding(WORDS, 6, mask_zero=True, name="embedding")(inputs=inputs)
    return tagger(inputs, layers.GRU(5, return_sequences=True, name="gru")(sequences=x))


def normalized():
    """A folded BatchNorm, one that is kept, and a function of its own."""
    inputs = words()
    x = layers.BatchNormalization(name="kept")(embedded(inputs))
    x = layers.BatchNormalization(name="folded")(layers.Dense(5, name="hidden")(x))
    return tagger(inputs, layers.Dropout(0.0, name="drop")(layers.ReLU(name="relu")(x)))


def merged():
    inputs = words()
    x = layers.Add(name="sum")([embedded(inputs, "a"), embedded(inputs, "b")])
    forward, state = layers.GRU(6, return_sequences=True, return_state=True, name="gru")(x)
    back = layers.GRU(6, return_sequences=True, name="next")(x, initial_state=state)
    return tagger(inputs, layers.Concatenate(name="both")([forward, back]))


def masking():
    inputs = Input((STEPS, 3), name="values")
    x = layers.Masking(name="masking")(inputs)
    return tagger(inputs, layers.LSTM(5, return_sequences=True, name="lstm")(x))


def nested():
    inputs, inner = words(), words()
    encoder = keras.Model(inner, embedded(inner), name="encoder")
    return tagger(inputs, encoder(inputs))


MODELS = (embedding, recurrent, by_keyword, normalized, merged, masking, nested)


def padded(model, count=48):
    """Random sequences of random lengths, and their tags."""
    rng = np.random.default_rng(0)
    real = np.arange(STEPS) < rng.integers(1, STEPS + 1, (count, 1))
    if model.inputs[0].dtype == "int32":
        x = np.where(real, rng.integers(1, WORDS, real.shape), 0).astype("int32")
    else:
        x = np.where(real[..., None], rng.normal(0, 1, (*real.shape, 3)), 0.0).astype("float32")
    return x, rng.integers(0, CLASSES, real.shape), real


def compiled(model):
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    return model


@pytest.mark.parametrize("build", MODELS)
def test_masks_reach_loss_and_metric(build):
    model = randomise(build())
    x, tags, real = padded(model)
    # of what is real every tag is right, of the padding none
    right = np.argmax(model(x, training=False), axis=-1)
    tags = np.where(real, right, (right + 1) % CLASSES)
    expected = compiled(model).evaluate(x, tags, verbose=0, return_dict=True)
    assert expected["accuracy"] == 1.0
    network = ElasticNetwork(model, Space(kernel=bits(4, 8), bias=bits(8), activation=bits(4, 8)), x)
    network.set_config(None)
    for ours in (canonical(model), network.model):
        assert compiled(ours).evaluate(x, tags, verbose=0, return_dict=True) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("build", [embedding, recurrent, masking])
def test_masks_reach_training(build):
    model = randomise(build())
    x, tags, _ = padded(model)
    network = ElasticNetwork(model, Space(kernel=bits(8), bias=bits(8), activation=bits(8)), x)
    network.set_config(None)
    options = {"epochs": 3, "batch_size": 16, "shuffle": False, "verbose": 0}
    ours, expected = (compiled(m).fit(x, tags, **options).history for m in (network.model, model))
    assert expected["loss"][-1] < expected["loss"][0]
    np.testing.assert_allclose(ours["loss"], expected["loss"], rtol=1e-4)
    np.testing.assert_allclose(ours["accuracy"], expected["accuracy"], atol=0.02)
