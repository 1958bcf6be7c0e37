"""From statements and a model's facts to a resolved space: menus, ends, skips, caps, pins, ties, limits, in this order.

Menus are given in the order of the statements, so that the last one wins; the others hold whatever their order is.
Each contradiction is an error that names the statements and the site.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from mpsearch.config import MAX_BITS, Alpha, RangeRule, Role
from mpsearch.errors import ConfigError, SpaceError
from mpsearch.facts import ModelFacts, SiteFacts
from mpsearch.menu import Menu, bits
from mpsearch.patterns import select
from mpsearch.space.assembling import assemble
from mpsearch.space.choices import Comparison, Limit
from mpsearch.space.ends import end_layers
from mpsearch.space.resolved import ResolvedSpace
from mpsearch.space.statements import (
    INPUT,
    At,
    Cap,
    Dependence,
    Pin,
    ProtectEnds,
    SearchAlpha,
    Skip,
    Statement,
    Tie,
)

T = TypeVar("T", bound=Statement)
Menus = dict[str, Menu | None]


def resolve(facts: ModelFacts, roles: Mapping[Role, Menu | None], statements: Sequence[Statement]) -> ResolvedSpace:
    """The exact space for a model.

    Args:
        facts: of the model.
        roles: the menu of each role; None leaves it in float.
        statements: in the order in which they were made.

    Raises:
        SpaceError: a pattern that matches nothing, a pin outside the menu, contradicting statements.
    """
    menus: Menus = {site.name: roles[site.role] for site in facts.sites}
    _give_menus(facts, menus, statements)
    _protect_ends(facts, menus, statements)
    skipped = _skip(facts, menus, statements)
    capped = _cap(facts, menus, statements, skipped)
    for site in facts.sites:
        _check_menu(site, menus[site.name])
    _pin(facts, menus, statements, skipped, capped)
    _check_aligned(facts, menus)
    quantized = [site.name for site in facts.sites if menus[site.name] is not None]
    if not quantized:
        raise SpaceError(f"the space leaves every site of `{facts.name}` in float; give at least one role a menu")
    groups = _tied_groups(facts, menus, statements)
    shared = [group for site in quantized if (group := groups.get(site, [site]))[0] == site]
    limits = [*_across_roles(facts, menus, statements), *_dependences(facts, menus, statements)]
    floats = [site.name for site in facts.sites if menus[site.name] is None]
    return assemble(facts, [(group, _shared_menu(group, menus)) for group in shared], floats, limits)


def _of(kind: type[T], statements: Sequence[Statement]) -> Iterator[T]:
    return (statement for statement in statements if isinstance(statement, kind))


def _give_menus(facts: ModelFacts, menus: Menus, statements: Sequence[Statement]) -> None:
    for statement in statements:
        if not isinstance(statement, (At, SearchAlpha)):
            continue
        for site in select(statement.text, statement.selector, facts, (statement.role,)):
            base = menus[site]
            if isinstance(statement, At):
                menus[site] = _inherit(statement.text, site, statement.menu, base)
            elif base is None:
                raise SpaceError(
                    f"{statement.text} reaches `{site}`, which has no menu; give the role `{statement.role}` one"
                )
            elif base.integer is not None:
                raise SpaceError(
                    f"{statement.text} reaches `{site}`, whose menu {base} fixes its scale by its integer bits: "
                    "give one of the two up, or name a narrower pattern"
                )
            else:
                menus[site] = _inherit(statement.text, site, replace(base, alphas=statement.alphas), None)


def _protect_ends(facts: ModelFacts, menus: Menus, statements: Sequence[Statement]) -> None:
    protected_by: dict[str, ProtectEnds] = {}
    for protect in _of(ProtectEnds, statements):
        ends = end_layers(facts)
        for role in protect.roles or (Role.KERNEL, Role.ACTIVATION):
            sites = [s.name for s in facts.of(role) if s.layer in ends]
            protected = [site for site in sites if menus[site] is not None]
            if not protected and (protect.roles is not None or role is Role.KERNEL):
                raise SpaceError(
                    f"{protect.text}: the first and last layers ({', '.join(ends) or 'none has a kernel'}) have no "
                    f"quantized {role}; give the role `{role}` a menu"
                )
            for site in protected:
                earlier = protected_by.setdefault(site, protect)
                if earlier.width != protect.width:
                    raise SpaceError(f"{earlier.text} and {protect.text} contradict each other at `{site}`: remove one")
                menus[site] = _inherit(protect.text, site, bits(protect.width), menus[site])
            for at in _of(At, statements):
                if at.role is role and at.menu.widths != (protect.width,):
                    named = [s for s in protected if at.selector.names(facts.by_name[s])]
                    both = [s for s in named if at.selector.matches(facts.by_name[s])]
                    if both:
                        raise SpaceError(
                            f"{at.text} and {protect.text} contradict each other at `{both[0]}`: remove one"
                        )


def _skip(facts: ModelFacts, menus: Menus, statements: Sequence[Statement]) -> dict[str, str]:
    """Leave what is skipped without a menu; site to the statement that skips it."""
    skipped: dict[str, str] = {}
    for skip in _of(Skip, statements):
        # a layer without sites, such as a softmax, stays float anyway: saying so is no mistake
        roles, without_sites = skip.roles or tuple(Role), skip.roles is None
        skipped.update(dict.fromkeys(select(skip.text, skip.selector, facts, roles, without_sites), skip.text))
    for at in _of(At, statements):
        both = [s for s in skipped if at.role is facts.by_name[s].role and at.selector.names(facts.by_name[s])]
        both = [s for s in both if at.selector.matches(facts.by_name[s])]
        if both:
            raise SpaceError(f"{at.text} and {skipped[both[0]]} contradict each other at `{both[0]}`: remove one")
    for protect in _of(ProtectEnds, statements):
        roles, ends = protect.roles or (Role.KERNEL,), end_layers(facts)
        both = [s for s in skipped if facts.by_name[s].layer in ends and facts.by_name[s].role in roles]
        if both and menus[both[0]] is not None:
            raise SpaceError(f"{protect.text} and {skipped[both[0]]} contradict each other at `{both[0]}`: remove one")
    menus.update(dict.fromkeys(skipped))
    return skipped


def _cap(
    facts: ModelFacts, menus: Menus, statements: Sequence[Statement], skipped: Mapping[str, str]
) -> dict[str, Cap]:
    """Take widths above caps off the menus; site to the least of its caps."""
    found: dict[str, Cap] = {}
    for cap in _of(Cap, statements):
        reached = select(cap.text, cap.selector, facts, (cap.role,))
        if all(site in skipped for site in reached):
            raise SpaceError(
                f"{cap.text} and {skipped[reached[0]]} contradict each other at `{reached[0]}`: remove one"
            )
        for site in reached:
            menu = menus[site]
            if site in skipped:
                continue
            if menu is None:
                raise SpaceError(f"{cap.text} reaches `{site}`, whose role `{cap.role}` has no menu; give it one")
            capped = menu.at_most(cap.width)
            if capped is None:
                raise SpaceError(
                    f"{cap.text} leaves `{site}` nothing: its menu is {menu}; raise the cap, or give it a narrower "
                    "width with at()"
                )
            menus[site] = capped
            found[site] = min(cap, found.get(site, cap), key=lambda cap: cap.width)
    return found


def _pin(
    facts: ModelFacts,
    menus: Menus,
    statements: Sequence[Statement],
    skipped: Mapping[str, str],
    capped: Mapping[str, Cap],
) -> None:
    pinned: dict[str, Pin] = {}
    for pin in _of(Pin, statements):
        for site in select(pin.text, pin.selector, facts, (pin.role,)):
            menu = menus[site]
            if site in skipped:
                raise SpaceError(f"{pin.text} and {skipped[site]} contradict each other at `{site}`: remove one")
            if menu is None:
                raise SpaceError(f"{pin.text} reaches `{site}`, whose role `{pin.role}` has no menu; give it one")
            if site in pinned and pinned[site].menu != pin.menu:
                raise SpaceError(f"{pin.text} and {pinned[site].text} contradict each other at `{site}`: remove one")
            own = _inherit(pin.text, site, pin.menu, menu)
            narrowed = own.intersect(menu)
            if narrowed is None:
                cap = capped.get(site)
                above = cap is not None and own.widths[0] > cap.width
                hint = f"raise {cap.text}" if cap is not None and above else "widen its menu with at()"
                raise SpaceError(f"{pin.text}: `{site}` may be one of {menu}, but is pinned to {own}; {hint}")
            menus[site] = narrowed
            pinned[site] = pin


def _tied_groups(facts: ModelFacts, menus: Menus, statements: Sequence[Statement]) -> dict[str, list[str]]:
    """Site to all sites tied to it, in network order; ties that overlap join."""
    groups: dict[str, set[str]] = {}
    for tie in _of(Tie, statements):
        by_role = _tied(tie, facts, menus)
        for together in by_role.values():
            for site in tuple(together):
                together |= groups.get(site, set())
            groups.update(dict.fromkeys(together, together))
        largest = max((len(together) for together in by_role.values()), default=0)
        if tie.across_roles and len(by_role) < 2:
            raise SpaceError(
                f"{tie.text} needs quantized sites of at least two roles to tie, but found "
                f"{' and '.join(by_role) or 'none'}"
            )
        if not tie.across_roles and largest < 2:
            raise SpaceError(f"{tie.text} needs at least two quantized sites of one role to tie, but found {largest}")
    order = {site.name: i for i, site in enumerate(facts.sites)}
    return {site: sorted(group, key=order.__getitem__) for site, group in groups.items()}


def _tied(tie: Tie, facts: ModelFacts, menus: Menus) -> dict[Role, set[str]]:
    """The quantized sites that a tie names, by role."""
    found: dict[Role, set[str]] = {}
    for selector in tie.selectors:
        for site in select(tie.text, selector, facts, tie.roles):
            if menus[site] is not None:
                found.setdefault(facts.by_name[site].role, set()).add(site)
    return found


def _across_roles(facts: ModelFacts, menus: Menus, statements: Sequence[Statement]) -> Iterator[Limit]:
    """Equal widths between roles, where ties ask for them; within a role the sites share one choice."""
    order = {site.name: i for i, site in enumerate(facts.sites)}
    for tie in _of(Tie, statements):
        if tie.across_roles:
            first, *others = (min(sites, key=order.__getitem__) for sites in _tied(tie, facts, menus).values())
            yield from (Limit(first, Comparison.EQUAL, other, tie.text) for other in others)


def _dependences(facts: ModelFacts, menus: Menus, statements: Sequence[Statement]) -> Iterator[Limit]:
    for dependence in _of(Dependence, statements):
        text, found = dependence.text, 0
        for site in select(text, dependence.selector, facts, (dependence.role,)):
            for other in _others(facts, facts.by_name[site], dependence.other):
                if menus[site] is not None and menus[other] is not None and other != site:
                    found += 1
                    left, right = (other, site) if dependence.turned else (site, other)
                    yield Limit(left, dependence.comparison, right, text)
        if not found:
            raise SpaceError(
                f"{text} compares nothing: no layer that it matches has both a quantized {dependence.role} and a "
                f"quantized {dependence.other}"
            )


def _others(facts: ModelFacts, site: SiteFacts, other: str) -> tuple[str, ...]:
    """What a site is compared with: the feature maps it reads, or its layer's sites of another role."""
    if other == INPUT:
        return site.producers
    return tuple(found.name for found in facts.of(Role(other)) if found.layer == site.layer)


