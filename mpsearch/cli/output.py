"""Tables and JSON on standard output."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

Rows = Sequence[Mapping[str, Any]]


def print_json(data: Any) -> None:
    """Print plain data as JSON."""
    print(json.dumps(data, indent=1, default=str))


def print_table(rows: Rows, title: str = "") -> None:
    """Print rows as a table; columns are the keys of the first row, numbers are aligned right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=max(100, console.width))
    if not rows:
        console.print(f"{title}: none" if title else "none")
        return
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD)
    for key in rows[0]:
        numeric = any(isinstance(row[key], (int, float)) for row in rows)
        table.add_column(key, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for row in rows:
        table.add_row(*(_text(row[key]) for key in rows[0]))
    console.print(table)


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
