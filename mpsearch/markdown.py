"""Tables as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any


def markdown_table(rows: Sequence[Mapping[str, Any]]) -> str:
    r"""Rows as a Markdown table, whose columns are those of any row; gaps stay empty.

    >>> print(markdown_table([{"a": "x|y", "b": 1_000}, {"a": None}]))
    | a | b |
    | --- | --- |
    | x\|y | 1,000 |
    |  |  |
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))

    def cell(value: Any) -> str:
        text = "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
        return text.replace("|", "\\|").replace("\n", " ")

    lines = [columns, ["---"] * len(columns), *([cell(row.get(column)) for column in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
