"""Resolved spaces: the exact set of configs that a space allows for one model."""

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np

from mpsearch.config import EXACT_BITS, FLOAT_BITS, Config, QuantizerSpec
from mpsearch.errors import ConfigError
from mpsearch.facts import ModelFacts, SiteFacts
from mpsearch.menu import Menu
from mpsearch.patterns import did_you_mean, part_of
from mpsearch.space.choices import Choice, Limit
from mpsearch.space.description import Description
from mpsearch.space.diagram import Diagram

Price = Callable[[SiteFacts, QuantizerSpec], float]
"""What a site costs with a spec; a config costs the sum over its sites."""


@dataclass(frozen=True)
class ResolvedSpace:
    """The exact set of configs that a space allows for one model.

    Attributes:
        facts: of the model.
        choices: all decisions, in network order, those with one possibility (pins) included.
        floats: sites that stay in float.
        limits: between the widths of choices. Every spec on a menu occurs in a config that keeps them.
        remarks: what resolving it had to decide, for `notes`.
    """

    facts: ModelFacts
    choices: tuple[Choice, ...]
    floats: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Number of configs, exact however large."""
        return self.diagram.size

    @cached_property
    def diagram(self) -> Diagram:
        """The allowed combinations of positions on the choices' menus."""
        return Diagram([[spec.bits for spec in choice.specs] for choice in self.choices], self._numbered_limits)

    @cached_property
    def free(self) -> tuple[Choice, ...]:
        """Choices with more than one possibility, whatever was chosen before them."""
        several = (c for c in self.choices if len(c.specs) > 1)
        return tuple(c for c in several if c.name not in self.decided or len(c.specs) > len(c.menu.widths))

    @cached_property
    def decided(self) -> frozenset[str]:
        """Choices whose width always follows from earlier ones by limits, though their menus have several."""
        found = zip(self.choices, self.diagram.decided(), strict=True)
        return frozenset(choice.name for choice, decided in found if decided)

    @cached_property
    def sites(self) -> tuple[str, ...]:
        """Names of all quantized sites, in network order."""
        return tuple(site.name for site in self.facts.sites if site.name in self.menus)

    @cached_property
    def menus(self) -> dict[str, Menu]:
        """Quantized site to its menu."""
        return {site: choice.menu for choice in self.choices for site in choice.sites}

    def config(self, picks: Mapping[str, QuantizerSpec]) -> Config:
        """The config with `picks` (choice name to spec); choices with one possibility may be left out.

        Raises:
            ConfigError: a choice is missing or unknown, its spec isn't on the menu, or a limit is broken.
        """
        unknown = set(picks) - set(self._by_name)
        if unknown:
            raise ConfigError(
                f"there is no choice named {sorted(unknown)}; {did_you_mean(unknown, [c.name for c in self.choices])}"
            )
        positions = []
        for choice in self.choices:
            spec = picks.get(choice.name, choice.specs[0] if len(choice.specs) == 1 else None)
            if spec is None:
                raise ConfigError(f"choice `{choice.name}` has no spec; it may be one of: {choice.menu}")
            if spec not in choice.specs:
                raise ConfigError(f"choice `{choice.name}` may be one of: {choice.menu}, but got {spec}")
            positions.append(choice.specs.index(spec))
        self._check_limits({c.name: c.specs[p] for c, p in zip(self.choices, positions, strict=True)})
        return self._config(positions)

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
        self._check_limits(picks)
        return picks

    def repaired(self, picks: Mapping[str, QuantizerSpec]) -> dict[str, QuantizerSpec]:
        """`picks`, moved into the limits: choice after choice in network order takes the width nearest to its pick
        that the choices before it leave possible, the narrower of two, with the scale mode of its pick.

        Args:
            picks: a spec from the menu of each choice; choices with one possibility may be left out.
        """

        def nearest(choice: int, allowed: list[int]) -> int:
            specs = self.choices[choice].specs
            wanted = picks.get(self.choices[choice].name, specs[0])
            return min(allowed, key=lambda p: _distance(wanted, specs[p]))

        positions = self.diagram.walk(nearest)
        return {choice.name: choice.specs[p] for choice, p in zip(self.choices, positions, strict=True)}

    def __contains__(self, config: Config) -> bool:
        try:
            self.picks(config)
        except ConfigError:
            return False
        return True

    def keep_limits(self, positions: np.ndarray) -> np.ndarray:
        """Whether configs keep the limits between widths: bool (configs,).

        Args:
            positions: on the choices' menus, integers (configs, choices).
        """
        found = np.ones(len(positions), dtype=bool)
        for left, comparison, right in self._numbered_limits:
            widths = (self._columns[choice][0][positions[:, choice]] for choice in (left, right))
            found &= comparison.holds(*widths)
        return found

    def nth(self, index: int) -> Config:
        """Config number `index` of the iteration, without visiting those before it.

        Raises:
            IndexError: `index` is not between 0 and size - 1.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"the space has {self.size} configs, so there is no config number {index}")
        return self._config(self.diagram.nth(index))

    def __iter__(self) -> Iterator[Config]:
        return (self.nth(index) for index in range(self.size))

    def sample(self, rng: random.Random) -> Config:
        """A config drawn uniformly, each with exactly the same probability."""
        return self.nth(rng.randrange(self.size))

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Many configs drawn uniformly at once, as positions on the choices' menus: int64 (count, choices).

        `widths` gives their bits for costs, `configs` the configs themselves.
        """
        return self.diagram.draw(rng, count)

    def widths(self, positions: np.ndarray) -> np.ndarray:
        """Bits of all sites of the model, for costs.

        Args:
            positions: on the choices' menus, integers (configs, choices), as from `draw`.

        Returns:
            int64 (configs, sites), columns in the order of the facts' sites; a site left in float has 32 bits.

        Raises:
            ConfigError: `positions` has another shape, or leaves a menu.
        """
        positions = self._checked(positions)
        found = np.full((len(positions), len(self.facts.sites)), FLOAT_BITS, dtype=np.int64)
        for choice, (bits, columns) in enumerate(self._columns):
            found[:, columns] = bits[positions[:, choice], None]
        return found

    def configs(self, positions: np.ndarray) -> Iterator[Config]:
        """The configs at `positions`, integers (configs, choices).

        Raises:
            ConfigError: `positions` has another shape, or leaves a menu.
        """
        return map(self._config, self._checked(positions).tolist())

    def positions(self, configs: Iterable[Config]) -> np.ndarray:
        """Where configs stand on the choices' menus: int64 (configs, choices); the inverse of `configs`.

        Raises:
            ConfigError: a config isn't in this space.
        """
        rows = [[c.specs.index(picks[c.name]) for c in self.choices] for picks in map(self.picks, configs)]
        return np.array(rows, dtype=np.int64).reshape(-1, len(self.choices))

    def uniform(self, width: int) -> Config:
        """The config nearest to `width` bits everywhere: on each menu the narrowest width that is not below it,
        or else the widest, with the menu's first scale mode; moved into the limits, where there are some.
        """
        picks = {}
        for choice in self.choices:
            wide = [w for w in choice.menu.widths if w >= width]
            chosen = wide[0] if wide else choice.menu.widths[-1]
            picks[choice.name] = next(spec for spec in choice.specs if spec.bits == chosen)
        return self.config(self.repaired(picks))

    def cheapest(self, price: Price) -> Config:
        """The config with the least sum of prices over its sites; exact, limits included."""
        by_name = self.facts.by_name
        prices = [[sum(price(by_name[site], spec) for site in c.sites) for spec in c.specs] for c in self.choices]
        return self._config(self.diagram.cheapest(prices))

    def dearest(self, price: Price) -> Config:
        """The config with the largest sum of prices over its sites; exact, limits included."""
        return self.cheapest(lambda site, spec: -price(site, spec))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over choices, menus, limits, floats and the sites' shapes, 16 hex digits."""
        data: dict[str, Any] = {
            "choices": [[c.name, c.sites, [spec.to_json() for spec in c.specs]] for c in self.choices],
            "floats": self.floats,
            "sites": [[s.name, s.shape, s.negative] for s in self.facts.sites],
        }
        if self.limits:
            data["limits"] = sorted({(limit.left, limit.comparison.value, limit.right) for limit in self.limits})
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]

    def describe(self) -> Description:
        """The space as a table and as plain data."""
        return Description(
            model=self.facts.name,
            rows=self.rows(),
            sites=len(self.sites),
            choices=len(self.free),
            size=self.size,
            limits=tuple(_in_words(self.limits)),
            notes=self.notes,
            fingerprint=self.fingerprint,
        )

    def rows(self) -> list[dict[str, str | int]]:
        """The space as a table: layer, tensor, shape, elements, menu; sites left in float say so.

        The layer is the part of the site's name before the slash, which names parts and applications of a layer too.
        """
        tied = {site: choice.name for choice in self.choices for site in choice.sites if choice.name != site}
        rows: list[dict[str, str | int]] = []
        for site in self.facts.sites:
            if site.name not in self.menus and site.name not in self.floats:
                continue
            menu = str(self.menus[site.name]) if site.name in self.menus else "float"
            rows.append(
                {
                    "layer": part_of(site),
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
        notes = list(self.remarks)
        wide = [site for site, menu in self.menus.items() if menu.widths[-1] > EXACT_BITS]
        if self.floats:
            notes.append(f"{_count(self.floats)} in float, and count {FLOAT_BITS} bits: {', '.join(self.floats[:4])}")
            notes[-1] += ", …" if len(self.floats) > 4 else ""
        if self.size == 1:
            notes.append("the space has one config: there is nothing to search")
        if wide:
            notes.append(
                f"{len(wide)} sites have widths above {EXACT_BITS} bits: trained in float32, whose rounding "
                "(2^-24) bounds their precision"
            )
        return tuple(notes)

    def __str__(self) -> str:
        return str(self.describe())

    @cached_property
    def _by_name(self) -> dict[str, int]:
        """Choice name to its number."""
        return {choice.name: number for number, choice in enumerate(self.choices)}

    @property
    def _numbered_limits(self) -> list[Any]:
        return [(self._by_name[limit.left], limit.comparison, self._by_name[limit.right]) for limit in self.limits]

    @cached_property
    def _site_choices(self) -> list[tuple[str, int, tuple[QuantizerSpec, ...]]]:
        """Of each quantized site: name, number of its choice, and the specs of that choice."""
        number = {site: i for i, choice in enumerate(self.choices) for site in choice.sites}
        return [(site, number[site], self.choices[number[site]].specs) for site in self.sites]

    @cached_property
    def _columns(self) -> list[tuple[np.ndarray, list[int]]]:
        """Of each choice: bits at each position, and the columns of its sites."""
        column = {site.name: i for i, site in enumerate(self.facts.sites)}
        return [
            (np.array([spec.bits for spec in choice.specs], dtype=np.int64), [column[site] for site in choice.sites])
            for choice in self.choices
        ]

    def _config(self, positions: Sequence[int]) -> Config:
        return Config({site: specs[positions[choice]] for site, choice, specs in self._site_choices})

    def _checked(self, positions: np.ndarray) -> np.ndarray:
        positions = np.asarray(positions)
        if positions.ndim != 2 or positions.shape[1] != len(self.choices) or positions.dtype.kind not in "iu":
            raise ConfigError(
                f"`positions` must be integers of shape (configs, {len(self.choices)}), but got {positions.dtype} "
                f"{positions.shape}"
            )
        if len(positions) and (
            positions.min() < 0 or (positions.max(axis=0) >= [len(c.specs) for c in self.choices]).any()
        ):
            raise ConfigError(
                "`positions` must lie on the choices' menus, but some are below 0 or beyond the last spec"
            )
        return positions

    def _check_limits(self, picks: Mapping[str, QuantizerSpec]) -> None:
        for limit in self.limits:
            left, right = picks[limit.left], picks[limit.right]
            if not limit.comparison.holds(left.bits, right.bits):
                raise ConfigError(
                    f"{limit.statement} wants `{limit.left}` {limit.comparison} `{limit.right}` in bits, but got "
                    f"{left.bits} and {right.bits}"
                )


def _distance(wanted: QuantizerSpec, spec: QuantizerSpec) -> tuple[int, int, bool]:
    return abs(spec.bits - wanted.bits), spec.bits, spec.alpha is not wanted.alpha


def _count(floats: Sequence[str]) -> str:
    return "1 site stays" if len(floats) == 1 else f"{len(floats)} sites stay"


def _in_words(limits: Sequence[Limit]) -> Iterator[str]:
    """The limits of each statement in a line."""
    for statement, group in groupby(limits, key=lambda limit: limit.statement):
        pairs = [f"{limit.left} {limit.comparison} {limit.right}" for limit in group]
        yield f"{statement}: {', '.join(pairs[:3])}{f', … ({len(pairs)} in all)' if len(pairs) > 3 else ''}"
