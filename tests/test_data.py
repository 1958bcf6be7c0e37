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


def test_several_inputs_and_outputs_are_a_tuple_or_dict(data):
    x, y = {"image": np.arange(4.0), "size": np.arange(8.0).reshape(4, 2)}, (np.arange(4), np.zeros(4))
    split = Split(x, y)
    assert len(split) == 4
    taken = split.take(np.array([2, 0]))
    assert taken.x["size"].tolist() == [[4, 5], [0, 1]]
    assert taken.y[0].tolist() == [2, 0]
    several = Data(split, split, split)
    assert several.inputs(taken.x)["image"].dtype == np.float32
    assert several.nonnegative_inputs
    renamed = Split({"picture": x["image"], "size": x["size"]}, y)
    assert several.fingerprint != replace(several, train=renamed).fingerprint
    assert not Data(Split({**x, "size": -x["size"]}, y), split, split).nonnegative_inputs


def test_batches_are_shuffled_by_their_order_alone():
    split = Split(np.arange(10), np.arange(10))
    plain = [batch.x.tolist() for batch in split.batches(4)]
    assert plain == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    orders = [[b.x.tolist() for b in split.batches(4, order)] for order in ((1, 0), (1, 0), (1, 1))]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(i for batch in orders[0] for i in batch) == list(range(10))


def test_splits_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="one entry a sample, but got 2 and 3"):
        Split(np.zeros((2, 1)), np.zeros(3))
    with pytest.raises(DataError, match="but got 2 and 2 and 3"):
        Split((np.zeros(2), np.zeros(2)), np.zeros(3))
    with pytest.raises(DataError, match="but got list of int"):
        Split(np.zeros(2), [1, 2])
    with pytest.raises(DataError, match=r"expected a Split, a tf\.data\.Dataset"):
        Data("train", Split(np.zeros(2), np.zeros(2)), Split(np.zeros(2), np.zeros(2)))
    with pytest.raises(DataError, match="at least one sample"):
        Split(np.zeros((0, 1)), np.zeros(0))


def test_spread_samples_are_of_all_classes_of_sorted_data():
    split = Split(np.arange(1000), np.arange(1000) // 100)
    chosen = split.spread(40)
    assert np.bincount(chosen.y).tolist() == [4] * 10
    assert (chosen.x[0], chosen.x[-1]) == (0, 999)
    assert split.spread(1000) is split


FILES = np.array([[0, 0], [0, 0], [1, 1], [1, 1]])


def test_data_that_reconstructs_has_another_fingerprint():
    split = Split(np.arange(12.0).reshape(4, 3), FILES)
    data = Data(split, split, split)
    assert replace(data, reconstructs=True).fingerprint != data.fingerprint
    assert [replace(data, test=split.head(2)).part(part) for part in (data.train, split.head(1))] == ["train", "given"]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.arange(4), r"integers of shape \(n, 2\), .* but got int64 of shape \(4,\)"),
        (FILES.astype(float), r"but got float64 of shape \(4, 2\)"),
        (FILES[:, [0, 0, 1]], r"shape \(4, 3\)"),
        ((FILES, FILES), "but got tuple"),
        (FILES + 1, "1 of an anomalous file, 0 of a normal one, but has 2"),
    ],
)
def test_files_that_cannot_be_told_are_refused(y, message):
    good, wrong = Split(np.zeros((4, 3)), FILES), Split(np.zeros((4, 3)), y)
    with pytest.raises(DataError, match=message):
        Data(good, good, wrong, reconstructs=True)
