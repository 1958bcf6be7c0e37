"""Hardware profiles: what a device has, in a small TOML file."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpsearch.config import MAX_BITS, MIN_BITS
from mpsearch.costs.sizes import parse_size
from mpsearch.errors import ConfigError, DataMissingError
from mpsearch.suggestions import suggestion

PLACES = ("fixed", "sram", "dram")
"""Where parameters and feature maps can be kept."""
SHIPPED = Path(__file__).parent / "profiles"
_SIZES, _NUMBERS = ("ram", "flash"), ("clock_mhz", "macs_per_cycle", "bytes_per_cycle", "cycles_per_operation")
_KEYS = ("name", *_SIZES, *_NUMBERS, "pairs", "widths", "aligned_biases", "packed", "weights", "activations")
WIDTHS = ("kernel", "depthwise_kernel", "bias", "feature_map", "unsigned_feature_map")
"""What a profile's table `widths` can bound; the narrower kinds are of the wider ones as well."""


@dataclass(frozen=True)
class Profile:
    """A device.

    Attributes:
        name: of the device.
        ram, flash: bytes; None where they aren't known.
        clock_mhz: of the processor.
        macs_per_cycle: multiply-accumulates, whatever their widths.
        bytes_per_cycle: of parameters and feature maps between memory and processor; None: never what takes longest.
        cycles_per_operation: what each operation takes besides.
        pairs: widths of kernels and feature maps that it multiplies, (kernel, feature map); none: all.
        widths: kind of tensor, one of `WIDTHS`, with the least and the largest width that the device, or the format of
            its files, has for it; kinds that aren't named have all. Unsigned are feature maps with a zero-point too.
        aligned_biases: whether it adds biases to sums as they are, so that they must have 32 bits in the sums' unit.
        packed: whether feature maps of less than 8 bits lie side by side; else each value takes a byte at least.
        weights, activations: where parameters and feature maps are kept: "fixed", "sram" or "dram".
    """

    name: str
    ram: float | None = None
    flash: float | None = None
    clock_mhz: float | None = None
    macs_per_cycle: float | None = None
    bytes_per_cycle: float | None = None
    cycles_per_operation: float = 0.0
    pairs: tuple[tuple[int, int], ...] = ()
    widths: tuple[tuple[str, int, int], ...] = ()
    aligned_biases: bool = False
    packed: bool = True
    weights: str = "sram"
    activations: str = "sram"


def profile_names() -> list[str]:
    """Names of the profiles that come with mpsearch."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def load_profile(name: str) -> Profile:
    """A profile: one that comes with mpsearch, by its name, or a TOML file.

    Raises:
        DataMissingError: there is none.
        ConfigError: it isn't a TOML file, or says something that no profile says.
    """
    path = Path(name) if name.endswith(".toml") else SHIPPED / f"{name}.toml"
    if not path.is_file():
        known = profile_names()
        hint = suggestion(name, known) or f"there are {', '.join(known)}, or give a .toml file"
        raise DataMissingError(f"there is no hardware profile {name!r}; {hint}")
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} isn't a TOML file: {error}") from error
    return _profile(given, path)


def _profile(given: dict[str, Any], path: Path) -> Profile:
    unknown = [key for key in given if key not in _KEYS]
    if unknown:
        hint = suggestion(unknown[0], _KEYS, "`") or f"known are {', '.join(_KEYS)}"
        raise ConfigError(f"{path}: a profile has no `{unknown[0]}`; {hint}")
    made: dict[str, Any] = {"name": path.stem, **given}
    for key in _SIZES:
        if key in given:
            made[key] = parse_size(str(given[key]), "bytes", f"{path.name}: {key}")
    for key in (*_SIZES, *_NUMBERS):
        value = made.get(key)
        least = 0 if key == "cycles_per_operation" else None
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is not None and not (number and (value > 0 or value == least)):
            raise ConfigError(f"{path}: `{key}` must be a positive number, but is {value!r}")
    pairs = given.get("pairs", [])
    made["pairs"] = tuple(_pair(pair, path) for pair in (pairs if isinstance(pairs, list) else [pairs]))
    made["widths"] = _widths(given.get("widths", {}), path)
    for key in ("weights", "activations"):
        if made.get(key, "sram") not in PLACES:
            raise ConfigError(f"{path}: `{key}` must be {', '.join(PLACES)}, but is {made[key]!r}")
    for key in ("packed", "aligned_biases"):
        if not isinstance(made.get(key, True), bool):
            raise ConfigError(f"{path}: `{key}` must be true or false, but is {made[key]!r}")
    return Profile(**made)


def _widths(given: Any, path: Path) -> tuple[tuple[str, int, int], ...]:
    if not isinstance(given, dict) or set(given) - set(WIDTHS):
        raise ConfigError(f"{path}: `widths` must be a table of {', '.join(WIDTHS)}, but is {given!r}")
    found = []
    for kind, bounds in given.items():
        whole = isinstance(bounds, list) and len(bounds) == 2 and all(type(width) is int for width in bounds)
        if not whole or not MIN_BITS <= bounds[0] <= bounds[1] <= MAX_BITS:
            raise ConfigError(
                f"{path}: `widths.{kind}` must be the least and the largest width, as in [2, 8], but is {bounds!r}"
            )
        found.append((kind, bounds[0], bounds[1]))
    return tuple(found)


def _pair(pair: Any, path: Path) -> tuple[int, int]:
    whole = isinstance(pair, list) and len(pair) == 2 and all(type(width) is int for width in pair)
    if not whole or not all(MIN_BITS <= width <= MAX_BITS for width in pair):
        raise ConfigError(
            f"{path}: `pairs` must be of widths of kernel and feature map, as in [[8, 8]], but has {pair!r}"
        )
    return pair[0], pair[1]
