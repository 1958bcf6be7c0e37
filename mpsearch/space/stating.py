"""Space: what may be searched, stated before the model exists."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from mpsearch.config import Alpha, Role, check_bits, parse_alpha
from mpsearch.errors import SpaceError
from mpsearch.facts import ModelFacts
from mpsearch.menu import Menu, bits
from mpsearch.patterns import Pattern, Selector, Where
from mpsearch.space.algebra import hull, intersection
from mpsearch.space.choices import Comparison
from mpsearch.space.description import Description
from mpsearch.space.devices import Multiplier, usable
from mpsearch.space.resolved import ResolvedSpace
from mpsearch.space.resolving import resolve
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

T = TypeVar("T")

BATCH_NORM = ("keep", "refuse")
_COMPARISONS = {
    "<=": (Comparison.AT_MOST, False),
    "<": (Comparison.BELOW, False),
    "==": (Comparison.EQUAL, False),
    ">=": (Comparison.AT_MOST, True),
    ">": (Comparison.BELOW, True),
}


@dataclass
class Space:
    """What may be searched, written before the model exists.

    Args:
        kernel, bias, activation: menus of the roles; a role without a menu stays float.
        requantize_merge_inputs: give the inputs of additions that other layers read too quantizers of their
            own, so that all inputs and the output of an addition are quantized for it.
        batch_norm: what happens to a BatchNorm that can't be folded: "keep" it as a layer of its own, or "refuse"
            the model.

    Statements name layers by `pattern`: a name, a glob (`block_*_expand`), a layer class (`"Conv2D"` or the class
    itself), or a regular expression (`re.compile("block_[0-9]+_dw")`) for the whole name. A part or an application of a
    layer can be named too, as the space's table does (`sep_depthwise`). `where` narrows a pattern to sites for which a
    function of their `SiteFacts` is true: `where=lambda site: site.elements > 10_000`.

    Of several menus for a site the last stated wins; caps, pins, ties, skips and limits hold in whatever order. All
    are checked when the space is resolved; nothing is ignored in silence.
    """

    kernel: Menu | None = None
    bias: Menu | None = None
    activation: Menu | None = None
    requantize_merge_inputs: bool = False
    batch_norm: str = "keep"
    _statements: list[Statement] = field(default_factory=list, repr=False)
    _combined: "tuple[tuple[str, Space], ...]" = field(default=(), repr=False)
    _multipliers: tuple[Multiplier, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        for role in Role:
            menu = getattr(self, role.value)
            if menu is not None and not isinstance(menu, Menu):
                raise SpaceError(f"`{role.value}` needs a menu such as bits(4, 8, 16), but got {menu!r}")
        if self.batch_norm not in BATCH_NORM:
            raise SpaceError(f'`batch_norm` must be "keep" or "refuse", but got {self.batch_norm!r}')

    def at(
        self,
        pattern: Pattern = "*",
        *,
        kernel: Menu | None = None,
        bias: Menu | None = None,
        activation: Menu | None = None,
        where: Where | None = None,
    ) -> "Space":
        """Give matching layers menus of their own; options left open are the role's."""
        selector = Selector(pattern, where)
        for role, menu in _given(kernel, bias, activation, selector.call("at")):
            text = selector.call("at", f"{role.value}=…")
            if not isinstance(menu, Menu):
                raise SpaceError(f"{text} needs a menu such as bits(8, 16), but got {menu!r}")
            self._state(At(text, selector, role, menu))
        return self

    def pin(
        self,
        pattern: Pattern = "*",
        *,
        kernel: int | Menu | None = None,
        bias: int | Menu | None = None,
        activation: int | Menu | None = None,
        where: Where | None = None,
    ) -> "Space":
        """Fix the width (an int) or the spec (`bits(8, alpha="auto")`) of matching layers; it must be on the menu."""
        selector = Selector(pattern, where)
        for role, value in _given(kernel, bias, activation, selector.call("pin")):
            menu = value if isinstance(value, Menu) else bits(value)  # type: ignore[arg-type]  # bits refuses others
            if len(menu.widths) != 1:
                text = selector.call("pin", f"{role.value}=…")
                raise SpaceError(f"{text} needs one width, but got {menu}; to narrow a menu use at()")
            self._state(Pin(selector.call("pin", f"{role.value}={menu.widths[0]}"), selector, role, menu))
        return self

    def cap(
        self,
        pattern: Pattern = "*",
        *,
        kernel: int | None = None,
        bias: int | None = None,
        activation: int | None = None,
        where: Where | None = None,
    ) -> "Space":
        """Take widths above so many bits off the menus of matching layers, whichever statement gave them."""
        selector = Selector(pattern, where)
        for role, width in _given(kernel, bias, activation, selector.call("cap")):
            self._state(Cap(selector.call("cap", f"{role.value}={width}"), selector, role, check_bits(width)))
        return self

    def caps(self, limits: Mapping[Pattern, Sequence[int | None]]) -> "Space":
        """Caps by layer class or other pattern, as AutoQKeras's `limit` has them.

        Args:
            limits: pattern to the largest widths of kernels, biases and activations, in this order, None for no cap:
                `{"Conv2D": [8, 16, 8], "Dense": [8, None, 4]}`; to one number for layers without kernels:
                `{"Add": [8]}`.
        """
        for pattern, widths in limits.items():
            if isinstance(widths, (str, int)) or len(widths) not in (1, 3):
                raise SpaceError(
                    f"caps needs three widths (kernel, bias, activation) or one (activation) for {Selector(pattern)}, "
                    f"but got {widths!r}"
                )
            kernel, bias, activation = widths if len(widths) == 3 else (None, None, *widths)
            self.cap(pattern, kernel=kernel, bias=bias, activation=activation)
        return self

    def tie(
        self,
        *patterns: Pattern,
        roles: Iterable[str] = ("kernel", "bias", "activation"),
        across_roles: bool = False,
        where: Where | None = None,
    ) -> "Space":
        """Let all matching layers share one choice for kernels, one for biases, one for activations.

        Args:
            patterns: which layers; what any of them matches is tied together.
            roles: which of their tensors.
            across_roles: let the roles share one width as well; scale modes stay apart.
            where: narrows the patterns.
        """
        if not patterns:
            raise SpaceError('tie needs at least one pattern, as in tie("block_*_expand")')
        selectors = tuple(Selector(pattern, where) for pattern in patterns)
        options = [*map(str, selectors[1:]), *(["across_roles=True"] if across_roles else [])]
        self._state(Tie(selectors[0].call("tie", *options), selectors, _roles(roles), across_roles))
        return self

    def skip(self, pattern: Pattern = "*", roles: Iterable[str] | None = None, where: Where | None = None) -> "Space":
        """Leave matching layers, or only these roles of theirs, in float."""
        selector = Selector(pattern, where)
        self._state(Skip(selector.call("skip"), selector, None if roles is None else _roles(roles)))
        return self

    def search_alpha(self, role: str, *alphas: str, pattern: Pattern = "*", where: Where | None = None) -> "Space":
        """Make the scale mode a choice as well, for all or for matching layers."""
        if not alphas:
            raise SpaceError('search_alpha needs scale modes, as in search_alpha("kernel", "auto", "auto_po2")')
        parsed = tuple(parse_alpha(alpha) for alpha in alphas)
        if len(set(parsed)) != len(parsed):
            raise SpaceError(f"search_alpha needs different scale modes, but got {', '.join(alphas)}")
        if Alpha.FIXED in parsed:
            raise SpaceError('search_alpha can\'t search "fixed", which needs its integer bits: use bits(…, integer=…)')
        selector = Selector(pattern, where)
        text = selector.call("search_alpha", f'"{role}"', "…")
        self._state(SearchAlpha(text, selector, _role(role), parsed))
        return self

    def limit(
        self, role: str, comparison: str, other: str, *, at: Pattern = "*", where: Where | None = None
    ) -> "Space":
        """Let widths of a layer depend on each other: `limit("kernel", "<=", "activation")`.

        All quantized sites of the two roles in a layer must compare so; a site in float is under no limit. A limit
        takes configs out of the space and leaves the others as they are: its size, its iteration and its sampling
        stay exact and uniform. Widths that no config can have any more are taken off the menus, and said so.

        Args:
            role: "kernel", "bias" or "activation".
            comparison: "<=", "<", "==", ">=" or ">".
            other: another role, or "input" for the feature maps that the layer reads.
            at, where: which sites of `role`; default: all.
        """
        selector = Selector(at, where)
        options = [] if at == "*" else [f"at={selector}"]
        text = (
            f"limit({', '.join([repr(role), repr(comparison), repr(other), *options])}{', where=…' if where else ''})"
        )
        text = text.replace("'", '"')
        if comparison not in _COMPARISONS:
            raise SpaceError(f"a comparison must be one of {list(_COMPARISONS)}, but got {comparison!r}")
        if role == INPUT:
            raise SpaceError(f'{text} must name the role first, as in limit("kernel", "<=", "input")')
        if role == other:
            raise SpaceError(f"{text} needs two different roles; to give a role's sites one width use tie()")
        kind, turned = _COMPARISONS[comparison]
        self._state(Dependence(text, selector, _role(role), kind, other if other == INPUT else _role(other), turned))
        return self

    def protect_ends(self, width: int = 8, roles: Iterable[str] | None = None) -> "Space":
        """Give the first and last layers with kernels one width, whether it is on their menus or not.

        First are layers that read no other layer with a kernel, last those that none reads: with several inputs or
        outputs there are several.

        Args:
            width: in bits.
            roles: which of their tensors; default: kernels, and activations where those are quantized.
        """
        parsed = None if roles is None else _roles(roles)
        named = "" if parsed is None else ", roles=[" + ", ".join(f'"{role}"' for role in parsed) + "]"
        self._state(ProtectEnds(f"protect_ends({width}{named})", check_bits(width), parsed))
        return self

    def narrow(self, other: "Space") -> "Space":
        """A space with exactly the configs that this one and `other` both have. It takes no further statements."""
        return self._combine("narrow", other)

    def union(self, other: "Space") -> "Space":
        """A space that has the configs of this one and of `other`. It takes no further statements.

        Menus hold what either has. A tie or limit stays where all configs of the other space keep it too; of two
        limits the weaker one does (`<` with `<=` gives `<=`), and `<` with `>` gives none. Configs that mix the two
        spaces belong to it; where one space has all configs of the other, it is the union.
        """
        return self._combine("union", other)

    def on_device(self, multiplier: Multiplier) -> "Space":
        """A space without the widths that a device can't use; see `usable`. It isn't combined with others any more."""
        return replace(self._copy(), _multipliers=(*self._multipliers, multiplier))

    def resolve(self, facts: ModelFacts) -> ResolvedSpace:
        """The exact space for a model.

        Raises:
            SpaceError: a pattern that matches nothing, a pin outside the menu, contradicting statements.
        """
        resolved = resolve(facts, {role: getattr(self, role.value) for role in Role}, self._statements)
        for verb, other in self._combined:
            combine = intersection if verb == "narrow" else hull
            resolved = combine(resolved, other.resolve(facts))
        for multiplier in self._multipliers:
            resolved = usable(resolved, multiplier)
        return resolved

    def describe(self, facts: ModelFacts) -> Description:
        """The space for a model as a table (`str`) and as plain data (`to_json`).

        Raises:
            SpaceError: as `resolve`.
        """
        return self.resolve(facts).describe()

    def _state(self, statement: Statement) -> None:
        if self._combined:
            raise SpaceError(
                f"{statement.text} comes after {self._combined[-1][0]}(): state it for the spaces that are combined"
            )
        self._statements.append(statement)

    def _combine(self, verb: str, other: "Space") -> "Space":
        if not isinstance(other, Space):
            raise SpaceError(f"{verb} needs a Space, but got {other!r}")
        if self._multipliers or other._multipliers:
            raise SpaceError(f"{verb} comes after on_device(): combine the spaces first")
        for option in ("requantize_merge_inputs", "batch_norm"):
            own, its = getattr(self, option), getattr(other, option)
            if own != its:
                raise SpaceError(f"{verb} needs the same {option} in both spaces, but got {own!r} and {its!r}")
        return replace(self._copy(), _combined=(*self._combined, (verb, other._copy())))

    def _copy(self) -> "Space":
        return replace(self, _statements=list(self._statements))


def _given(kernel: T | None, bias: T | None, activation: T | None, statement: str) -> list[tuple[Role, T]]:
    given = [(role, value) for role, value in zip(Role, (kernel, bias, activation), strict=True) if value is not None]
    if not given:
        raise SpaceError(f"{statement} needs `kernel`, `bias` or `activation`")
    return given


def _role(name: str) -> Role:
    try:
        return Role(name)
    except ValueError:
        raise SpaceError(f"a role must be one of {[role.value for role in Role]}, but got {name!r}") from None


def _roles(names: Iterable[str]) -> tuple[Role, ...]:
    found = tuple(_role(name) for name in ([names] if isinstance(names, str) else names))
    if not found:
        raise SpaceError(f"roles must name some of {[role.value for role in Role]}, but got none")
    return found
