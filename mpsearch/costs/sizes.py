"""Sizes with units, as people write them: `300KB`, `2MB`, `100ms`, `5uJ`."""

import re
from collections.abc import Mapping

from mpsearch.errors import ConfigError

_KB = 1024.0
_BYTES = {
    "": 1.0,
    "B": 1.0,
    "BYTES": 1.0,
    "KB": _KB,
    "KIB": _KB,
    "MB": _KB**2,
    "MIB": _KB**2,
    "GB": _KB**3,
    "GIB": _KB**3,
}
_SECONDS = {"": 1.0, "US": 1.0, "µS": 1.0, "ΜS": 1.0, "MS": 1e3, "S": 1e6}
_JOULES = {"": 1.0, "PJ": 1.0, "NJ": 1e3, "UJ": 1e6, "µJ": 1e6, "ΜJ": 1e6, "MJ": 1e9, "J": 1e12}
_COUNTS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9}
UNITS = {"bytes": _BYTES, "µs": _SECONDS, "pJ": _JOULES}
"""A cost's unit to those that a number of it may be given in; others take K, M and G, for thousands, millions, …"""
_NUMBER = re.compile(r"\s*([+-]?[\d_]*\.?\d+(?:[eE][+-]?\d+)?)\s*(\S*)\s*")


def parse_size(text: str, unit: str, what: str = "size") -> float:
    """A number in a cost's unit.

    Args:
        text: a number, with or without one of the unit's names: "2MB", "300 KB", "0.8". KB, MB and GB are powers of
            1,024.
        unit: in which it is returned, as costs have it: "bytes", "µs", "pJ" or another.
        what: of which it is, for the message.

    Raises:
        ConfigError: it isn't a number with such a unit.

    >>> parse_size("2MB", "bytes"), parse_size("100ms", "µs"), parse_size("0.5M", "MACs")
    (2097152.0, 100000.0, 500000.0)
    """
    factors = UNITS.get(unit, _COUNTS)
    found = _NUMBER.fullmatch(text)
    if found is None or found[2].upper() not in factors:
        names = ", ".join(name for name in factors if name)
        of = f"a number of {unit}, or one with {names} behind it" if unit else "a number"
        raise ConfigError(f"`{what}` must be {of}, but got {text!r}")
    return float(found[1].replace("_", "")) * factors[found[2].upper()]


NAMED = {"flash": "bytes", "ram": "bytes", "macs": "MACs", "bops": "bit operations", "ebops": "bit operations",
         "accumulator": "bits", "rescaling": "multiplications", "energy": "pJ", "latency": "µs",
         "unsupported": "kernels", "bits": "bits", "parameter_bits": "bits", "activation_bits": "bits",
         "total_bits": "bits"}  # fmt: skip
"""Names of mpsearch's costs, as trials' records have them, to their units."""


def shown_costs(costs: Mapping[str, float]) -> dict[str, str]:
    """A record's costs other than those in bits, as people read them."""
    bits = ("parameter_bits", "activation_bits", "total_bits")
    return {name: shown_size(value, NAMED.get(name, "")) for name, value in costs.items() if name not in bits}


def shown_size(value: float, unit: str) -> str:
    """A number of a cost as people read it.

    >>> shown_size(2097152, "bytes"), shown_size(123456, "µs"), shown_size(1234567, "MACs")
    ('2.0 MB', '123.5 ms', '1,234,567 MACs')
    """
    steps = {"bytes": (("MB", 1024.0**2), ("KB", 1024.0)), "µs": (("s", 1e6), ("ms", 1e3)),
             "pJ": (("mJ", 1e9), ("µJ", 1e6), ("nJ", 1e3))}.get(unit, ())  # fmt: skip
    for name, factor in steps:
        if abs(value) >= factor:
            return f"{value / factor:,.1f} {name}"
    number = f"{value:,.10g}" if value == int(value) else f"{value:,.4g}"
    return f"{number} {unit}".rstrip()
