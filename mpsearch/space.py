"""The search space: which specs every site of a model may take. No Keras, no Optuna.

A `Space` is written by hand, before the model exists; `Space.resolve` applies it to a model's facts
and gives a `ResolvedSpace`: the exact set of configs, which can be counted, listed and sampled.
"""

import difflib
import fnmatch
import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import TypeVar

from mpsearch.config import (
    EXACT_BITS,
    Alpha,
    Config,
    QuantizerSpec,
    Role,
    parse_alpha,
)
from mpsearch.errors import ConfigError, SpaceError
from mpsearch.facts import ModelFacts, SiteFacts
from mpsearch.menu import Menu, bits

T = TypeVar("T")


@dataclass(frozen=True)
class Choice:
    """One decision of the search: sites that share a spec, and the specs to choose from."""

    name: str
    sites: tuple[str, ...]
    menu: Menu

    @property
    def specs(self) -> tuple[QuantizerSpec, ...]:
        """The specs to choose from, widths ascending."""
        return self.menu.specs


@dataclass(frozen=True)
class ResolvedSpace:
    """The exact set of configs that a space allows for one model.

    Attributes:
        facts: of the model.
        choices: all decisions, in network order, those with one possibility (pins) included.
        floats: sites that stay in float.
    """

    facts: ModelFacts
    choices: tuple[Choice, ...]
    floats: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Number of configs, exact however large."""
        return prod(len(choice.specs) for choice in self.choices)

    @cached_property
    def free(self) -> tuple[Choice, ...]:
        """Choices with more than one possibility."""
        return tuple(choice for choice in self.choices if len(choice.specs) > 1)

    @cached_property
    def sites(self) -> tuple[str, ...]:
        """Names of all quantized sites, in network order."""
        chosen = {site for choice in self.choices for site in choice.sites}
        return tuple(site.name for site in self.facts.sites if site.name in chosen)

    @cached_property
    def menus(self) -> dict[str, Menu]:
        """Quantized site to its menu."""
        return {site: choice.menu for choice in self.choices for site in choice.sites}

    def config(self, picks: Mapping[str, QuantizerSpec]) -> Config:
        """The config with `picks` (choice name to spec); choices with one possibility may be left out.

        Raises:
            ConfigError: a choice is missing or unknown, or its spec isn't on the menu.
        """
        unknown = set(picks) - {choice.name for choice in self.choices}
        if unknown:
            raise ConfigError(
                f"there is no choice named {sorted(unknown)}; {_did_you_mean(unknown, [c.name for c in self.choices])}"
            )
        specs = {}
        for choice in self.choices:
            spec = picks.get(choice.name, choice.specs[0] if len(choice.specs) == 1 else None)
            if spec is None:
                raise ConfigError(f"choice `{choice.name}` has no spec; it may be one of: {choice.menu}")
            if spec not in choice.specs:
                raise ConfigError(f"choice `{choice.name}` may be one of: {choice.menu}, but got {spec}")
            specs.update(dict.fromkeys(choice.sites, spec))
        return Config({site: specs[site] for site in self.sites})

    def picks(self, config: Config) -> dict[str, QuantizerSpec]:
        """The choices that make up `config`.

        Raises:
            ConfigError: the config isn't in this space.
        """
        if set(config) != set(self.sites):
            missing, extra = sorted(set(self.sites) - set(config)), sorted(set(config) - set(self.sites))
            raise ConfigError(f"the config's sites aren't the space's: missing {missing}, not in the space {extra}")
        picks = {choice.name: config[choice.sites[0]] for choice in self.choices}
        for choice in self.choices:
            for site in choice.sites:
                if config[site] not in choice.specs:
                    raise ConfigError(f"`{site}` may be one of: {choice.menu}, but the config has {config[site]}")
                if config[site] != picks[choice.name]:
                    raise ConfigError(
                        f"`{site}` is tied to `{choice.name}` ({picks[choice.name]}), but has {config[site]}"
                    )
        return picks

    def __contains__(self, config: Config) -> bool:
        try:
            self.picks(config)
        except ConfigError:
            return False
        return True

    def nth(self, index: int) -> Config:
        """Config number `index` of the iteration, without visiting those before it.

        Raises:
            IndexError: `index` is not between 0 and size - 1.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"the space has {self.size} configs, so there is no config number {index}")
        picks = {}
        for choice in reversed(self.choices):
            index, position = divmod(index, len(choice.specs))
            picks[choice.name] = choice.specs[position]
        return self.config(picks)

    def __iter__(self) -> Iterator[Config]:
        return (self.nth(index) for index in range(self.size))

    def sample(self, rng: random.Random) -> Config:
        """A config drawn uniformly."""
        return self.config({choice.name: rng.choice(choice.specs) for choice in self.choices})

    def uniform(self, width: int) -> Config:
        """The config nearest to `width` bits everywhere: on each menu the narrowest width that is not below it,
        or else the widest, with the menu's first scale mode.
        """
        picks = {}
        for choice in self.choices:
            wide = [w for w in choice.menu.widths if w >= width]
            chosen = wide[0] if wide else choice.menu.widths[-1]
            picks[choice.name] = next(spec for spec in choice.specs if spec.bits == chosen)
        return self.config(picks)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over choices, menus, floats and the sites' shapes, 16 hex digits."""
        data = {
            "choices": [[c.name, c.sites, [spec.to_json() for spec in c.specs]] for c in self.choices],
            "floats": self.floats,
            "sites": [[s.name, s.shape, s.negative] for s in self.facts.sites],
        }
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]

    def rows(self) -> list[dict[str, str | int]]:
        """The space as a table: layer, tensor, shape, elements, menu; sites left in float say so."""
        tied = {site: choice.name for choice in self.choices for site in choice.sites if choice.name != site}
        rows: list[dict[str, str | int]] = []
        for site in self.facts.sites:
            if site.name not in self.menus and site.name not in self.floats:
                continue
            menu = str(self.menus[site.name]) if site.name in self.menus else "float"
            rows.append(
                {
                    "layer": site.layer,
                    "tensor": site.name.partition("/")[2],
                    "shape": "×".join(str(n) for n in site.shape),
                    "elements": site.elements,
                    "menu": menu + (f" (tied to {tied[site.name]})" if site.name in tied else ""),
                }
            )
        return rows

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of this space before searching it."""
        wide = [site for site, menu in self.menus.items() if menu.widths[-1] > EXACT_BITS]
        if not wide:
            return ()
        text = (
            f"{len(wide)} sites have widths above {EXACT_BITS} bits: trained in float32, whose rounding "
            "(2^-24) bounds their precision"
        )
        return (text,)

    def __str__(self) -> str:
        rows = [{key: str(value) for key, value in row.items()} for row in self.rows()]
        widths = {key: max(len(key), *(len(row[key]) for row in rows)) for key in rows[0]} if rows else {}
        lines = ["  ".join(key.ljust(width) for key, width in widths.items())]
        lines += ["  ".join(row[key].ljust(width) for key, width in widths.items()).rstrip() for row in rows]
        lines[0] = lines[0].rstrip()
        return "\n".join(
            [*lines, f"{len(self.sites)} sites, {len(self.free)} choices, {self.size:,} configs", *self.notes]
        )


@dataclass
class Space:
    """What may be searched, written before the model exists.

    Args:
        kernel, bias, activation: menus of the roles; a role without a menu stays float.
        requantize_merge_inputs: give the inputs of additions that other layers read too quantizers of their
            own, so that all inputs and the output of an addition are quantized for it.
        batch_norm: what happens to a BatchNorm that can't be folded: "keep" it as a layer of its own, or "refuse"
            the model.

    Statements (`at`, `pin`, `tie`, `skip`, `search_alpha`) name layers by name, by glob (`block_*_expand`)
    or by class (`Conv2D`). They are checked when the space is resolved; nothing is ignored in silence.
    """

    kernel: Menu | None = None
    bias: Menu | None = None
    activation: Menu | None = None
    requantize_merge_inputs: bool = False
    batch_norm: str = "keep"
    _menus: list[tuple[str, str, Role, Menu | tuple[Alpha, ...]]] = field(default_factory=list, repr=False)
    _pins: list[tuple[str, str, Role, Menu]] = field(default_factory=list, repr=False)
    _ties: list[tuple[str, tuple[str, ...], tuple[Role, ...]]] = field(default_factory=list, repr=False)
    _skips: list[tuple[str, str, tuple[Role, ...] | None]] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        for role in Role:
            menu = getattr(self, role.value)
            if menu is not None and not isinstance(menu, Menu):
                raise SpaceError(f"`{role.value}` needs a menu such as bits(4, 8, 16), but got {menu!r}")
        if self.batch_norm not in ("keep", "refuse"):
            raise SpaceError(f'`batch_norm` must be "keep" or "refuse", but got {self.batch_norm!r}')

    def at(
        self, pattern: str, *, kernel: Menu | None = None, bias: Menu | None = None, activation: Menu | None = None
    ) -> "Space":
        """Give matching layers menus of their own; options left open are the role's."""
        for role, menu in _given(kernel, bias, activation, "at", pattern):
            if not isinstance(menu, Menu):
                raise SpaceError(f'at("{pattern}", {role.value}=…) needs a menu such as bits(8, 16), but got {menu!r}')
            self._menus.append((f'at("{pattern}", {role.value}=…)', pattern, role, menu))
        return self

    def pin(
        self,
        pattern: str,
        *,
        kernel: int | Menu | None = None,
        bias: int | Menu | None = None,
        activation: int | Menu | None = None,
    ) -> "Space":
        """Fix the width (an int) or the spec (`bits(8, alpha="auto")`) of matching layers; it must be on the menu."""
        for role, value in _given(kernel, bias, activation, "pin", pattern):
            menu = value if isinstance(value, Menu) else bits(value)  # type: ignore[arg-type]  # bits refuses others
            if len(menu.widths) != 1:
                raise SpaceError(
                    f'pin("{pattern}", {role.value}=…) needs one width, but got {menu}; to narrow a menu use at()'
                )
            self._pins.append((f'pin("{pattern}", {role.value}={menu.widths[0]})', pattern, role, menu))
        return self

    def tie(self, *patterns: str, roles: Iterable[str] = ("kernel", "bias", "activation")) -> "Space":
        """Let all matching layers share one choice for kernels, one for biases, one for activations."""
        parsed = tuple(_role(role) for role in roles)
        self._ties.append((f"tie({', '.join(repr(p) for p in patterns)})", patterns, parsed))
        return self

    def skip(self, pattern: str, roles: Iterable[str] | None = None) -> "Space":
        """Leave matching layers, or only these roles of theirs, in float."""
        parsed = None if roles is None else tuple(_role(role) for role in roles)
        self._skips.append((f'skip("{pattern}")', pattern, parsed))
        return self

    def search_alpha(self, role: str, *alphas: str, pattern: str = "*") -> "Space":
        """Make the scale mode a choice as well, for all or for matching layers."""
        if not alphas:
            raise SpaceError('search_alpha needs scale modes, as in search_alpha("kernel", "auto", "auto_po2")')
        parsed = tuple(parse_alpha(alpha) for alpha in alphas)
        if len(set(parsed)) != len(parsed):
            raise SpaceError(f"search_alpha needs different scale modes, but got {', '.join(alphas)}")
        if Alpha.FIXED in parsed:
            raise SpaceError('search_alpha can\'t search "fixed", which needs its integer bits: use bits(…, integer=…)')
        self._menus.append((f'search_alpha("{role}", …)', pattern, _role(role), parsed))
        return self

    def resolve(self, facts: ModelFacts) -> ResolvedSpace:
        """The exact space for a model.

        Raises:
            SpaceError: a pattern that matches nothing, a pin outside the menu, contradicting statements.
        """
        sites = list(facts.sites)
        menus = {s.name: getattr(self, s.role.value) for s in sites}
        self._apply_menus(facts, sites, menus)
        skipped = self._apply_skips(facts, sites)
        for site in skipped:
            menus[site] = None
        for site_facts in sites:
            _check_menu(site_facts, menus[site_facts.name])
        self._apply_pins(facts, sites, menus, skipped)
        groups = self._tied_groups(facts, sites, menus)
        choices = []
        for site_facts in sites:
            group = groups.get(site_facts.name, [site_facts.name])
            menu = menus[site_facts.name]
            if menu is not None and group[0] == site_facts.name:
                choices.append(Choice(site_facts.name, tuple(group), self._shared_menu(group, menus)))
        if not choices:
            raise SpaceError(f"the space leaves every site of `{facts.name}` in float; give at least one role a menu")
        floats = tuple(s.name for s in sites if menus[s.name] is None)
        return ResolvedSpace(facts, tuple(choices), floats)

    def _apply_menus(self, facts: ModelFacts, sites: list[SiteFacts], menus: dict[str, Menu | None]) -> None:
        for statement, pattern, role, change in self._menus:
            matching = _matching(statement, pattern, facts, sites, (role,))
            for site in matching:
                base = menus[site]
                if isinstance(change, Menu):
                    menus[site] = change.inherit(base)
                elif base is None:
                    raise SpaceError(f"{statement} reaches `{site}`, which has no menu; give the role `{role}` one")
                elif base.integer is not None:
                    raise SpaceError(
                        f"{statement} reaches `{site}`, whose menu {base} fixes its scale by its integer bits: "
                        "give one of the two up, or name a narrower pattern"
                    )
                else:
                    menus[site] = Menu(base.widths, change, None, base.signed, base.affine, base.range)

    def _apply_skips(self, facts: ModelFacts, sites: list[SiteFacts]) -> dict[str, str]:
        skipped: dict[str, str] = {}
        for statement, pattern, roles in self._skips:
            # a layer without sites, such as a softmax, stays float anyway: saying so is no mistake
            matching = _matching(statement, pattern, facts, sites, roles or tuple(Role), without_sites=roles is None)
            skipped.update(dict.fromkeys(matching, statement))
        for statement, pattern, role, change in self._menus:
            if isinstance(change, Menu) and any(layer.name == pattern for layer in facts.layers):
                both = [s for s in _matching(statement, pattern, facts, sites, (role,)) if s in skipped]
                if both:
                    raise SpaceError(
                        f"{statement} and {skipped[both[0]]} contradict each other at `{both[0]}`: remove one"
                    )
        return skipped

    def _apply_pins(
        self, facts: ModelFacts, sites: list[SiteFacts], menus: dict[str, Menu | None], skipped: dict[str, str]
    ) -> None:
        pinned: dict[str, tuple[str, Menu]] = {}
        for statement, pattern, role, pin in self._pins:
            for site in _matching(statement, pattern, facts, sites, (role,)):
                menu = menus[site]
                if site in skipped:
                    raise SpaceError(f"{statement} and {skipped[site]} contradict each other at `{site}`: remove one")
                if menu is None:
                    raise SpaceError(f"{statement} reaches `{site}`, whose role `{role}` has no menu; give it one")
                if site in pinned and pinned[site][1] != pin:
                    raise SpaceError(f"{statement} and {pinned[site][0]} contradict each other at `{site}`: remove one")
                narrowed = pin.inherit(menu).intersect(menu)
                if narrowed is None:
                    raise SpaceError(
                        f"{statement}: `{site}` may be one of {menu}, but is pinned to "
                        f"{pin.inherit(menu)}; widen its menu with at()"
                    )
                menus[site] = narrowed
                pinned[site] = (statement, pin)

    def _tied_groups(
        self, facts: ModelFacts, sites: list[SiteFacts], menus: dict[str, Menu | None]
    ) -> dict[str, list[str]]:
        """Site to all sites tied to it, in network order; ties that overlap join."""
        groups: dict[str, set[str]] = {}
        for statement, patterns, roles in self._ties:
            largest = 0
            matching = [s for pattern in patterns for s in _matching(statement, pattern, facts, sites, roles)]
            for role in roles:
                together = {s for s in matching if facts.by_name[s].role is role and menus[s] is not None}
                largest = max(largest, len(together))
                for site in tuple(together):
                    together |= groups.get(site, set())
                for site in together:
                    groups[site] = together
            if largest < 2:
                raise SpaceError(
                    f"{statement} needs at least two quantized sites of one role to tie, but found {largest}"
                )
        order = {site.name: i for i, site in enumerate(sites)}
        return {site: sorted(group, key=order.__getitem__) for site, group in groups.items()}

    @staticmethod
    def _shared_menu(group: list[str], menus: dict[str, Menu | None]) -> Menu:
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


