"""Tables and JSON on standard output."""

import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

Rows = Sequence[Mapping[str, Any]]
GAP = "–"  # in place of a value that there isn't
NUMBER = re.compile(r"[+-]?[\d,]*\.?\d+%?")
UNBOUNDED = 10_000  # characters: wider than any table


def print_json(data: Any) -> None:
    """Print plain data as JSON."""
    print(json.dumps(data, indent=1, default=str))


def print_table(rows: Rows, title: str = "", spare: Sequence[str] = ()) -> None:
    """Print rows as a table; columns are the keys of the first row, numbers are aligned right.

    A table is as wide as the terminal at most; without a terminal it is as wide as it needs to be.

    Args:
        rows: one mapping a line.
        title: printed above.
        spare: columns to leave out, in this order, where the terminal is too narrow for all.
    """
    from rich.console import Console

    console = Console()
    width = console.width if console.is_terminal else UNBOUNDED
    colored = console.is_terminal and not console.no_color  # of which NO_COLOR decides
    print(table_text(rows, title, spare, width, colored), end="")
    sys.stdout.flush()


def table_text(rows: Rows, title: str, spare: Sequence[str], width: int, color: bool = False) -> str:
    """The table of `print_table`, for a width in characters."""
    if not rows:
        return f"{title}: none\n" if title else "none\n"
    columns, left_out = list(rows[0]), []
    for column in spare:
        if _natural_width(rows, columns, title) <= width:
            break
        columns.remove(column)
        left_out.append(column)
    text = _rendered(_table(rows, columns, title), min(width, _natural_width(rows, columns, title)), color)
    if left_out:
        text += f"too narrow for: {', '.join(left_out)} (see --json)\n"
    return text


def _table(rows: Rows, columns: Sequence[str], title: str) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    cells = {column: [_text(row[column]) for row in rows] for column in columns}
    numeric = {column: _are_numbers([row[column] for row in rows]) for column in columns}
    texts = [column for column in columns if not numeric[column]]
    widest = max(texts, key=lambda column: max(map(len, cells[column])), default=None)
    table = Table(title=Text(title) if title else None, title_justify="left", box=box.SIMPLE_HEAD)
    for column in columns:
        # one column takes what is left of the line and may fold; all others stay whole
        table.add_column(
            Text(column),
            justify="right" if numeric[column] else "left",
            no_wrap=column != widest,
            overflow="fold",
            min_width=None if column == widest else max(len(column), *map(len, cells[column])),
        )
    for i in range(len(rows)):
        table.add_row(*(Text(cells[column][i]) for column in columns))
    return table


def _natural_width(rows: Rows, columns: Sequence[str], title: str) -> int:
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(width=UNBOUNDED)
    return max(Measurement.get(console, console.options, _table(rows, columns, title)).maximum, len(title))


def _rendered(table: "Table", width: int, color: bool) -> str:
    from rich.console import Console

    console = Console(width=width, force_terminal=color, no_color=not color)
    with console.capture() as captured:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def _are_numbers(values: Sequence[Any]) -> bool:
    """Whether a column has numbers alone, and gaps."""
    given = [value for value in values if value not in (None, "", GAP)]
    return bool(given) and all(_is_number(value) for value in given)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) or (isinstance(value, str) and NUMBER.fullmatch(value) is not None)


def _text(value: Any) -> str:
    if value is None:
        return GAP
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)
