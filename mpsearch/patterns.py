"""Patterns: how the sites of a model are named in a space file."""

import difflib
import fnmatch
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpsearch.config import Role
from mpsearch.errors import SpaceError
from mpsearch.facts import LayerFacts, ModelFacts, SiteFacts

Pattern = str | re.Pattern[str] | type[Any]
"""A layer's name or a glob (`block_*_expand`), the name of a layer class (`Conv2D`), a regular expression
(`re.compile(...)`) for a layer's whole name, or a layer class itself, of which only the name counts."""

Where = Callable[[SiteFacts], bool]
"""A predicate on site facts, for instance `lambda site: site.elements > 10_000`."""


@dataclass(frozen=True)
class Selector:
    """Which sites are meant: those of layers that match a pattern, of these only those with `where(site)`."""

    pattern: Pattern
    where: Where | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, (str, re.Pattern, type)) or self.pattern == "":
            raise SpaceError(
                "a pattern must be a layer's name, a glob, a regular expression by re.compile, or a layer class, but "
                f"got {self.pattern!r}"
            )
        if self.where is not None and not callable(self.where):
            raise SpaceError(f"`where` must be a function of site facts, but got {self.where!r}")

    def __str__(self) -> str:
        if isinstance(self.pattern, type):
            return self.pattern.__name__
        return f'"{self.pattern}"' if isinstance(self.pattern, str) else str(self.pattern)

    def call(self, verb: str, *options: str) -> str:
        """A statement with this selector as an error names it, for instance `at("conv_*", kernel=…)`."""
        return f"{verb}({', '.join([str(self), *options, *(['where=…'] if self.where else [])])})"

    def matches(self, site: SiteFacts) -> bool:
        """Whether a site is meant."""
        return self.matches_pattern(site) and self._holds(site)

    def matches_pattern(self, site: SiteFacts) -> bool:
        """Whether a site is of a layer that matches the pattern, whatever `where` says of it."""
        return any(self._matches(name, site.layer_class) for name in (site.layer, part_of(site)))

    def matches_layer(self, layer: LayerFacts) -> bool:
        """Whether a layer, with sites or without, matches the pattern."""
        return self._matches(layer.name, layer.layer_class)

    def names(self, site: SiteFacts) -> bool:
        """Whether the pattern is the very name of the site's layer: neither a glob nor a class."""
        return isinstance(self.pattern, str) and self.pattern in (site.layer, part_of(site))

    def _holds(self, site: SiteFacts) -> bool:
        if self.where is None:
            return True
        try:
            answer = self.where(site)
        except Exception as error:
            raise SpaceError(f"`where` failed at `{site.name}`: {type(error).__name__}: {error}") from error
        if not isinstance(answer, (bool, np.bool_)):
            raise SpaceError(f"`where` must return True or False, but at `{site.name}` it returned {answer!r}")
        return bool(answer)

    def _matches(self, name: str, layer_class: str) -> bool:
        if isinstance(self.pattern, re.Pattern):
            return self.pattern.fullmatch(name) is not None
        if isinstance(self.pattern, type):
            return layer_class == self.pattern.__name__
        return layer_class == self.pattern or fnmatch.fnmatchcase(name, self.pattern)


def part_of(site: SiteFacts) -> str:
    """The part of a site's name before the slash: its layer, or the part or application of a layer that it is of."""
    return site.name.partition("/")[0]


def select(
    statement: str, selector: Selector, facts: ModelFacts, roles: Collection[Role], without_sites: bool = False
) -> list[str]:
    """Names of the sites of `roles` that a selector means, in network order.

    Args:
        statement: where the selector stands, for errors.
        selector: which sites.
        facts: of the model.
        roles: which tensors of the layers.
        without_sites: whether a layer without sites, such as a softmax, may match all the same.

    Raises:
        SpaceError: no site is meant.
    """
    matching = [site for site in facts.sites if selector.matches_pattern(site)]
    of_roles = [site for site in matching if site.role in roles]
    found = [site.name for site in of_roles if selector.matches(site)]
    if found:
        return found
    if of_roles:
        raise SpaceError(
            f"{statement} matches {_some(site.name for site in of_roles)}, but `where` holds for none of them"
        )
    layers = [layer for layer in facts.layers if selector.matches_layer(layer)]
    if not layers and not matching:
        known = [*(layer.name for layer in facts.layers), *map(part_of, facts.sites)]
        known += [layer.layer_class for layer in facts.layers]
        hint = did_you_mean([str(selector).strip('"')], list(dict.fromkeys(known)))
        raise SpaceError(f"{statement} matches no layer of `{facts.name}`; {hint}")
    part = next((layer for layer in layers if layer.part_of is not None), None)
    if part is not None:
        raise SpaceError(
            f"{statement} matches `{part.name}`, which has no site of its own: it is part of `{part.part_of}`, so name "
            "that"
        )
    if not without_sites:
        kinds = _some(f"{layer.name} ({layer.layer_class})" for layer in layers) or _some(map(part_of, matching))
        wanted = " or ".join(role.value for role in roles)
        raise SpaceError(f"{statement} matches {kinds}, but none has a quantizable {wanted}")
    return []


def did_you_mean(wrong: Iterable[str], known: Sequence[str]) -> str:
    """A hint for names that don't exist: those close to them, or else those that there are."""
    close = [match for name in wrong for match in difflib.get_close_matches(name, known, n=3, cutoff=0.5)]
    if close:
        return f"did you mean {', '.join(f'`{name}`' for name in close)}?"
    return f"there are {', '.join(known[:12])}{', …' if len(known) > 12 else ''}"


def _some(names: Iterable[str]) -> str:
    unique = sorted(set(names))
    return ", ".join(unique[:4]) + (", …" if len(unique) > 4 else "")
