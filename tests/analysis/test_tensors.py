"""Figures of tensors against counting by hand."""

import numpy as np
import pytest

from mpsearch.analysis.tensors import snr_db, tensor_figures


def test_figures_of_a_small_tensor():
    values = np.array([[0.0, 0.2], [0.5, 3.0], [-0.4, -9.0], [0.1, 0.0]])
    codes = np.array([[0, 0], [2, 3], [-2, -3], [0, 0]])
    found = tensor_figures(values, codes, np.array([[0.25, 1.0]]), -3, 3)
    assert found.zeros == 4 / 8
    assert found.clipped == 1 / 8  # 3.0 lies on the last code, -9 beyond it
    assert found.dead == 0.0
    assert found.histogram == (1, 1, 0, 4, 0, 1, 1)
    noise = 0.2**2 + 0.1**2 + 6.0**2 + 0.1**2
    np.testing.assert_allclose(found.snr_db, 10 * np.log10(np.sum(values**2) / noise))


def test_channels_of_zeros_are_dead_unless_their_values_are_zero():
    values = np.array([[0.1, 0.0, 1.0], [0.2, 0.0, -1.0]])
    found = tensor_figures(values, np.array([[0, 0, 1], [0, 0, -1]]), np.array([[1.0, 1.0, 1.0]]), -1, 1)
    assert found.dead == 1 / 3


@pytest.mark.parametrize(
    ("low", "high"), [(-63, 63), (-127, 127), (-32767, 32767), (0, 255), (0, 65535), (0, 15), (-1, 1)]
)
def test_bins_have_equally_many_codes(low, high):
    codes = np.arange(low, high + 1)
    counts = tensor_figures(codes, codes, np.array(1.0), low, high).histogram
    assert sum(counts) == len(codes)
    assert len(counts) <= 63
    inner = counts[1:-1] if low < 0 else counts[:-1]
    assert len(set(inner)) <= 1
    if low < 0:
        assert len(counts) % 2 == 1
        assert counts == counts[::-1]


def test_wide_codes_are_counted_in_bins():
    codes = np.random.default_rng(0).integers(-32767, 32768, 1000)
    found = tensor_figures(codes * 0.5, codes, np.array(0.5), -32767, 32767)
    assert len(found.histogram) == 63
    assert sum(found.histogram) == 1000
    assert found.snr_db is None


@pytest.mark.parametrize("bits", [4, 8, 12])
def test_each_bit_brings_six_decibels(bits):
    """A uniform signal on 2^b codes: 20 · log10(2) · b dB (A. Oppenheim, Discrete-Time Signal Processing, 4.8.3)."""
    x = np.random.default_rng(0).uniform(-1, 1, 100_000)
    step = 2.0 ** (1 - bits)
    np.testing.assert_allclose(snr_db(x, np.round(x / step) * step), 6.02 * bits, atol=0.1)
