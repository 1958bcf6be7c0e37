"""Resolved spaces of one model, combined."""

from collections.abc import Iterable, Iterator, Sequence

from mpsearch.errors import SpaceError
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
    """A space of menus, ties and limits that has the configs of both; where one has the other, it is the larger one.

    Menus hold what either menu holds. A tie or limit of either stays where all configs of the other keep it too; a
    limit that some break is weakened as far as they need: `<` with `==` becomes `<=`, `<` with `>` nothing. The union
    can have configs that neither space has, for instance one site as in `a` and another as in `b`.

    Raises:
        SpaceError: the spaces quantize different sites, or with other options than width and scale mode.
    """
    _check(a, b)
    in_a, in_b = _Sites(a), _Sites(b)
    groups = {site: {site} for site in a.sites}
    for space, other in ((a, in_b), (b, in_a)):
        for choice in space.choices:
            for together in other.alike(choice.sites):
                joined = set(together).union(*(groups[site] for site in together))
                groups.update(dict.fromkeys(joined, joined))
    menus = []
    for sites in _in_order(a, groups.values()):
        of_a, of_b = a.menus[sites[0]], b.menus[sites[0]]
        menu = of_a.union(of_b)
        if menu is None:
            raise SpaceError(
                f"`{sites[0]}` is {of_a} in one space and {of_b} in the other: they can't be united, since options "
                "other than widths and scale modes differ"
            )
        menus.append((sites, menu))
    return assemble(a.facts, menus, a.floats, [*_weakened(a, in_b), *_weakened(b, in_a)])


class _Sites:
    """How the sites of a space compare with each other over all its configs."""

    def __init__(self, space: ResolvedSpace) -> None:
        self._choices = space.choices
        self._number = {site: number for number, choice in enumerate(space.choices) for site in choice.sites}
        self._limits: dict[int, list[tuple[int, Comparison, bool]]] = {}  # of a choice: the other, whether it is left
        for limit in space.limits:
            left, right = self._number[limit.left], self._number[limit.right]
            self._limits.setdefault(left, []).append((right, limit.comparison, False))
            self._limits.setdefault(right, []).append((left, limit.comparison, True))
        self._beside: dict[tuple[int, int], dict[int, tuple[int, ...]]] = {}

    def signs(self, left: str, right: str) -> set[int]:
        """How the widths of two sites compare in some config: -1 below, 0 equal, 1 above.

        Where there are configs of both other kinds, 0 may be given without one.
        """
        one, other = self._number[left], self._number[right]
        if one == other:
            return {0}
        widths = self._choices[other].menu.widths
        return {
            (width > beside) - (width < beside)
            for width in self._choices[one].menu.widths
            for beside in self._left_beside(one, width).get(other, widths)
        }

    def alike(self, sites: Sequence[str]) -> list[list[str]]:
        """The sites, grouped by whether all configs give them the same spec."""
        found: dict[int, list[str]] = {}
        for site in sites:
            number = self._number[site]
            found.setdefault(next((n for n in found if self._same(n, number)), number), []).append(site)
        return list(found.values())

    def _same(self, one: int, other: int) -> bool:
        first, second = self._choices[one], self._choices[other]
        one_mode = len({*first.specs, *second.specs}) == len(first.menu.widths)
        return one == other or (one_mode and self.signs(first.name, second.name) == {0})

    def _left_beside(self, number: int, width: int) -> dict[int, tuple[int, ...]]:
        """The widths left to other choices by one width of a choice; choices that keep all are left out.

        Each width has a partner in each limit. So the least widths of all choices keep all limits together, and so do
        the largest; one between them may occur in no config.
        """
        if (number, width) in self._beside:
            return self._beside[number, width]
        left: dict[int, tuple[int, ...]] = {number: (width,)}
        queue = [number]
        while queue:
            choice = queue.pop()
            for other, comparison, is_left in self._limits.get(choice, ()):
                before = left.get(other, self._choices[other].menu.widths)
                after = tuple(
                    w
                    for w in before
                    if any(comparison.holds(w, v) if is_left else comparison.holds(v, w) for v in left[choice])
                )
                if after != before:
                    left[other] = after
                    queue.append(other)
        return self._beside.setdefault((number, width), left)


_SIGNS = {Comparison.EQUAL: {0}, Comparison.BELOW: {-1}, Comparison.AT_MOST: {-1, 0}}


def _weakened(space: ResolvedSpace, other: _Sites) -> Iterator[Limit]:
    """The limits of a space, the strictest forms of them that the configs of another keep too."""
    for limit in _between_sites(space):
        signs = _SIGNS[limit.comparison] | other.signs(limit.left, limit.right)
        if signs <= _SIGNS[limit.comparison]:
            yield limit
        elif signs <= _SIGNS[Comparison.AT_MOST]:
            yield Limit(limit.left, Comparison.AT_MOST, limit.right, f"{limit.statement}, weakened by a union")


def _between_sites(space: ResolvedSpace) -> Iterator[Limit]:
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
