"""Batches: arranged by name, augmented and weighted by the seed alone."""

import keras
import numpy as np
import pytest

from mpsearch.batches import Batches, Ends, Feed, augmenter, weigher
from mpsearch.data import Data, Split
from mpsearch.errors import ConfigError, DataError

X = np.random.default_rng(0).random((20, 4, 4, 1)).astype(np.float32)
Y = np.array([0] * 12 + [1] * 6 + [3] * 2)
DATA = Data(Split(X, Y), Split(X, Y), Split(X, Y))


def epoch(batches, number):
    batches.start(number)
    return [batches[i] for i in range(batches.num_batches)]


def noise(x, rng):
    return x + rng.normal(size=x.shape)


AUGMENTATIONS = {
    "function": lambda: noise,
    "layer": lambda: keras.layers.RandomTranslation(0.5, 0.5),
    "layers": lambda: [keras.layers.RandomFlip(), keras.layers.RandomTranslation(0.5, 0.5)],
    "model": lambda: keras.Sequential([keras.Input((4, 4, 1)), keras.layers.RandomTranslation(0.5, 0.5)]),
}


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_augmentation_depends_on_seed_epoch_and_batch_alone(kind):
    def run(seed):
        made = Batches(DATA, DATA.train, 8, seed, augment=augmenter(AUGMENTATIONS[kind]()))
        return [np.concatenate([x for x, _ in epoch(made, number)]) for number in (0, 1)]

    first, again, other = run(1), run(1), run(2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    plain = Batches(DATA, DATA.train, 8, 1)
    assert not np.allclose(first[0], np.concatenate([x for x, _ in epoch(plain, 0)]))
    assert first[0].dtype == np.float32
    halves = augmenter(noise)(X, np.random.default_rng(0)), augmenter(noise)(X, np.random.default_rng(1))
    assert not np.array_equal(*halves)


def test_batches_are_fed_in_order_and_without_a_pipeline_that_is_tuned():
    fed = Feed(Batches(DATA, DATA.train, 8, seed=1)).get_tf_dataset()
    assert fed.options().autotune.enabled is False, "its thread would hold up the end of each epoch"
    expected = epoch(Batches(DATA, DATA.train, 8, seed=1), 0)
    for (x, y), (expected_x, expected_y) in zip(fed.as_numpy_iterator(), expected, strict=True):
        np.testing.assert_array_equal(x, expected_x)
        np.testing.assert_array_equal(y, expected_y)


def test_augmentations_that_cannot_be_repeated_or_change_shapes_are_refused():
    with pytest.raises(ConfigError, match=r"def augment\(x, rng\)"):
        augmenter(lambda x: x)
    with pytest.raises(ConfigError, match="must be a function"):
        augmenter("flip")
    with pytest.raises(DataError, match="must keep the inputs' shape"):
        _ = Batches(DATA, DATA.train, 8, 1, augment=augmenter(lambda x, rng: x[:, :2]))[0]


@pytest.mark.parametrize("targets", [Y, Y.reshape(-1, 1), np.eye(4)[Y]], ids=["indices", "column", "one-hot"])
def test_class_weights_are_those_of_the_targets(targets):
    data = Data(Split(X, targets), Split(X, targets), Split(X, targets))
    weigh = weigher({0: 1.0, 1: 2.0, 3: 6.0}, data)
    assert weigh(targets).tolist() == [1] * 12 + [2] * 6 + [6] * 2
    batches = Batches(data, data.train, 8, 1, weigh=weigh)
    for _, y, w in epoch(batches, 0):
        assert np.array_equal(w, weigh(y))
    balanced = weigher("balanced", data)(targets)
    assert balanced == pytest.approx(20 / (3 * np.bincount(Y)[Y]))
    assert balanced.sum() == pytest.approx(20)


def test_class_weights_without_classes_are_refused():
    with pytest.raises(ConfigError, match="no weight for class 3"):
        weigher({0: 1.0, 1: 2.0}, DATA)(Y)
    for targets in (Y / 2, np.zeros((20, 3, 3)), (Y, Y)):
        data = Data(Split(X, targets), Split(X, targets), Split(X, targets))
        with pytest.raises(ConfigError, match="needs one output"):
            weigher("balanced", data)


def test_arrays_are_put_into_the_models_order():
    ends = Ends(("a", "b"), ("one", "two"))
    a, b = np.zeros(2), np.ones(2)
    assert [x is y for x, y in zip(ends.arrange_inputs({"b": b, "a": a}), [a, b], strict=True)] == [True, True]
    assert ends.arrange_targets((a, b))[1] is b
    with pytest.raises(DataError, match=r"arrays for \['a', 'c'\], but the model's inputs are \['a', 'b'\]"):
        ends.arrange_inputs({"a": a, "c": b})
    with pytest.raises(DataError, match="`y` has 1 arrays"):
        ends.arrange_targets(a)
    assert Ends(("a",), ("one",)).arrange_inputs({"a": a}) is a


def test_batches_out_of_turn_are_an_error():
    batches = Batches(DATA, DATA.train, 8, 1)
    _ = batches[0]
    with pytest.raises(IndexError, match="one after another"):
        _ = batches[2]


FILES = np.stack([np.arange(20) // 4, np.zeros(20, int)], axis=1)
RECONSTRUCTED = Data(*(Split(X, FILES) for _ in range(3)), prepare=lambda x: 2 * x + 1, reconstructs=True)


def louder(x, rng):
    x += rng.normal(size=x.shape)  # in place, as a user may
    return x


def test_where_inputs_are_reconstructed_targets_are_prepared_and_not_augmented():
    plain = Batches(RECONSTRUCTED, RECONSTRUCTED.train, 8, 1)
    augmented = Batches(RECONSTRUCTED, RECONSTRUCTED.train, 8, 1, augment=augmenter(louder))
    for (x, y), (changed, target) in zip(epoch(plain, 0), epoch(augmented, 0), strict=True):
        assert np.array_equal(x, y)
        assert np.array_equal(target, x)
        assert not np.allclose(changed, x)
    first = np.random.default_rng((1, 0)).permutation(20)[:8]
    np.testing.assert_allclose(plain[0][1], 2 * X[first] + 1, rtol=1e-6)


def test_class_weights_are_refused_where_inputs_are_reconstructed():
    with pytest.raises(ConfigError, match="`class_weights` weighs classes, but the data `reconstructs`"):
        weigher("balanced", RECONSTRUCTED)


def test_a_stream_of_wrong_files_is_refused_where_it_is_read():
    data = Data(lambda: [(X, Y)], RECONSTRUCTED.validation, None, reconstructs=True)
    with pytest.raises(DataError, match=r"`y` must hold integers of shape \(n, 2\)"):
        _ = Batches(data, data.train, 8)[0]