def _shared_menu(group: Sequence[str], menus: Menus) -> Menu:
    shared = menus[group[0]]
    assert shared is not None
    for site in group[1:]:
        other = menus[site]
        common = None if other is None else shared.intersect(other)
        if common is None:
            raise SpaceError(
                f"`{site}` is tied to `{group[0]}`, but their menus have nothing in common: "
                f"{other} and {shared}; change a menu or a pin, or untie them"
            )
        shared = common
    return shared


def _inherit(statement: str, site: str, menu: Menu, base: Menu | None) -> Menu:
    try:
        return menu.inherit(base)
    except ConfigError as error:
        raise SpaceError(f"{statement} at `{site}`: {error}") from error


def _check_menu(site: SiteFacts, menu: Menu | None) -> None:
    """Refuse options that the site's role doesn't know."""
    if menu is None:
        return
    if site.role is Role.ACTIVATION and Alpha.QKERAS_PO2 in (menu.alphas or ()):
        raise SpaceError(f'`{site.name}`: "qkeras_po2" is for kernels and biases; use "auto" or "auto_po2"')
    if site.role is not Role.BIAS and Alpha.ALIGNED in (menu.alphas or ()):
        raise SpaceError(f'`{site.name}`: "aligned" is for biases; use "auto" or "auto_po2"')
    if site.role is Role.ACTIVATION:
        return
    for option, used in (("signed=False", menu.signed is False), ("affine", menu.affine), ("range", menu.range)):
        if used:
            raise SpaceError(f"`{site.name}`: `{option}` is for feature maps, but a {site.role} got it")


