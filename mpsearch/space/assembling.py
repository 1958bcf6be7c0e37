"""From groups of sites with menus, and limits between sites, to a resolved space."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mpsearch.errors import SpaceError
from mpsearch.facts import ModelFacts
from mpsearch.menu import Menu
from mpsearch.space.choices import Choice, Comparison, Limit
from mpsearch.space.diagram import Diagram
from mpsearch.space.resolved import ResolvedSpace


def assemble(
    facts: ModelFacts, groups: Iterable[tuple[Sequence[str], Menu]], floats: Sequence[str], limits: Iterable[Limit] = ()
) -> ResolvedSpace:
    """The resolved space of these choices and limits; widths that no config can have are taken off the menus.

    Args:
        facts: of the model.
        groups: sites that share a spec, in network order, with their menu.
        floats: sites that stay in float.
        limits: between sites, all of them in groups.

    Raises:
        SpaceError: no config keeps all limits.
    """
    order = {site.name: i for i, site in enumerate(facts.sites)}
    choices = [Choice(sites[0], tuple(sites), menu) for sites, menu in groups]
    choices.sort(key=lambda choice: order[choice.name])
    between = _between_choices(choices, limits)
    if not between:
        return ResolvedSpace(facts, tuple(choices), tuple(floats))
    possible = _diagram(choices, between).possible()
    if not all(possible):
        raise SpaceError(_contradiction(choices, between))
    kept, remarks = [], []
    for choice, positions in zip(choices, possible, strict=True):
        widths = tuple(dict.fromkeys(choice.specs[p].bits for p in positions))
        kept.append(replace(choice, menu=replace(choice.menu, widths=widths)))
        if widths != choice.menu.widths:
            left, before = ("/".join(map(str, some)) for some in (widths, choice.menu.widths))
            remarks.append(f"the limits leave `{choice.name}` {left} of {before} bits")
    return ResolvedSpace(facts, tuple(kept), tuple(floats), tuple(between), tuple(remarks))


def _between_choices(choices: Sequence[Choice], limits: Iterable[Limit]) -> list[Limit]:
    """Limits between sites as limits between the choices that hold them, each once."""
    choice_of = {site: choice.name for choice in choices for site in choice.sites}
    found: dict[tuple[str, Comparison, str], Limit] = {}
    for limit in limits:
        left, right = choice_of[limit.left], choice_of[limit.right]
        if left != right:
            if limit.comparison is Comparison.EQUAL:
                left, right = sorted((left, right), key=list(choice_of).index)
            found.setdefault((left, limit.comparison, right), replace(limit, left=left, right=right))
        elif limit.comparison is Comparison.BELOW:
            raise SpaceError(
                f"{limit.statement} wants `{limit.left}` below `{limit.right}`, but they are tied to one width"
            )
    return list(found.values())


def _diagram(choices: Sequence[Choice], limits: Sequence[Limit]) -> Diagram:
    number = {choice.name: i for i, choice in enumerate(choices)}
    numbered = [(number[limit.left], limit.comparison, number[limit.right]) for limit in limits]
    return Diagram([[spec.bits for spec in choice.specs] for choice in choices], numbered)


def _contradiction(choices: Sequence[Choice], limits: Sequence[Limit]) -> str:
    """Which limit is the first that no config keeps together with those before it."""
    count = next(n for n in range(1, len(limits) + 1) if not _diagram(choices, limits[:n]).size)
    last = limits[count - 1]
    possible = _diagram(choices, limits[: count - 1]).possible()
    left_over = {
        choice.name: "/".join(dict.fromkeys(str(choice.specs[p].bits) for p in positions))
        for choice, positions in zip(choices, possible, strict=True)
    }
    return (
        f"{last.statement} leaves no config: it wants `{last.left}` {last.comparison} `{last.right}` in bits, but "
        f"menus, pins, ties and other limits leave {left_over[last.left]} and {left_over[last.right]}"
    )
