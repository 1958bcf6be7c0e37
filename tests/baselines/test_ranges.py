"""Ranges for post-training quantization, against definitions written out."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.baselines.ranges import RangeMethod, divergence, entropy, least_squares, percentile, quantized, range_of
from mpsearch.network.calibration import Observed


def seen(values):
    array = np.asarray(values, dtype=np.float32)
    return Observed(float(array.min()), float(array.max()), array)


@pytest.fixture
def tailed():
    """Values with a long tail to both sides."""
    return np.random.default_rng(0).standard_t(3, 50_000).astype(np.float32)


@pytest.mark.parametrize("method", RangeMethod)
@given(values=st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=50))
def test_a_range_contains_zero_and_lies_within_the_values(method, values):
    low, high = range_of(method, seen(values))
    assert min(min(values), 0.0) <= low <= 0.0 <= high <= max(max(values), 0.0)


@pytest.mark.parametrize("method", RangeMethod)
def test_values_of_one_sign_need_no_codes_of_the_other(method, tailed):
    low, high = range_of(method, seen(np.abs(tailed) + 0.1))
    assert low == 0.0 < high
    low, high = range_of(method, seen(-np.abs(tailed) - 0.1))
    assert low < 0.0 == high


@pytest.mark.parametrize("method", RangeMethod)
def test_zeros_alone_have_a_range_of_zero(method):
    assert range_of(method, seen(np.zeros(9))) == (0.0, 0.0)


def test_a_percentile_clips_one_of_ten_thousand_at_each_end(tailed):
    low, high = percentile(seen(tailed))
    assert (tailed < low).sum() == (tailed > high).sum() == len(tailed) // 10_000


def test_the_grid_is_that_of_affine_codes():
    low, high = -0.3, 0.7
    scale, codes = 1.0 / 255, range(256)
    zero = round(0.3 / scale)
    grid = np.array([(code - zero) * scale for code in codes])
    x = np.random.default_rng(0).uniform(-0.5, 1.0, 3000)
    nearest = grid[np.abs(x[:, None] - grid).argmin(axis=1)]
    assert np.abs(quantized(x, low, high) - nearest).max() < 1e-12
    assert 0.0 in quantized(np.array([0.0]), low, high)


def test_the_range_of_least_squares_is_at_least_as_good_as_all_that_it_compares(tailed):
    low, high = least_squares(seen(tailed))

    def error(fraction):
        return np.square(
            quantized(tailed.astype(float), fraction * tailed.min(), fraction * tailed.max()) - tailed
        ).sum()

    best = min(error(k / 100) for k in range(1, 101))
    chosen = np.square(quantized(tailed.astype(float), low, high) - tailed).sum()
    assert chosen <= best * 1.01, "a histogram stands for the values"
    assert chosen < 0.95 * error(1.0)


def kl(counts, kept, levels):
    """Divergence of `entropy`, one bin after another."""
    p = [float(c) for c in counts[:kept]]
    p[-1] += sum(counts[kept:])
    q = [0.0] * kept
    for level in range(levels):
        bins = [i for i in range(kept) if i * levels // kept == level]
        filled = [i for i in bins if counts[i] > 0]
        for i in filled:
            q[i] = sum(counts[j] for j in bins) / len(filled)
    p, q = [v / sum(p) for v in p], [v / sum(q) for v in q]
    if any(a > 0 and b == 0 for a, b in zip(p, q, strict=True)):
        return math.inf
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


@given(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(0, 20))
def test_the_divergence_is_its_definition(seed, levels, more):
    counts = np.random.default_rng(seed).integers(0, 5, levels + 20)
    counts[0] += 1
    kept = levels + more
    assert divergence(counts, kept, levels) == pytest.approx(kl(counts.tolist(), kept, levels), abs=1e-12)


def test_entropy_clips_outliers_and_pays_no_heed_to_zeros(tailed):
    low, high = entropy(seen(tailed))
    assert -low == high < 0.5 * np.abs(tailed).max()
    relu = np.maximum(tailed, 0.0)
    assert entropy(seen(relu)) == entropy(seen(np.concatenate([relu, np.zeros(500_000)])))
