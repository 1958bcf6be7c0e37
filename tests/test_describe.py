"""Descriptions of values: equal where values are, plain data always."""

import functools
import json
import re
from pathlib import Path

import keras
import numpy as np

from mpsearch.describe import describe
from mpsearch.schedules import exponential
from mpsearch.task import Distillation, Training


def scaled(factor):
    return lambda x, rng: x * factor


def test_what_differs_is_told_apart_and_all_is_plain():
    values = [
        Training(),
        Training(class_weights={0: 2.0}),
        Training(learning_rate=exponential(1e-3, 0.9)),
        Training(learning_rate=exponential(1e-3, 0.8)),
        Training(learning_rate=lambda epoch: 1e-3 / (epoch + 1)),
        Training(distillation=Distillation()),
        Training(augmentation=scaled(2)),
        Training(augmentation=scaled(3)),
        Training(augmentation=keras.layers.RandomFlip(name="f")),
        Training(augmentation=keras.layers.RandomFlip("vertical", name="f")),
        functools.partial(scaled, 2),
        functools.partial(scaled, 3),
        keras.losses.SparseCategoricalCrossentropy(),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        np.zeros(3),
        np.zeros((3, 1)),
        np.float32(1.5),
        keras.losses.mean_squared_error,
        Path("a"),
        re.compile("a"),
        re.compile("a", re.IGNORECASE),
        {3, 1},
        object(),
        Path,
        len,
    ]
    described = [json.dumps(describe(value), sort_keys=True) for value in values]
    assert len(set(described)) == len(values)
    assert described == [json.dumps(describe(value), sort_keys=True) for value in values]


def test_functions_are_their_source_and_what_it_refers_to():
    found = describe(scaled(2))
    assert found["source"].strip() == "return lambda x, rng: x * factor"
    assert found["refers to"] == {"factor": 2}
    assert describe(keras.losses.mean_squared_error).startswith("keras")


def test_names_that_keras_numbers_make_no_difference():
    assert describe(keras.layers.RandomFlip()) == describe(keras.layers.RandomFlip())


def test_a_field_that_came_later_is_described_where_it_is_used():
    from mpsearch import Training

    assert "subset" not in describe(Training())
    assert describe(Training(subset=5))["subset"] == 5