def _check_aligned(facts: ModelFacts, menus: Menus) -> None:
    """Refuse aligned biases where there is no unit of sums, or too fine a one for their width."""
    for site in facts.of(Role.BIAS):
        menu = menus[site.name]
        if menu is None or Alpha.ALIGNED not in (menu.alphas or ()):
            continue
        factors = facts.factors(site.name)
        if factors is None:
            why = "its layer has no one kernel that is multiplied with one quantized feature map"
        elif missing := [other for other in factors if menus[other] is None]:
            why = f"`{missing[0]}` stays float"
        elif getattr(menus[factors[1]], "range", None) is RangeRule.BATCH:
            why = f'`{factors[1]}` has another scale in each batch (range="batch")'
        else:
            widest = sum(max(found.widths) for other in factors if (found := menus[other]) is not None)
            if min(menu.widths) < min(widest, MAX_BITS):
                raise SpaceError(
                    f"`{site.name}` can be aligned with {min(menu.widths)} bits, but products of `{factors[0]}` and "
                    f"`{factors[1]}` have up to {widest}, in whose unit a bias may not fit: give it "
                    f'bits({MAX_BITS}, alpha="aligned")'
                )
            continue
        raise SpaceError(
            f'`{site.name}` can\'t be "aligned", in the unit of the sums that it is added to: {why}. Give it another '
            f'scale mode, as in .at("{site.layer}", bias=bits(16, 31, alpha="auto"))'
        )
