"""Costs by their names: those of mpsearch, and users' own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from mpsearch.config import Config
from mpsearch.costs.bits import BitCost, ReferenceBits
from mpsearch.costs.energy import EnergyPj
from mpsearch.costs.flash import FlashBytes
from mpsearch.costs.latency import RooflineLatency, TableLatency
from mpsearch.costs.measured import Row
from mpsearch.costs.model import Cost
from mpsearch.costs.pairs import UnsupportedProducts
from mpsearch.costs.products import AccumulatorBits, Bops, Ebops, Macs
from mpsearch.costs.profile import Profile
from mpsearch.costs.ram import RamBytes
from mpsearch.costs.rescaling import RescalingMultiplications
from mpsearch.costs.specs import Specs
from mpsearch.errors import ConfigError
from mpsearch.facts import ModelFacts
from mpsearch.suggestions import suggestion

OwnCost = Callable[[ModelFacts, Config], float]
"""A user's cost: of a model's facts and a config."""


@dataclass(frozen=True)
class Device:
    """What costs depend on besides the model.

    Attributes:
        profile: of the hardware; None: nothing is known of it.
        latencies: of measured layers, in place of the profile's speed.
        reference: for the bit costs of inputs and outputs.
    """

    profile: Profile | None = None
    latencies: tuple[Row, ...] = ()
    reference: ReferenceBits = field(default_factory=ReferenceBits)


class BitsOf(Cost):
    """The bit cost, or a part of it.

    Args:
        facts: of the model.
        reference: as of `BitCost`.
        name: "bits", "parameter_bits" or "activation_bits".
    """

    unit = "bits"

    def __init__(self, facts: ModelFacts, reference: ReferenceBits, name: str = "bits") -> None:
        super().__init__(facts)
        self.name, self.about = name, f"{name.replace('_', ' ')} of the Forgiving Factor's size"
        self._cost = BitCost(facts, reference)

    def batch(self, specs: Specs) -> np.ndarray:
        return self._own(self._cost.batch(specs.widths))

    def parts(self, specs: Specs) -> tuple[Sequence[str], np.ndarray]:
        return [*self._cost.sites, "inputs and softmax"], self._own(self._cost.parts(specs.widths))

    def dependencies(self) -> Sequence[Sequence[str]]:
        return [*([site] for site in self._cost.sites), []]

    def _own(self, both: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Of parameter bits and activation bits what it counts, float64."""
        parameters, activations = both
        own = {"parameter_bits": parameters, "activation_bits": activations, "bits": parameters + activations}
        return own[self.name].astype(np.float64)


class FunctionCost(Cost):
    """A user's own cost.

    Args:
        facts: of the model.
        name: by which it is asked for.
        function: (facts, config) to a number.
        unit: of the number.
    """

    about = "a cost of the user's"
    needs_configs = True
    falls_with_widths = True

    def __init__(self, facts: ModelFacts, name: str, function: OwnCost, unit: str) -> None:
        super().__init__(facts)
        self.name, self.unit, self._function = name, unit, function

    def __call__(self, config: Config) -> float:
        try:
            value = float(self._function(self.facts, config))
        except Exception as error:
            raise ConfigError(f"the cost {self.name!r} failed: {type(error).__name__}: {error}") from error
        if not np.isfinite(value):
            raise ConfigError(f"the cost {self.name!r} must be a finite number, but is {value}")
        return value

    def batch(self, specs: Specs) -> np.ndarray:
        return np.array([self(config) for config in self._configs(specs)])

    def _configs(self, specs: Specs) -> list[Config]:
        if specs.configs is not None:
            return list(specs.configs)
        raise ConfigError(f"the cost {self.name!r} needs configs, but got arrays alone")


_own: dict[str, tuple[OwnCost, str]] = {}


def register_cost(name: str, function: OwnCost, unit: str = "") -> OwnCost:
    """Make a cost of one's own known by a name; call it in the space file.

    Args:
        name: by which `--cost`, `--limit` and `--objective` ask for it.
        function: (site facts of the model, config) to a number that shall be small; the same for the same arguments.
        unit: of the number.

    Returns:
        The function, so that this can be used as a decorator's body.

    Raises:
        ConfigError: the name is one of mpsearch's costs, or no name.
    """
    if not name.isidentifier() or name in _BUILT_IN:
        raise ConfigError(
            f"a cost needs a name of its own, of letters, digits and _, but got {name!r}; mpsearch's are "
            f"{', '.join(_BUILT_IN)}"
        )
    if not callable(function):
        raise ConfigError(f"a cost must be a function of facts and config, but got {function!r}")
    _own[name] = (function, unit)
    return function


def cost_names() -> list[str]:
    """Names of all costs, mpsearch's first."""
    return [*_BUILT_IN, *_own]


def make_cost(name: str, facts: ModelFacts, device: Device | None = None) -> Cost:
    """The cost called `name`, for a model.

    Raises:
        ConfigError: there is none, or the device lacks what it needs.
    """
    if name in _own:
        return FunctionCost(facts, name, *_own[name])
    if name not in _BUILT_IN:
        hint = suggestion(name, cost_names(), "'") or f"there are {', '.join(cost_names())}"
        raise ConfigError(f"there is no cost {name!r}; {hint}")
    return _BUILT_IN[name](facts, device or Device())


def _latency(facts: ModelFacts, device: Device) -> Cost:
    if device.latencies:
        return TableLatency(facts, device.latencies)
    if device.profile is None:
        raise ConfigError("latency needs a device: --profile NAME, or --latency-table FILE of measured layers")
    return RooflineLatency(facts, device.profile)


def _unsupported(facts: ModelFacts, device: Device) -> Cost:
    if device.profile is None:
        raise ConfigError("which widths are unsupported depends on the device: --profile NAME")
    return UnsupportedProducts(facts, device.profile)


def _ram(facts: ModelFacts, device: Device) -> Cost:
    return RamBytes(facts, device.profile is None or device.profile.packed)


def _energy(facts: ModelFacts, device: Device) -> Cost:
    if device.profile is None:
        return EnergyPj(facts)
    return EnergyPj(facts, device.profile.weights, device.profile.activations)


def _bits(name: str) -> Callable[[ModelFacts, Device], Cost]:
    return lambda facts, device: BitsOf(facts, device.reference, name)


_BUILT_IN: dict[str, Callable[[ModelFacts, Device], Cost]] = {
    "bits": _bits("bits"),
    "parameter_bits": _bits("parameter_bits"),
    "activation_bits": _bits("activation_bits"),
    "flash": lambda facts, device: FlashBytes(facts),
    "ram": _ram,
    "macs": lambda facts, device: Macs(facts),
    "bops": lambda facts, device: Bops(facts),
    "ebops": lambda facts, device: Ebops(facts),
    "accumulator": lambda facts, device: AccumulatorBits(facts),
    "rescaling": lambda facts, device: RescalingMultiplications(facts),
    "energy": _energy,
    "latency": _latency,
    "unsupported": _unsupported,
}
