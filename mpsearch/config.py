"""Quantizer specs and configs: which widths and scales a quantized model uses.

A *spec* says how one tensor is quantized; a *config* gives a spec to every quantized site of a
model. Both are frozen values without any reference to Keras. Sites are named `layer/tensor`,
for instance `conv_0/kernel`, `conv_0/bias`, `conv_0/activation`, `add_1/input_0`.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

from mpsearch.errors import ConfigError
from mpsearch.suggestions import suggestion

MIN_BITS, MAX_BITS = 2, 32
FLOAT_BITS = 32
"""What a value costs that stays in float."""
EXACT_BITS = 24
"""Widest code that float32 holds exactly. Wider codes are computed with the same formulas, so that each
value differs from the ideal one by no more than float32's own rounding (2^-24 of the value)."""


class Role(StrEnum):
    """What a site's tensor is to the hardware; each role has a menu of its own."""

    KERNEL = "kernel"
    BIAS = "bias"
    ACTIVATION = "activation"


class Alpha(StrEnum):
    """Scale mode: how the step between neighbouring codes is found.

    Attributes:
        AUTO: largest magnitude over largest code.
        AUTO_PO2: the power of two with the least squared error.
        QKERAS_PO2: QKeras's own iteration for a power of two, for comparison (kernels and biases).
        FIXED: 2^(integer - fractional bits), independent of the values (fixed point).
        ALIGNED: of a bias, the unit of the sums that it is added to: its layer's input scale times the kernel's,
            channel by channel. Integer hardware then adds it without rescaling.
    """

    AUTO = "auto"
    AUTO_PO2 = "auto_po2"
    QKERAS_PO2 = "qkeras_po2"
    FIXED = "fixed"
    ALIGNED = "aligned"


class RangeRule(StrEnum):
    """Where a feature map's range comes from: a moving average, or each batch by itself."""

    MOVING = "moving"
    BATCH = "batch"


@dataclass(frozen=True)
class QuantizerSpec:
    """How one tensor is quantized.

    Attributes:
        bits: width of a code, 2 to 32.
        alpha: scale mode.
        integer: integer bits of a fixed-point code (sign bit not counted), or of "qkeras_po2", where more of them
            coarsen small scales; None for the others.
        signed: whether codes carry a sign; None lets the site decide (kernels and biases are
            signed, a feature map is unsigned where it can't be negative).
        affine: unsigned codes with a zero-point over [min, max] (feature maps only); `signed` must be None.
        range: where a feature map's range comes from; fixed-point codes have none of their own.
    """

    bits: int
    alpha: Alpha = Alpha.AUTO
    integer: int | None = None
    signed: bool | None = None
    affine: bool = False
    range: RangeRule = RangeRule.MOVING

    def __post_init__(self) -> None:
        object.__setattr__(self, "bits", check_bits(self.bits))
        object.__setattr__(self, "alpha", parse_alpha(self.alpha))
        object.__setattr__(self, "range", parse_range(self.range))
        for name, value, kinds in (
            ("integer", self.integer, (int, type(None))),
            ("signed", self.signed, (bool, type(None))),
            ("affine", self.affine, (bool,)),
        ):
            if not isinstance(value, kinds) or (name == "integer" and isinstance(value, bool)):
                wanted = " or ".join("None" if kind is type(None) else kind.__name__ for kind in kinds)
                raise ConfigError(f"`{name}` must be {wanted}, but got {value!r}")
        known = self.alpha is Alpha.QKERAS_PO2 or (self.alpha is Alpha.FIXED) == (self.integer is not None)
        if not known:
            raise ConfigError(
                f'`integer` and alpha="fixed" go together, but got integer={self.integer}, alpha="{self.alpha}"'
            )
        if self.affine and self.alpha not in (Alpha.AUTO, Alpha.AUTO_PO2):
            raise ConfigError(f'affine codes need alpha "auto" or "auto_po2", but got "{self.alpha}"')
        if self.affine and self.signed is not None:
            raise ConfigError(f"affine codes are unsigned with a zero-point: leave out signed={self.signed}")
        if self.alpha is Alpha.FIXED and self.range is not RangeRule.MOVING:
            raise ConfigError(
                f'fixed-point codes know no range, but got integer={self.integer}, range="{self.range}": leave one out'
            )

    def to_json(self) -> dict[str, Any]:
        """Plain data; options that have their default value are left out."""
        data: dict[str, Any] = {"bits": self.bits, "alpha": self.alpha.value}
        if self.integer is not None:
            data["integer"] = self.integer
        if self.signed is not None:
            data["signed"] = self.signed
        if self.affine:
            data["affine"] = True
        if self.range is not RangeRule.MOVING:
            data["range"] = self.range.value
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "QuantizerSpec":
        """The spec of `to_json`'s data.

        Raises:
            ConfigError: unknown or missing fields, or values out of range.
        """
        known = {"bits", "alpha", "integer", "signed", "affine", "range"}
        if not isinstance(data, Mapping) or "bits" not in data or set(data) - known:
            raise ConfigError(f"a spec needs `bits` and may have {sorted(known - {'bits'})}, but got {data!r}")
        return cls(**data)

    def __str__(self) -> str:
        parts = [str(self.bits), self.alpha.value]
        if self.integer is not None:
            parts[1] += f".{self.integer}"
        if self.signed is not None:
            parts.append("signed" if self.signed else "unsigned")
        if self.affine:
            parts.append("affine")
        if self.range is not RangeRule.MOVING:
            parts.append(f"range={self.range.value}")
        return " ".join(parts)


