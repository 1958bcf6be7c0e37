"""Descriptions of resolved spaces: a table for people, plain data for programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Description:
    """What a resolved space is. `str` gives it as text, `to_json` as plain data.

    Attributes:
        model: name of the model.
        rows: the table, a row for each tensor: layer, tensor, shape, elements, menu; sites left in float say so.
        sites: number of quantized sites.
        choices: number of choices with more than one possibility.
        size: number of configs.
        limits: limits between widths, in words.
        notes: what a user should know of this space before searching it.
        fingerprint: of the resolved space.
    """

    model: str
    rows: Sequence[dict[str, str | int]]
    sites: int
    choices: int
    size: int
    limits: Sequence[str]
    notes: Sequence[str]
    fingerprint: str

    @property
    def summary(self) -> str:
        """Numbers of sites, choices and configs."""
        return f"{self.sites} sites, {self.choices} choices, {self.size:,} configs"

    def to_json(self) -> dict[str, Any]:
        """Plain data; `size` is a decimal string, since it may exceed what JSON readers take for a number."""
        lists = {name: list(getattr(self, name)) for name in ("rows", "limits", "notes")}
        return {**vars(self), **lists, "size": str(self.size)}

    def __str__(self) -> str:
        rows = [{key: str(value) for key, value in row.items()} for row in self.rows]
        widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in rows[0]} if rows else {}
        head = "  ".join(key.ljust(width) for key, width in widths.items()).rstrip()
        lines = ["  ".join(row[key].ljust(width) for key, width in widths.items()).rstrip() for row in rows]
        return "\n".join([head, *lines, *self.limits, self.summary, *self.notes])
