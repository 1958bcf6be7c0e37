"""Tests of exact powers of two and of the rounding rules."""

import numpy as np
import pytest

from mpsearch.quantizers.powers import ceil_log2, exp2
from mpsearch.quantizers.rounding import round_half_away, round_half_even


def test_exp2_is_exact_for_all_normal_exponents():
    exponents = np.arange(-126, 128)
    np.testing.assert_array_equal(exp2(exponents), np.ldexp(np.float32(1), exponents))


@pytest.mark.parametrize("side", [0, np.float32(np.inf), -np.float32(np.inf)], ids=["on", "above", "below"])
def test_ceil_log2_is_exact_on_and_beside_powers_of_two(side):
    exponents = np.arange(-125, 127)
    x = np.ldexp(np.float32(1), exponents)
    x = np.nextafter(x, side) if side else x
    np.testing.assert_array_equal(ceil_log2(x), exponents + (1 if side > 0 else 0))


def test_ties_go_away_from_zero_or_to_even():
    x = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 2.4, -2.6], np.float32)
    np.testing.assert_array_equal(round_half_away(x), [-3, -2, -1, 1, 2, 3, 2, -3])
    np.testing.assert_array_equal(round_half_even(x), [-2, -2, 0, 0, 2, 2, 2, -3])
