"""Streams: read again and again, shuffled alike, told apart."""

import itertools

import keras
import numpy as np
import pytest

from mpsearch.data import Data, Split
from mpsearch.errors import DataError
from mpsearch.stream import Stream

X = np.random.default_rng(0).random((50, 3)).astype(np.float32)
Y = np.arange(50) % 5


def function(size=7):
    return lambda: ((X[i : i + size], Y[i : i + size]) for i in range(0, len(X), size))


def tf_dataset():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(8)


class Sequence(keras.utils.PyDataset):
    def __init__(self, x=X):
        super().__init__()
        self.x = x

    @property
    def num_batches(self):
        return 5

    def __getitem__(self, index):
        return self.x[index * 10 : index * 10 + 10], Y[index * 10 : index * 10 + 10]


SOURCES = {
    "function": function(),
    "tf.data": tf_dataset,
    "PyDataset": Sequence,
    "function of tf.data": lambda: tf_dataset,
    "list": lambda: [(X[:20], Y[:20]), (X[20:], Y[20:])],
}


@pytest.fixture(params=SOURCES)
def source(request):
    made = SOURCES[request.param]
    return made() if request.param in ("tf.data", "PyDataset", "function of tf.data") else made


def all_of(batches):
    found = list(batches)
    return np.concatenate([b.x for b in found]), np.concatenate([b.y for b in found])


def test_every_kind_of_source_gives_its_samples_each_time(source):
    stream = Stream(source)
    assert len(stream) == 50
    for size, order in itertools.product((1, 13, 64), (None, (0, 1))):
        batches = list(stream.batches(size, order))
        assert [len(batch) for batch in batches] == [len(b) for b in Split(X, Y).batches(size)]
        x, y = all_of(batches)
        if order is None:
            assert np.array_equal(x, X)
        assert np.array_equal(np.sort(x, axis=0), np.sort(X, axis=0))
        assert all(np.array_equal(X[np.flatnonzero(c == Y)], X[c == Y]) for c in range(5))
        lookup = {row.tobytes(): label for row, label in zip(X, Y, strict=True)}
        assert [lookup[row.tobytes()] for row in x] == y.tolist()  # targets stay with their samples
    assert np.array_equal(stream.head(11).x, X[:11])
    assert np.array_equal(stream.spread(9).x, Split(X, Y).spread(9).x)
    assert len(stream.spread(500)) == 50


def test_shuffling_depends_on_the_order_and_stays_within_its_windows():
    stream = Stream(function(), shuffled=20)
    one, same, other = (all_of(stream.batches(5, order))[0] for order in ((3, 0), (3, 0), (3, 1)))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    for start in (0, 20, 40):
        assert np.array_equal(np.sort(one[start : start + 20], axis=0), np.sort(X[start : start + 20], axis=0))


def test_fingerprints_tell_streams_apart():
    prints = {
        Stream(function()).fingerprint,
        Stream(function(), name="other").fingerprint,
        Stream(lambda: [(X[:49], Y[:49])]).fingerprint,
        Stream(lambda: [(X + 1, Y)]).fingerprint,
    }
    assert len(prints) == 4
    assert Stream(function()).fingerprint in prints
    split = Split(X, Y)
    assert Data(function(), split, split).fingerprint == Data(function(), split, split).fingerprint
    assert Data(function(), split, split).nonnegative_inputs


def test_sources_that_cannot_be_repeated_are_refused():
    import tensorflow as tf

    rng = np.random.default_rng()
    dataset = tf.data.Dataset.from_tensor_slices((X, Y))
    for source in (lambda: [(rng.random((4, 3)), Y[:4])], dataset.shuffle(50).batch(8)):
        with pytest.raises(DataError, match="gives other samples when it is read again"):
            _ = Stream(source).fingerprint
    fixed = dataset.shuffle(50, seed=0, reshuffle_each_iteration=False).batch(8)
    assert Stream(fixed).fingerprint == Stream(fixed).fingerprint
    with pytest.raises(DataError, match="can be read only once"):
        Stream(function()())
    with pytest.raises(DataError, match="without an end"):
        Stream(dataset.batch(8).repeat())
    with pytest.raises(DataError, match="single samples: let it give batches"):
        list(Stream(dataset))
    with pytest.raises(DataError, match="needs size"):
        Stream(lambda size: None)
    with pytest.raises(DataError, match=r"pair \(x, y\) of a batch, but got 3: sample weights"):
        list(Stream(lambda: [(X, Y, Y)]))
    with pytest.raises(DataError, match="at least one sample"):
        Stream(lambda: []).spread(3)
