"""Menus: what `bits` makes, and what it refuses."""

import pytest

from mpsearch.errors import ConfigError
from mpsearch.menu import bits


def test_a_menu_sorts_widths_and_prints_briefly():
    assert str(bits(16, 4, 8)) == "4/8/16 auto"
    assert str(bits(4, 8, alpha=["auto", "auto_po2"])) == "4/8 auto|auto_po2"
    assert str(bits(4, 8, integer=3, signed=False)) == "4/8 fixed.3 unsigned"
    assert str(bits(8, affine=True, range="batch")) == "8 auto affine range=batch"


def test_a_menu_lists_every_width_with_every_scale_mode():
    assert [str(spec) for spec in bits(4, 8, alpha=["auto_po2", "auto"]).specs] == [
        "4 auto_po2",
        "4 auto",
        "8 auto_po2",
        "8 auto",
    ]


@pytest.mark.parametrize(
    ("widths", "options", "message"),
    [
        ((), {}, "`bits` needs at least one width"),
        ((4, 8, 4), {}, r"each width may be given once, but got \(4, 8, 4\)"),
        ((1, 4), {}, "integer from 2 to 32 bits, but got 1"),
        ((8, 33), {}, "integer from 2 to 32 bits, but got 33"),
        ((8.0,), {}, "integer from 2 to 32 bits, but got 8.0"),
        ((8,), {"alpha": "aut"}, "scale mode must be one of .* but got 'aut'"),
        ((8,), {"alpha": []}, r"one or more different scale modes, but got \[\]"),
        ((8,), {"alpha": ["auto", "auto"]}, "one or more different scale modes"),
        ((8,), {"alpha": "auto", "integer": 2}, "excludes `alpha`, but got integer=2, alpha='auto'"),
        ((8,), {"alpha": "fixed"}, '`integer` and alpha="fixed" go together'),
        ((8,), {"integer": 2, "affine": True}, "affine codes need"),
        ((8,), {"integer": 3, "range": "batch"}, 'know no range, but got integer=3, range="batch": leave one out'),
        ((8,), {"range": "epoch"}, "range rule must be one of .* but got 'epoch'"),
    ],
)
def test_menus_that_cannot_be_are_refused(widths, options, message):
    with pytest.raises(ConfigError, match=message):
        bits(*widths, **options)
