"""Menus: the widths and scale modes that a site may take, written with `bits`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from mpsearch.config import Alpha, QuantizerSpec, RangeRule, check_bits, parse_alpha, parse_range
from mpsearch.errors import ConfigError


@dataclass(frozen=True)
class Menu:
    """The specs a site may take: every width with every scale mode. Made by `bits`.

    An option that is None is taken from the role's menu, or else has its default.
    """

    widths: tuple[int, ...]
    alphas: tuple[Alpha, ...] | None = None
    integer: int | None = None
    signed: bool | None = None
    affine: bool | None = None
    range: RangeRule | None = None

    def inherit(self, base: "Menu | None") -> "Menu":
        """This menu, with the options it leaves open taken from `base`.

        Fixed point takes over no zero-point or range, a zero-point no sign.

        Raises:
            ConfigError: the options exclude each other.
        """
        if base is None:
            return self
        own_scale = self.alphas is not None
        if self.integer is not None:
            base = replace(base, affine=None, range=None)
        if self.affine:
            base = replace(base, signed=None)
        menu = Menu(
            self.widths,
            self.alphas if own_scale else base.alphas,
            self.integer if own_scale else base.integer,
            base.signed if self.signed is None else self.signed,
            base.affine if self.affine is None else self.affine,
            base.range if self.range is None else self.range,
        )
        _ = menu.specs  # raises where the options exclude each other
        return menu

    @cached_property
    def specs(self) -> tuple[QuantizerSpec, ...]:
        """All specs, widths in ascending order and scale modes within a width."""
        return tuple(self.spec(width, alpha) for width in self.widths for alpha in self.alphas or (Alpha.AUTO,))

    def spec(self, width: int, alpha: Alpha) -> QuantizerSpec:
        """The spec of one width and scale mode, with this menu's options."""
        range_rule = self.range or RangeRule.MOVING
        return QuantizerSpec(width, alpha, self.integer, self.signed, bool(self.affine), range_rule)

    def intersect(self, other: "Menu") -> "Menu | None":
        """The specs that both menus hold, or None where there are none."""
        widths = tuple(width for width in self.widths if width in other.widths)
        alphas = tuple(a for a in self.alphas or (Alpha.AUTO,) if a in (other.alphas or (Alpha.AUTO,)))
        menu = Menu(widths, alphas, self.integer, self.signed, self.affine, self.range)
        same_options = bool(widths and alphas) and menu.specs[0] in other.specs
        return menu if same_options else None

    def union(self, other: "Menu") -> "Menu | None":
        """The smallest menu with the specs of both, or None where options other than width and scale mode differ."""
        first, others = self.specs[0], other.specs[0]
        if self.integer != other.integer or replace(others, bits=first.bits, alpha=first.alpha) != first:
            return None
        alphas = tuple(dict.fromkeys([*(self.alphas or (Alpha.AUTO,)), *(other.alphas or (Alpha.AUTO,))]))
        return replace(self, widths=tuple(sorted({*self.widths, *other.widths})), alphas=alphas)

    def at_most(self, width: int) -> "Menu | None":
        """This menu without its widths above `width` bits, or None where there are no others."""
        widths = tuple(w for w in self.widths if w <= width)
        return replace(self, widths=widths) if widths else None

    def __str__(self) -> str:
        spec = self.specs[0]
        options = str(spec).split(" ")[2:]
        scale = "|".join(str(self.spec(spec.bits, alpha)).split(" ")[1] for alpha in self.alphas or (Alpha.AUTO,))
        return " ".join(["/".join(str(width) for width in self.widths), scale, *options])


def bits(
    *widths: int,
    alpha: str | Sequence[str] | None = None,
    integer: int | None = None,
    signed: bool | None = None,
    affine: bool | None = None,
    range: str | None = None,
) -> Menu:
    """A menu of widths, for instance `bits(4, 8, 16, alpha="auto")`.

    Args:
        widths: in bits, 2 to 32, each once. Codes wider than 24 bits aren't exact in float32: they are
            computed by the same formulas and carry float32's own rounding error (2^-24 of the value).
        alpha: scale mode or modes; default: the role's, or else "auto".
        integer: fixed point with so many integer bits (sign not counted); excludes `alpha`.
            `bits(8, integer=3, signed=False)` is QKeras's `quantized_relu(8, 3)`. With `alpha="qkeras_po2"` the
            integer bits of QKeras's `quantized_bits(…, alpha="auto_po2")`, for comparison.
        signed: force signed or unsigned codes on feature maps; default: unsigned where the tensor
            can't be negative.
        affine: unsigned codes with a zero-point over [min, max], for feature maps; excludes `signed`.
        range: "moving" (calibrated, then a moving average; the default) or "batch", for feature maps; fixed point
            has no range.

    Raises:
        ConfigError: a width or option that doesn't exist, or options that exclude each other.
    """
    if not widths:
        raise ConfigError("`bits` needs at least one width, as in bits(4, 8, 16)")
    if len(set(widths)) != len(widths):
        raise ConfigError(f"each width may be given once, but got {widths}")
    names = [alpha] if isinstance(alpha, str) else alpha
    alphas = None if names is None else tuple(parse_alpha(name) for name in names)
    if integer is not None:
        if alphas not in (None, (Alpha.FIXED,), (Alpha.QKERAS_PO2,)):
            raise ConfigError(
                f"`integer` fixes the scale and excludes `alpha`, but got integer={integer}, alpha={alpha!r}"
            )
        alphas = alphas or (Alpha.FIXED,)
    if alphas is not None and (not alphas or len(set(alphas)) != len(alphas)):
        raise ConfigError(f"`alpha` needs one or more different scale modes, but got {alpha!r}")
    menu = Menu(
        tuple(sorted(check_bits(width) for width in widths)),
        alphas,
        integer,
        signed,
        affine,
        None if range is None else parse_range(range),
    )
    _ = menu.specs  # raises where the options exclude each other
    return menu
