"""Splits, fingerprints and the sign of inputs."""

from dataclasses import replace

import numpy as np
import pytest

from mpsearch.data import Data, Split
from mpsearch.errors import DataError


@pytest.fixture
def data():
    split = Split(np.arange(12, dtype=np.uint8).reshape(4, 3), np.arange(4))
    return Data(split, split.head(2), split.head(1), prepare=lambda x: x / 10)


def test_inputs_are_prepared_float32(data):
    assert data.inputs(data.train.x).dtype == np.float32
    assert data.inputs(data.train.x)[1, 0] == np.float32(0.3)


def test_fingerprint_changes_with_any_split_and_with_preparation(data):
    changed = Split(data.test.x + 1, data.test.y)
    others = [replace(data, test=changed), replace(data, train=data.train.head(3)), replace(data, prepare=None)]
    assert len({data.fingerprint, *(other.fingerprint for other in others)}) == 4
    assert replace(data).fingerprint == data.fingerprint


def test_sign_of_inputs_is_judged_by_all_training_samples(data):
    assert data.nonnegative_inputs
    assert not replace(data, prepare=lambda x: x - np.float32(0.5)).nonnegative_inputs


def test_splits_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="one entry a sample, but got 2 and 3"):
        Split(np.zeros((2, 1)), np.zeros(3))
    with pytest.raises(DataError, match="at least one sample"):
        Split(np.zeros((0, 1)), np.zeros(0))


def test_spread_samples_are_of_all_classes_of_sorted_data():
    split = Split(np.arange(1000), np.arange(1000) // 100)
    chosen = split.spread(40)
    assert np.bincount(chosen.y).tolist() == [4] * 10
    assert (chosen.x[0], chosen.x[-1]) == (0, 999)
    assert split.spread(1000) is split