class Config(Mapping[str, QuantizerSpec]):
    """Which spec every quantized site has, in the network's order; immutable and hashable.

    Two configs are equal, and have the same fingerprint, exactly when they give the same specs to
    the same sites, in whatever order.
    """

    def __init__(self, specs: Mapping[str, QuantizerSpec]) -> None:
        for site, spec in specs.items():
            if not isinstance(spec, QuantizerSpec):
                raise ConfigError(f"site `{site}` needs a QuantizerSpec, but got {spec!r}")
        self._specs = dict(specs)

    def __getitem__(self, site: str) -> QuantizerSpec:
        return self._specs[site]

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __eq__(self, other: object) -> bool:
        return self._specs == other._specs if isinstance(other, Config) else NotImplemented

    def __repr__(self) -> str:
        return f"Config({len(self)} sites, {self.fingerprint})"

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Plain data: site to spec."""
        return {site: spec.to_json() for site, spec in self.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Mapping[str, Any]]) -> "Config":
        """The config of `to_json`'s data.

        Raises:
            ConfigError: the data is malformed.
        """
        if not isinstance(data, Mapping):
            raise ConfigError(f"a config maps sites to specs, but got {type(data).__name__}")
        return cls({site: QuantizerSpec.from_json(spec) for site, spec in data.items()})

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON, 16 hex digits."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def with_alpha(self, old: Alpha, new: Alpha) -> "Config":
        """This config with scale mode `new` wherever it has `old`."""
        return Config({site: replace(spec, alpha=new) if spec.alpha is old else spec for site, spec in self.items()})


def check_bits(bits: int) -> int:
    """`bits` as an int between 2 and 32.

    Raises:
        ConfigError: not an integer, or out of range.
    """
    if isinstance(bits, bool) or not isinstance(bits, int) or not MIN_BITS <= bits <= MAX_BITS:
        raise ConfigError(f"a width must be an integer from {MIN_BITS} to {MAX_BITS} bits, but got {bits!r}")
    return bits


def parse_alpha(value: str) -> Alpha:
    """The scale mode named `value`.

    Raises:
        ConfigError: there is no such mode.
    """
    try:
        return Alpha(value)
    except ValueError:
        raise ConfigError(
            f"a scale mode must be one of {', '.join(a.value for a in Alpha)}, but got {value!r}"
            f"{suggestion(str(value), [a.value for a in Alpha], before='; ')}"
        ) from None


def parse_range(value: str) -> RangeRule:
    """The range rule named `value`.

    Raises:
        ConfigError: there is no such rule.
    """
    try:
        return RangeRule(value)
    except ValueError:
        raise ConfigError(f"a range rule must be one of {[r.value for r in RangeRule]}, but got {value!r}") from None
