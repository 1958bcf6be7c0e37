"""Steadied metrics against the formula of Bayesian regression, and against truths that trainings hide."""

import numpy as np
import pytest

from mpsearch.searching.guesses import Tried
from mpsearch.searching.steadying import LEAST, LUCK, NOISE, SLOPE, SLOPE_DEVIATION, WEIGHT, curve_of, steadied

PLACE = np.zeros(1, dtype=np.int64)


def trainings(rng, truths, epochs=3, noise=0.006, slope=0.8, own=0.0005):
    """Trainings whose training metric says more than their validation metric does."""
    found = []
    for number, truth in enumerate(truths):
        training = 0.9 + (truth - 0.8) / slope + own * rng.standard_normal(epochs)
        validation = truth + noise * rng.standard_normal(epochs)
        found.append(Tried(np.array([number]), float(validation.max()), np.column_stack([training, validation])))
    return found


def test_a_curve_has_the_training_metric_or_else_the_validation_metric():
    logs = [{"accuracy": 0.7, "val_accuracy": 0.6, "loss": 1.0}, {"val_accuracy": 0.65, "loss": 0.9}]
    assert curve_of(logs, "accuracy").tolist() == [[0.7, 0.6], [0.65, 0.65]]
    assert curve_of([], "accuracy").shape == (0, 2)


def test_nothing_is_said_of_a_stopped_training_before_one_was_completed():
    begun = Tried(PLACE, None, np.array([[0.8, 0.7]]))
    assert steadied([begun, Tried(PLACE, None)]) == [None, None]
    assert steadied([Tried(PLACE, 0.8), begun, Tried(PLACE, None)]) == [0.8, None, None]  # its curve isn't known
    (whole, stopped) = steadied([Tried(PLACE, 0.75, np.array([[0.82, 0.75]])), begun])
    assert whole == pytest.approx(0.75)
    assert stopped == pytest.approx(0.75 - SLOPE * 0.02)  # a single one says nothing of the slope


def test_the_line_is_that_of_bayesian_regression():
    tried = trainings(np.random.default_rng(0), np.random.default_rng(1).normal(0.8, 0.01, 7))
    x, y = np.array([t.curve[:, 0].mean() for t in tried]), np.array([t.metric for t in tried])
    late = np.array([t.curve[1:, 1] for t in tried])
    left = late - late.mean(axis=1)[:, None] - late.mean(axis=0) + late.mean()
    luck = (WEIGHT * NOISE**2 + LUCK * np.square(left).sum()) / (WEIGHT + 6 * 1)
    design = np.column_stack([np.ones(7), x - x.mean()])
    precision = np.diag([0.0, SLOPE_DEVIATION**-2])
    parameters = np.linalg.solve(
        design.T @ design / luck + precision, design.T @ y / luck + precision @ np.array([0.0, SLOPE])
    )
    missed = y - design @ parameters
    scatter = (np.square(missed).sum() + WEIGHT * luck) / (6 + WEIGHT)
    own = max(scatter - luck, luck * LEAST / (1 - LEAST))
    own = own / (own + luck)
    assert steadied(tried) == pytest.approx(list(design @ parameters + own * missed), rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_steadied_metrics_are_nearer_to_the_truth_and_stopped_trainings_have_them_too(seed):
    rng = np.random.default_rng(seed)
    truths = rng.normal(0.8, 0.008, 24)
    tried = trainings(rng, truths)
    tried = [Tried(t.positions, None, t.curve[:1]) if n % 3 else t for n, t in enumerate(tried)]
    found = np.array(steadied(tried))
    whole = [n for n, t in enumerate(tried) if t.metric is not None]
    plain = np.array([tried[n].metric for n in whole])
    assert np.corrcoef(found, truths)[0, 1] > 0.95
    assert np.corrcoef(found[whole], truths[whole])[0, 1] > np.corrcoef(plain, truths[whole])[0, 1]


def test_where_the_training_metric_says_nothing_each_keeps_its_own_metric():
    rng = np.random.default_rng(0)
    truths = rng.normal(0.8, 0.04, 30)
    tried = [
        Tried(t.positions, t.metric, np.column_stack([rng.normal(0.9, 0.01, 3), t.curve[:, 1]]))
        for t in trainings(rng, truths)
    ]
    plain = np.array([t.metric for t in tried])
    assert np.abs(np.array(steadied(tried)) - plain).max() < 0.25 * np.abs(plain - plain.mean()).max()


def test_a_config_that_was_trained_again_and_again_is_what_it_gave():
    rng = np.random.default_rng(2)
    tried = trainings(rng, rng.normal(0.8, 0.01, 10))
    better = [Tried(tried[0].positions, tried[0].metric + 0.02, tried[0].curve) for _ in range(40)]
    once, often = steadied([*tried, better[0]])[-1], steadied([*tried, *better])[-1]
    assert abs(often - better[0].metric) < 0.5 * abs(once - better[0].metric)


def test_a_training_metric_that_is_missing_or_no_number_gives_way():
    logs = [{"accuracy": float("nan"), "val_accuracy": 0.6}, {"loss": 1.0}, {"accuracy": 0.9, "val_accuracy": 0.7}]
    assert curve_of(logs, "accuracy").tolist() == [[0.6, 0.6], [0.9, 0.7]]


def test_what_is_expected_stays_a_metric():
    whole = [Tried(np.array([n]), 0.9 + 0.01 * n, np.full((2, 2), 0.9 + 0.01 * n)) for n in range(4)]
    stopped = [Tried(np.array([9]), None, np.array([[x, x]])) for x in (-2.0, 3.0)]
    assert steadied([*whole, *stopped])[4:] == [0.0, 1.0]
