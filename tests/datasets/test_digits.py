"""Tests of scikit-learn's digits."""

import numpy as np
import pytest

from mpsearch.datasets import digits
from mpsearch.errors import DataError

pytest.importorskip("sklearn")


def test_splits_are_stratified_and_apart():
    data = digits()
    assert [len(data.train), len(data.validation), len(data.test)] == [1097, 350, 350]
    for split in (data.train, data.validation, data.test):
        assert split.x.shape[1:] == (8, 8, 1)
        assert split.x.dtype == np.float32
        assert split.y.dtype == np.int64
        counts = np.bincount(split.y, minlength=10) / len(split)
        np.testing.assert_allclose(counts, 0.1, atol=0.005)
    assert data.train.x.min() == 0.0
    assert data.train.x.max() == 1.0
    images = np.concatenate([split.x.reshape(-1, 64) for split in (data.train, data.validation, data.test)])
    assert len(np.unique(images, axis=0)) == 1797


def test_split_is_the_same_each_time():
    assert digits().fingerprint == digits().fingerprint
    assert digits().fingerprint != digits(validation=300).fingerprint


def test_empty_splits_are_refused():
    with pytest.raises(DataError, match="train=-203, validation=1000, test=1000"):
        digits(validation=1000, test=1000)
