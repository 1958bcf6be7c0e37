"""The metrics of mpsearch's own."""

from itertools import pairwise

import keras
import numpy as np
import pytest

import mpsearch
from mpsearch import Data, Space, Split, Training, bits
from mpsearch.errors import ConfigError, DataError
from mpsearch.metrics import (
    BoundedMeanSquaredError,
    auc_by_file,
    check_both_kinds,
    direction,
    pauc_by_file,
    sample_errors,
)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0, 1.5, 1e4])
def test_a_bounded_error_is_that_of_the_mean_over_all_batches(scale):
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, scale, (2, 30, 4)).astype(np.float32)
    metric = BoundedMeanSquaredError()
    for start in (0, 7, 20):
        stop = {0: 7, 7: 20, 20: 30}[start]
        metric.update_state(y[start:stop], x[start:stop])
    error = float(np.mean((x.astype(np.float64) - y) ** 2))
    assert float(metric.result()) == pytest.approx(1 / (1 + error**10), rel=1e-4, abs=1e-30)
    assert 0 <= float(metric.result()) <= 1


def test_an_autoencoder_is_searched_by_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def autoencoder():
        inputs = keras.Input((8,), name="input")
        x = keras.layers.Dense(4, activation="relu", name="squeeze")(inputs)
        return keras.Model(inputs, keras.layers.Dense(8, name="restore")(x), name="autoencoder")

    rng = np.random.default_rng(0)
    parts = [(rng.normal(0, 1, (n, 3)) @ rng.normal(0, 1, (3, 8))).astype(np.float32) for n in (256, 64, 64)]
    data = Data(*(Split(part, part) for part in parts), name="planes")
    space = Space(kernel=bits(4, 8), bias=bits(16, alpha="auto_po2"), activation=bits(4, 8))
    study = mpsearch.search(
        autoencoder, data, space, trials=2, loss="mse", metric="bounded_mean_squared_error",
        training=Training(epochs=2), quiet=True,
    )  # fmt: skip
    assert len(study.trials) == 2
    assert all(0 <= value <= 1 for value in study.trials["metric"])


def files_of(rng, files=37, tied=False):
    """Errors of samples of files, in any order; the anomalous ones are a little worse."""
    anomalous = np.arange(files) % 3 == 0
    rng.shuffle(anomalous)
    numbers = np.repeat(rng.permutation(1000)[:files], rng.integers(1, 9, files))
    kinds = dict(zip(*np.unique(numbers, return_index=True), strict=True))
    y = np.stack([numbers, [anomalous[list(kinds).index(n)] for n in numbers]], axis=1).astype(np.int64)
    errors = rng.integers(0, 3, len(y)).astype(float) if tied else rng.exponential(1 + 0.5 * y[:, 1])
    order = rng.permutation(len(y))
    return errors[order], y[order]


def scores_of(errors, y):
    """Mean errors of normal and of anomalous files, by a dictionary."""
    found = {}
    for error, (number, kind) in zip(errors, y.tolist(), strict=True):
        found.setdefault((kind, number), []).append(error)
    return [np.array([np.mean(v) for (kind, _), v in found.items() if kind == wanted]) for wanted in (0, 1)]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_auc_of_files_is_the_share_of_pairs_in_order(seed, tied):
    errors, y = files_of(np.random.default_rng(seed), tied=tied)
    normal, anomalous = scores_of(errors, y)
    pairs = [1.0 if a > n else 0.5 if a == n else 0.0 for a in anomalous for n in normal]
    assert auc_by_file(errors, y) == pytest.approx(np.mean(pairs))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_the_partial_auc_of_files_is_the_integral_of_the_curve_up_to_a_tenth(seed, tied):
    errors, y = files_of(np.random.default_rng(seed), tied=tied)
    normal, anomalous = scores_of(errors, y)
    limits = [np.inf, *sorted({*normal, *anomalous}, reverse=True)]
    curve = [[np.mean(kind >= limit) for limit in limits] for kind in (normal, anomalous)]
    x = np.linspace(0, 0.1, 400001)
    # between its corners the curve is straight; where it rises straight up, its upper end counts
    corners = {fpr: max(t for f, t in zip(*curve, strict=True) if f == fpr) for fpr in curve[0]}
    lower = {fpr: min(t for f, t in zip(*curve, strict=True) if f == fpr) for fpr in curve[0]}
    places = sorted(corners)
    heights = np.zeros_like(x)
    for left, right in pairwise(places):
        inside = (x >= left) & (x <= right)
        slope = (lower[right] - corners[left]) / (right - left)
        heights[inside] = corners[left] + slope * (x[inside] - left)
    area = np.sum((heights[1:] + heights[:-1]) / 2 * np.diff(x))
    expected = 0.5 * (1 + (area - 0.005) / (0.1 - 0.005))
    assert pauc_by_file(errors, y) == pytest.approx(expected, abs=1e-4)


