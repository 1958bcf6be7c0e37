"""Resolved spaces of one model, combined."""

from collections.abc import Iterable

from mpsearch.errors import SpaceError
from mpsearch.menu import Menu
from mpsearch.space.assembling import assemble
from mpsearch.space.choices import Comparison, Limit
from mpsearch.space.resolved import ResolvedSpace


def intersection(a: ResolvedSpace, b: ResolvedSpace) -> ResolvedSpace:
    """The space of exactly those configs that both spaces have: the ties and limits of both, what menus share.

    Raises:
        SpaceError: the spaces quantize different sites, or share no config.
    """
    _check(a, b)
    groups: dict[str, set[str]] = {}
    for space in (a, b):
        for choice in space.choices:
            together = set(choice.sites).union(*(groups.get(site, ()) for site in choice.sites))
            groups.update(dict.fromkeys(together, together))
    menus = []
    for sites in _in_order(a, groups.values()):
        menu = a.menus[sites[0]]
        for other in [space.menus[site] for site in sites for space in (a, b)]:
            common = menu.intersect(other)
            if common is None:
                raise SpaceError(f"the spaces share no config: `{sites[0]}` may be {menu} in one, {other} in the other")
            menu = common
        menus.append((sites, menu))
    return assemble(a.facts, menus, a.floats, [*a.limits, *b.limits])


def hull(a: ResolvedSpace, b: ResolvedSpace) -> ResolvedSpace:
    """The smallest space of menus, ties and limits that has the configs of both.

    Menus hold what either menu holds; ties and limits stay where both spaces have them. It can have configs that
    neither space has, for instance one site as in `a` and another as in `b`.

    Raises:
        SpaceError: the spaces quantize different sites, or with other options than width and scale mode.
    """
    _check(a, b)
    choice_in_b = {site: choice.name for choice in b.choices for site in choice.sites}
    menus: list[tuple[list[str], Menu]] = []
    for choice in a.choices:
        parts: dict[str, list[str]] = {}
        for site in choice.sites:
            parts.setdefault(choice_in_b[site], []).append(site)
        for name, sites in parts.items():
            menu = choice.menu.union(b.menus[name])
            if menu is None:
                raise SpaceError(
                    f"`{sites[0]}` is {choice.menu} in one space and {b.menus[name]} in the other: they can't be "
                    "united, since options other than widths and scale modes differ"
                )
            menus.append((sites, menu))
    of_b = {(limit.left, limit.comparison, limit.right) for limit in _between_sites(b)}
    return assemble(
        a.facts,
        menus,
        a.floats,
        [limit for limit in _between_sites(a) if (limit.left, limit.comparison, limit.right) in of_b],
    )


def _between_sites(space: ResolvedSpace) -> Iterable[Limit]:
    """The limits of a space between all the sites that they hold for."""
    sites = {choice.name: choice.sites for choice in space.choices}
    for limit in space.limits:
        for left in sites[limit.left]:
            for right in sites[limit.right]:
                yield Limit(left, limit.comparison, right, limit.statement)
                if limit.comparison is Comparison.EQUAL:
                    yield Limit(right, limit.comparison, left, limit.statement)


def _in_order(space: ResolvedSpace, groups: Iterable[set[str]]) -> list[list[str]]:
    """Each of the groups once, its sites in network order."""
    order = {site: i for i, site in enumerate(space.sites)}
    unique = {id(group): group for group in groups}.values()
    return [sorted(group, key=order.__getitem__) for group in unique]


def _check(a: ResolvedSpace, b: ResolvedSpace) -> None:
    if a.facts != b.facts:
        raise SpaceError(f"spaces of one model can be combined, but got `{a.facts.name}` and `{b.facts.name}`")
    different = sorted(set(a.sites) ^ set(b.sites))
    if different:
        raise SpaceError(
            f"the spaces quantize different sites, `{different[0]}` for instance only in one of them: give it a menu "
            "in both, or skip it in both"
        )
