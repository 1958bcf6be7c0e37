"""Choices, the decisions of a search, and limits between the widths that two of them take."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mpsearch.config import QuantizerSpec
from mpsearch.menu import Menu


@dataclass(frozen=True)
class Choice:
    """One decision of the search: sites that share a spec, and the specs to choose from.

    Attributes:
        name: of the first of its sites.
        sites: in network order.
        menu: what they may take.
    """

    name: str
    sites: tuple[str, ...]
    menu: Menu

    @property
    def specs(self) -> tuple[QuantizerSpec, ...]:
        """The specs to choose from, widths ascending."""
        return self.menu.specs


class Comparison(StrEnum):
    """How the widths of two choices must compare."""

    AT_MOST = "<="
    BELOW = "<"
    EQUAL = "=="

    def holds(self, left: Any, right: Any) -> Any:
        """Whether `left` and `right` bits, integers or arrays of them, compare so."""
        if self is Comparison.AT_MOST:
            return left <= right
        return left < right if self is Comparison.BELOW else left == right


@dataclass(frozen=True)
class Limit:
    """A limit between the widths of two choices: `left` compares with `right`.

    Attributes:
        left, right: names of choices.
        comparison: what must hold.
        statement: that asked for it, for errors and tables.
    """

    left: str
    comparison: Comparison
    right: str
    statement: str = ""
