"""Statements of a space file, as plain values; what they mean is `resolving`'s."""

from dataclasses import dataclass

from mpsearch.config import Alpha, Role
from mpsearch.menu import Menu
from mpsearch.patterns import Selector
from mpsearch.space.choices import Comparison

INPUT = "input"
"""In a limit, in place of a role: the feature maps that a layer reads."""


@dataclass(frozen=True)
class At:
    """The sites of a role get a menu of their own."""

    text: str
    selector: Selector
    role: Role
    menu: Menu


@dataclass(frozen=True)
class SearchAlpha:
    """The scale mode is a choice as well."""

    text: str
    selector: Selector
    role: Role
    alphas: tuple[Alpha, ...]


@dataclass(frozen=True)
class Cap:
    """No width above `width` bits."""

    text: str
    selector: Selector
    role: Role
    width: int


@dataclass(frozen=True)
class Pin:
    """One width, of those on the menu."""

    text: str
    selector: Selector
    role: Role
    menu: Menu


@dataclass(frozen=True)
class Skip:
    """Stays in float; `roles` None: whatever the layers have, be it nothing."""

    text: str
    selector: Selector
    roles: tuple[Role, ...] | None


@dataclass(frozen=True)
class Tie:
    """All sites of a role share one choice; `across_roles`: those of all the roles share one width."""

    text: str
    selectors: tuple[Selector, ...]
    roles: tuple[Role, ...]
    across_roles: bool


@dataclass(frozen=True)
class Dependence:
    """In each layer the widths of `role` compare so with those of `other`; `turned`: those of `other` with `role`'s.

    `selector` says which sites of `role`; `other` is a role or `INPUT`.
    """

    text: str
    selector: Selector
    role: Role
    comparison: Comparison
    other: str
    turned: bool


@dataclass(frozen=True)
class ProtectEnds:
    """First and last layers with kernels get one width; `roles` None: kernels, and activations where quantized."""

    text: str
    width: int
    roles: tuple[Role, ...] | None


Statement = At | SearchAlpha | Cap | Pin | Skip | Tie | Dependence | ProtectEnds
