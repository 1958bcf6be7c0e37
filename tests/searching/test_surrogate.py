"""The surrogate against the textbook's formulas, and against draws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpsearch.searching.surrogate import OWN, Prior, Surrogate

SEEDS = st.integers(0, 2**32 - 1)
PRIOR = Prior(metric=0.9, slope=0.05)


def problem(seed, trials=6):
    rng = np.random.default_rng(seed)
    damages = [rng.exponential(0.3, rng.integers(2, 4)) for _ in range(5)]
    positions = np.array([[rng.integers(len(d)) for d in damages] for _ in range(trials)]).reshape(trials, 5)
    return damages, positions, rng.uniform(0.6, 0.95, trials)


def kernel(damages, prior, one, other):
    """The covariance of two configs' metrics, written out."""
    sums = [sum(d[p] for d, p in zip(damages, config, strict=True)) for config in (one, other)]
    shared = sum(
        (prior.spread * prior.slope * d[p]) ** 2 for d, p, q in zip(damages, one, other, strict=True) if p == q
    )
    return prior.metric_deviation**2 + prior.slope**2 * sums[0] * sums[1] + shared


@settings(max_examples=25)
@given(SEEDS)
def test_mean_and_deviation_are_those_of_a_gaussian_process(seed):
    damages, positions, metrics = problem(seed, trials=3)  # too few for another prior
    surrogate = Surrogate(damages, PRIOR, positions, metrics)
    new = problem(seed + 1, trials=4)[1] % [len(d) for d in damages]
    gram = np.array([[kernel(damages, PRIOR, a, b) for b in positions] for a in positions])
    gram += PRIOR.noise**2 * (OWN * (positions[:, None] == positions[None]).all(axis=-1) + (1 - OWN) * np.eye(3))
    across = np.array([[kernel(damages, PRIOR, a, b) for b in positions] for a in new])
    means = [
        PRIOR.metric - PRIOR.slope * sum(d[p] for d, p in zip(damages, c, strict=True)) for c in (*new, *positions)
    ]
    expected = means[:4] + across @ np.linalg.solve(gram, metrics - means[4:])
    assert surrogate.mean().predict(new) == pytest.approx(expected, rel=1e-6)
    own = np.array([kernel(damages, PRIOR, a, a) for a in new])
    variances = own - np.einsum("ij,ji->i", across, np.linalg.solve(gram, across.T))
    assert surrogate.deviation(new) == pytest.approx(np.sqrt(np.maximum(variances, 0)), abs=1e-6)


def test_draws_have_that_mean_and_that_deviation():
    damages, positions, metrics = problem(3)
    surrogate = Surrogate(damages, PRIOR, positions, metrics)
    rng, new = np.random.default_rng(0), problem(4)[1] % [len(d) for d in damages]
    drawn = np.array([surrogate.draw(rng).predict(new) for _ in range(3000)])
    deviation = surrogate.deviation(new)
    assert np.abs(drawn.mean(axis=0) - surrogate.mean().predict(new)).max() < 0.1 * deviation.max()
    assert drawn.std(axis=0) == pytest.approx(deviation, rel=0.1)


def test_a_config_trained_again_and_again_is_believed_what_it_gave_and_teaches_others_less():
    damages, positions, _ = problem(7, trials=2)
    positions = np.concatenate([positions[:1]] * 3 + [positions[1:]])
    metrics = np.array([0.71, 0.70, 0.69, 0.85])
    surrogate = Surrogate(damages, PRIOR, positions, metrics)
    prior = surrogate.prior
    everything = np.concatenate([positions, problem(8, trials=3)[1] % [len(d) for d in damages]])
    gram = np.array([[kernel(damages, prior, a, b) for b in positions] for a in positions])
    same = np.array([[float((a == b).all()) for b in positions] for a in everything])
    gram += prior.noise**2 * (OWN * same[:4] + (1 - OWN) * np.eye(4))
    across = np.array([[kernel(damages, prior, a, b) for b in positions] for a in everything])
    across += OWN * prior.noise**2 * same
    means = np.array(
        [prior.metric - prior.slope * sum(d[p] for d, p in zip(damages, c, strict=True)) for c in everything]
    )
    expected = means + across @ np.linalg.solve(gram, metrics - means[:4])
    assert surrogate.believed(everything) == pytest.approx(expected, rel=1e-9)
    others = everything[~same.any(axis=1)]
    assert len(others)
    assert surrogate.believed(others) == pytest.approx(surrogate.mean().predict(others))


def test_differences_have_the_deviations_of_draws():
    damages, positions, metrics = problem(3)
    surrogate, rng = Surrogate(damages, PRIOR, positions, metrics), np.random.default_rng(0)
    one, other = (problem(seed)[1] % [len(d) for d in damages] for seed in (4, 5))
    beliefs = [surrogate.draw(rng) for _ in range(3000)]
    drawn = np.array([belief.predict(one) - belief.predict(other) for belief in beliefs])
    assert drawn.std(axis=0) == pytest.approx(surrogate.deviation_between(one, other), rel=0.1)


def test_without_trials_it_is_the_prior():
    damages = problem(0)[0]
    surrogate = Surrogate(damages, PRIOR, np.zeros((0, 5)), [])
    config = np.zeros((1, 5), dtype=int)
    assert surrogate.mean().predict(config)[0] == pytest.approx(0.9 - 0.05 * sum(d[0] for d in damages))
    assert surrogate.deviation(config)[0] == pytest.approx(np.sqrt(kernel(damages, PRIOR, config[0], config[0])))


def test_trials_teach_which_choice_training_recovers():
    """One choice costs nothing whatever its sensitivity says, the others what it says: that is learnt."""
    rng = np.random.default_rng(1)
    damages = [np.array([0.5, 0.1, 0.0]) for _ in range(6)]
    true = [0.05 * d * (0.0 if choice == 2 else 1.0) for choice, d in enumerate(damages)]
    positions = rng.integers(0, 3, (40, 6))
    metrics = [
        0.9 - sum(t[p] for t, p in zip(true, config, strict=True)) + rng.normal(0, 0.002) for config in positions
    ]
    losses = Surrogate(damages, Prior(0.9, 0.02), positions, metrics).mean().losses
    assert abs(losses[2][0]) < 0.005
    assert np.mean([losses[n][0] for n in (0, 1, 3, 4, 5)]) == pytest.approx(0.025, abs=0.003)


def test_noise_is_estimated():
    rng = np.random.default_rng(2)
    damages, positions, _ = problem(5, trials=40)
    clean = 0.9 - 0.05 * np.array([sum(d[p] for d, p in zip(damages, c, strict=True)) for c in positions])
    for noise in (0.0015, 0.024):
        found = Surrogate(damages, PRIOR, positions, clean + rng.normal(0, noise, 40)).prior.noise
        assert noise / 2 <= found <= 2 * noise