def _given(kernel: T | None, bias: T | None, activation: T | None, verb: str, pattern: str) -> list[tuple[Role, T]]:
    given = [(role, value) for role, value in zip(Role, (kernel, bias, activation), strict=True) if value is not None]
    if not given:
        raise SpaceError(f'{verb}("{pattern}") needs `kernel`, `bias` or `activation`')
    return given


def _role(name: str) -> Role:
    try:
        return Role(name)
    except ValueError:
        raise SpaceError(f"a role must be one of {[role.value for role in Role]}, but got {name!r}") from None


def _matches(pattern: str, layer: str, layer_class: str) -> bool:
    return pattern == layer_class or fnmatch.fnmatchcase(layer, pattern)


def _matching(
    statement: str,
    pattern: str,
    facts: ModelFacts,
    sites: Sequence[SiteFacts],
    roles: Sequence[Role],
    without_sites: bool = False,
) -> list[str]:
    """Names of the sites of `roles` in layers that match; an error where there are none."""
    layers = [layer for layer in facts.layers if _matches(pattern, layer.name, layer.layer_class)]
    if not layers:
        known = list(
            dict.fromkeys([*(layer.name for layer in facts.layers), *(layer.layer_class for layer in facts.layers)])
        )
        raise SpaceError(f"{statement} matches no layer of `{facts.name}`; {_did_you_mean([pattern], known)}")
    found = [s.name for s in sites if s.role in roles and _matches(pattern, s.layer, s.layer_class)]
    part = next((layer for layer in layers if layer.part_of is not None), None)
    if not found and part is not None:
        raise SpaceError(
            f"{statement} matches `{part.name}`, which has no site of its own: it is part of "
            f"`{part.part_of}`, so name that"
        )
    if not found and not without_sites:
        kinds = ", ".join(sorted({f"{layer.name} ({layer.layer_class})" for layer in layers})[:4])
        raise SpaceError(
            f"{statement} matches {kinds}, but none has a quantizable {' or '.join(role.value for role in roles)}"
        )
    return found


def _did_you_mean(wrong: Iterable[str], known: Sequence[str]) -> str:
    close = [match for name in wrong for match in difflib.get_close_matches(name, known, n=3, cutoff=0.5)]
    if close:
        return f"did you mean {', '.join(f'`{name}`' for name in close)}?"
    return f"there are {', '.join(known[:12])}{', …' if len(known) > 12 else ''}"


def _check_menu(site: SiteFacts, menu: Menu | None) -> None:
    """Refuse options that the site's role doesn't know."""
    if menu is None:
        return
    if site.role is Role.ACTIVATION:
        if Alpha.QKERAS_PO2 in (menu.alphas or ()):
            raise SpaceError(f'`{site.name}`: "qkeras_po2" is for kernels and biases; use "auto" or "auto_po2"')
        return
    for option, used in (("signed=False", menu.signed is False), ("affine", menu.affine), ("range", menu.range)):
        if used:
            raise SpaceError(f"`{site.name}`: `{option}` is for feature maps, but a {site.role} got it")
