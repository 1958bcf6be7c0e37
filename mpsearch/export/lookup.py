"""Functions looked up in tables: for each code of the result, the smallest integer that gets it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mpsearch.errors import ExportError
from mpsearch.export.functions import Function
from mpsearch.export.program import Grid


def looked_up(total: np.ndarray, functions: Sequence[Function], grid: Grid, fraction: int, name: str) -> np.ndarray:
    """Codes of functions of totals.

    Args:
        total: integers in units of the grid's step times 2^-fraction.
        functions: applied one after another.
        grid: of the result.
        fraction: of the totals.
        name: of the operation, for errors.

    Raises:
        ExportError: the functions neither rise all along, nor fall first and then rise.
    """
    turns = [(place, function.turns) for place, function in enumerate(functions) if function.turns is not None]
    before = functions[: turns[0][0]] if turns else []
    if (
        len(turns) > 1
        or any(f.bounds is None for f in before)
        or not all(f.rises or f.turns is not None for f in functions)
    ):
        raise ExportError(
            f"`{name}` applies {', '.join(f.name for f in functions)}, which no table of thresholds can hold"
        )
    unit = grid.scale * 2.0**-fraction

    def code(totals: np.ndarray) -> np.ndarray:
        values = totals.astype(np.float64) * unit
        for function in functions:
            values = function(values)
        return np.clip(np.round(values / grid.scale), grid.low, grid.high).astype(np.int64)

    least, most = int(total.min()), int(total.max())
    if not turns:
        return _by_thresholds(total, code, least, most)
    turn = round(turns[0][1] / unit)
    rising = _by_thresholds(np.maximum(total, turn), code, min(max(least, turn), most), max(most, turn))
    falling = _by_thresholds(-np.minimum(total, turn), lambda t: code(-t), -min(most, turn), -min(least, turn))
    return np.where(total >= turn, rising, falling)


def _by_thresholds(total: np.ndarray, code: Any, least: int, most: int) -> np.ndarray:
    """`code` of totals between least and most, which rises."""
    table, first = thresholds(code, least, most)
    return first + np.searchsorted(table, total, side="right")


def thresholds(code: Any, least: int, most: int) -> tuple[np.ndarray, int]:
    """The smallest totals for which a rising function of totals, from least to most, gives each code but the first.

    Returns:
        Totals, int64, and the code of least.
    """
    first, last = int(code(np.array([least]))[0]), int(code(np.array([most]))[0])
    wanted = np.arange(first + 1, last + 1)
    low, high = np.full(len(wanted), least), np.full(len(wanted), most)  # code(low) < wanted <= code(high)
    while np.any(high - low > 1):
        middle = low + (high - low) // 2
        reached = code(middle) >= wanted
        low, high = np.where(reached, low, middle), np.where(reached, middle, high)
    return high, first
