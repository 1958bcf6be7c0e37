"""What quantization does to one tensor: zeros, noise, clipping, codes."""

from dataclasses import dataclass

import numpy as np

BINS = 63
"""Of a histogram, at most."""


@dataclass(frozen=True)
class TensorFigures:
    """A tensor and its codes.

    Attributes:
        zeros: share of codes that are zero.
        clipped: share of values further than half a step beyond the last codes.
        snr_db: 10 · log10(Σ x² / Σ (x - q)²), decibels; None where the two are equal, or all values zero.
        dead: share of channels, with a scale each, of which all codes are zero though not all values are.
        histogram: counts of codes, in bins of equally many codes from the least to the largest; of signed codes one has
            zero in its middle. The outermost may have room for codes that there aren't.
        low, high: these codes.
    """

    zeros: float
    clipped: float
    snr_db: float | None
    dead: float
    histogram: tuple[int, ...]
    low: int
    high: int


def tensor_figures(values: np.ndarray, codes: np.ndarray, scale: np.ndarray, low: int, high: int) -> TensorFigures:
    """The figures of a tensor.

    Args:
        values: before quantization, any shape.
        codes: less their zero-point, integers of the same shape.
        scale: broadcasts to that shape.
        low, high: least and largest code.
    """
    x = np.asarray(values, np.float64)
    step = np.asarray(scale, np.float64)
    beyond = (x > (high + 0.5) * step) | (x < (low - 0.5) * step)
    own = [axis for axis, size in enumerate(np.shape(step)) if size > 1]
    shared = tuple(axis for axis in range(x.ndim) if axis not in own)
    empty = ~np.any(codes, axis=shared) & np.any(x, axis=shared)
    return TensorFigures(
        float(np.mean(codes == 0)),
        float(np.mean(beyond)),
        snr_db(x, codes * step),
        float(np.mean(empty)),
        _histogram(codes, low, high),
        low,
        high,
    )


def snr_db(values: np.ndarray, quantized: np.ndarray) -> float | None:
    """10 · log10(Σ x² / Σ (x - q)²), decibels; None where the two are equal, or all values zero."""
    x = np.asarray(values, np.float64)
    signal, noise = float(np.sum(x**2)), float(np.sum((x - quantized) ** 2))
    return None if signal == 0.0 or noise == 0.0 else 10.0 * float(np.log10(signal / noise))


def _histogram(codes: np.ndarray, low: int, high: int) -> tuple[int, ...]:
    width = -(-(high - low + 1) // BINS)
    if low >= 0:
        places = (np.ravel(codes) - low) // width
        count = (high - low) // width + 1
    else:
        width |= 1
        sides = (max(-low, high) + width // 2) // width
        places = (np.ravel(codes) + width // 2) // width + sides
        count = 2 * sides + 1
    return tuple(int(n) for n in np.bincount(places.astype(np.int64), minlength=count))
