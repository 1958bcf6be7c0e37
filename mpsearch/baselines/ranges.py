"""Ranges of feature maps for post-training quantization: how much of the values that were seen is clipped.

All of them are for affine codes 0 … L with a zero-point, value = (code - zero) · scale, so that each contains zero.
"""

from collections.abc import Callable
from enum import StrEnum

import numpy as np

from mpsearch.network.calibration import Observed

LEVELS = 2**8
"""Codes that ranges are chosen for."""
PERCENTILE = 99.99
_BINS = 2048
_SHRINKINGS = 100
_STEP = 8  # bins between two thresholds that `entropy` compares


class RangeMethod(StrEnum):
    """How a range is chosen.

    MIN_MAX: all values that were seen.
    PERCENTILE: all but 0.01 % at each end.
    MSE: the least squared error of the quantized values.
    ENTROPY: the least divergence of the quantized values' distribution from that of the values.
    """

    MIN_MAX = "min-max"
    PERCENTILE = "percentile"
    MSE = "MSE"
    ENTROPY = "entropy"


def range_of(method: RangeMethod, seen: Observed) -> tuple[float, float]:
    """The range of a feature map, (low, high) with low ≤ 0 ≤ high."""
    low, high = _CHOOSE[method](seen)
    return min(low, 0.0), max(high, 0.0)


def min_max(seen: Observed) -> tuple[float, float]:
    """From the smallest to the largest value."""
    return seen.low, seen.high


def percentile(seen: Observed) -> tuple[float, float]:
    """Without the outermost 0.01 % of the values at each end.

    The source takes the percentile of magnitudes, for symmetric codes.

    Source: H. Wu et al., *Integer Quantization for Deep Learning Inference: Principles and Empirical Evaluation*,
    arXiv:2004.09602, section 3.2.
    """
    low, high = np.percentile(seen.values, (100.0 - PERCENTILE, PERCENTILE))
    return float(low), float(high)


def least_squares(seen: Observed) -> tuple[float, float]:
    """[f · min, f · max] for that of 100 fractions f with the least squared error; of equal ones the widest.

    Source: M. Nagel et al., *A White Paper on Neural Network Quantization*, arXiv:2106.08295, section 3.1.
    """
    values, counts = _histogram(seen.values)
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    best, least = (low, high), np.inf
    for fraction in np.linspace(1.0, 1.0 / _SHRINKINGS, _SHRINKINGS):
        error = float(counts @ np.square(quantized(values, fraction * low, fraction * high) - values))
        if error < least:
            best, least = (fraction * low, fraction * high), error
    return best


def entropy(seen: Observed) -> tuple[float, float]:
    """Values up to the threshold T of magnitude whose quantized distribution diverges least from the real one.

    Zeros are left out: they are exact under each threshold. The histogram of the other magnitudes up to T, with all
    beyond T in its last bin, is P; merged into as many bins as there are codes on one side of zero, and spread out
    again over the bins that aren't empty, Q; T is that with the least KL(P‖Q).

    Source: S. Migacz, *8-bit Inference with TensorRT*, GPU Technology Conference, 2017.
    """
    magnitudes = np.abs(seen.values[seen.values != 0.0])
    largest = float(magnitudes.max(initial=0.0))
    if largest == 0.0:
        return 0.0, 0.0
    levels = LEVELS if seen.low >= 0.0 else LEVELS // 2
    counts, _ = np.histogram(magnitudes, _BINS, (0.0, largest))
    candidates = np.arange(levels, _BINS + 1, _STEP)
    divergences = [divergence(counts, int(kept), levels) for kept in candidates]
    threshold = float(candidates[int(np.argmin(divergences))]) * largest / _BINS
    return max(seen.low, -threshold), min(seen.high, threshold)


def divergence(counts: np.ndarray, kept: int, levels: int) -> float:
    """KL(P‖Q) of `entropy` for a threshold at the end of bin `kept`.

    Args:
        counts: of magnitudes, (bins,).
        kept: bins below the threshold, at least `levels`.
        levels: codes.
    """
    inside = counts[:kept].astype(np.float64)
    real = inside.copy()
    real[-1] += counts[kept:].sum()
    code = np.arange(kept) * levels // kept
    filled = inside > 0
    total = np.bincount(code, inside, levels)
    share = np.bincount(code, filled, levels)
    spread = np.where(filled, (total / np.maximum(share, 1.0))[code], 0.0)
    if not filled.any():
        return float("inf")
    p, q = real / real.sum(), spread / spread.sum()
    seen = p > 0
    if (q[seen] == 0).any():  # all values of the last bin lie beyond the threshold
        return float("inf")
    return float(np.sum(p[seen] * np.log(p[seen] / q[seen])))


def quantized(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """`values` on the affine grid of 8 bits over [low, high], low ≤ 0 ≤ high; float64, the same shape."""
    scale = (high - low) / (LEVELS - 1) or 1.0
    zero = np.round(-low / scale)
    codes = np.clip(np.round(values / scale) + zero, 0, LEVELS - 1)
    return np.asarray((codes - zero) * scale)


def _histogram(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means and counts of the bins that hold values, each of shape (bins,)."""
    wide = values.astype(np.float64)
    counts, edges = np.histogram(wide, 2 * _BINS)
    sums, _ = np.histogram(wide, edges, weights=wide)
    filled = counts > 0
    return sums[filled] / counts[filled], counts[filled].astype(np.float64)


_CHOOSE: dict[RangeMethod, Callable[[Observed], tuple[float, float]]] = {
    RangeMethod.MIN_MAX: min_max,
    RangeMethod.PERCENTILE: percentile,
    RangeMethod.MSE: least_squares,
    RangeMethod.ENTROPY: entropy,
}