def test_files_that_are_told_apart_have_an_auc_of_one_and_those_the_other_way_round_the_least():
    y = np.array([[5, 0], [5, 0], [7, 1], [9, 0]])
    good, bad = np.array([0.0, 2.0, 3.0, 1.5]), np.array([4.0, 2.0, 1.0, 2.5])
    assert (auc_by_file(good, y), pauc_by_file(good, y)) == (1.0, 1.0)
    assert (auc_by_file(bad, y), pauc_by_file(bad, y)) == (0.0, pytest.approx((1 - 0.005 / 0.095) / 2))


def test_the_error_of_a_sample_is_the_mean_over_all_its_values():
    outputs, inputs = np.arange(12.0).reshape(2, 3, 2), np.zeros((2, 3, 2), np.float32)
    assert sample_errors(outputs, inputs).tolist() == [55 / 6, 451 / 6]


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ([0, 0, 0], r"the test split has 2 normal and 0 anomalous ones: search by metric=\"bounded_mean_squared"),
        ([1, 1, 1], "the test split has 0 normal and 2 anomalous ones"),
    ],
)
def test_files_of_one_kind_are_refused(kinds, message):
    with pytest.raises(DataError, match=message):
        check_both_kinds(np.array([[1, kinds[0]], [1, kinds[1]], [2, kinds[2]]]), "test", "pauc_by_file")


def test_a_file_of_both_kinds_is_refused():
    with pytest.raises(DataError, match="file 4 is both normal and anomalous"):
        auc_by_file(np.ones(3), np.array([[4, 0], [5, 0], [4, 1]]))


RISING = ("accuracy", "acc", "AUC", "auc", "R2Score", "r2_score", "kind/accuracy", "auc_by_file", "precision",
          "bounded_mean_squared_error", "cosine_similarity", "top_k_categorical_accuracy")  # fmt: skip
FALLING = ("mae", "MSE", "mean_squared_error", "size/mae", "kl_divergence", "crossentropy", "FalsePositives",
           "log_cosh_error", "RootMeanSquaredError", "bce")  # fmt: skip


def test_the_direction_of_metrics_is_known():
    assert {name: direction(name) for name in RISING} == dict.fromkeys(RISING, "rises")
    assert {name: direction(name) for name in FALLING} == dict.fromkeys(FALLING, "falls")


def test_each_metric_of_keras_has_a_direction_or_is_refused():
    """So that a new one of Keras's is noticed here."""
    unknown = set()
    for name, kind in vars(keras.metrics).items():
        if isinstance(kind, type):
            try:
                direction(name)
            except ConfigError:
                unknown.add(name)
    arguments = {"MeanIoU", "IoU", "OneHotIoU", "OneHotMeanIoU", "PrecisionAtRecall", "RecallAtPrecision",
                 "SensitivityAtSpecificity", "SpecificityAtSensitivity", "MeanMetricWrapper"}  # fmt: skip
    assert unknown == {"Mean", "Metric", "Sum"} | arguments
