"""Bit cost: AutoQKeras's "forgiving bits", in the form of Chen's thesis.

    size = Σ elements · bits over kernels, biases and activation quantizers
           + input elements · input_bits + softmax elements · output_bits

The batch dimension is left out; a site that stays in float counts 32 bits. Output bits count only where a softmax
layer stands on its own.
Source: C. N. Coelho et al., *Automatic heterogeneous quantization of deep neural networks for low-latency inference
on the edge for particle detectors*, Nature Machine Intelligence 3, 2021 (forgiving factor over model size), and
Y. Chen, *Efficient Mixed-Precision Quantization of Deep Neural Networks for Edge Applications*, Politecnico di
Torino, 2024 (the reference widths and the activations of inputs).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from mpsearch.config import FLOAT_BITS, MAX_BITS, Config, QuantizerSpec, Role
from mpsearch.errors import ConfigError
from mpsearch.facts import ModelFacts, SiteFacts
from mpsearch.patterns import Pattern, Selector, select


@dataclass(frozen=True)
class ReferenceBits:
    """Widths of the config that costs are compared with, and of the model's ends.

    Attributes:
        kernel, bias, activation: reference width of each role, in bits.
        input, output: bits of an input element, and of an output element of a softmax layer of its own; 0 leaves them
            out.
        at: reference widths of some sites: pattern (as in a space's statements) to role to bits, for instance
            `{"logits": {"kernel": 8}, "DepthwiseConv2D": {"kernel": 8, "activation": 8}}`; the last that matches wins.
    """

    kernel: int = 16
    bias: int = 31
    activation: int = 16
    input: int = 8
    output: int = 8
    at: Mapping[Pattern, Mapping[str, int]] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        for pattern, widths in self.at.items():
            text = Selector(pattern).call("at")
            if not isinstance(widths, Mapping) or not widths or set(widths) - {role.value for role in Role}:
                raise ConfigError(
                    f"ReferenceBits: {text} needs widths by role ({', '.join(Role)}), for instance "
                    f'{{"kernel": 8}}, but got {widths!r}'
                )
            for role, width in widths.items():
                _check_width(f"{text} {role}", width, 1)
        for name, low in (("kernel", 1), ("bias", 1), ("activation", 1), ("input", 0), ("output", 0)):
            _check_width(name, getattr(self, name), low)

    def of(self, role: Role) -> int:
        """Reference width of a role, in bits."""
        return {Role.KERNEL: self.kernel, Role.BIAS: self.bias, Role.ACTIVATION: self.activation}[role]

    def widths(self, facts: ModelFacts) -> dict[str, int]:
        """Reference width of each site, in bits.

        Raises:
            SpaceError: a pattern of `at` matches no site.
        """
        found = {site.name: self.of(site.role) for site in facts.sites}
        for pattern, widths in self.at.items():
            selector = Selector(pattern)
            for role, width in widths.items():
                statement = f"ReferenceBits: {selector.call('at', f'{role}={width}')}"
                found.update(dict.fromkeys(select(statement, selector, facts, (Role(role),)), width))
        return found


def _check_width(name: str, value: object, low: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= MAX_BITS:
        raise ConfigError(f"`{name}` must be an integer from {low} to {MAX_BITS} bits, but ReferenceBits got {value!r}")


@dataclass(frozen=True)
class Bits:
    """Bit costs of one config, in bits.

    Attributes:
        parameter_bits: kernels and biases.
        activation_bits: activation quantizers, inputs and softmax outputs.
    """

    parameter_bits: int
    activation_bits: int

    @property
    def total_bits(self) -> int:
        """Both together: the size that the Forgiving Factor compares."""
        return self.parameter_bits + self.activation_bits


@dataclass(frozen=True)
class BitCost:
    """The bit cost of a model's configs.

    Args:
        facts: of the model.
        reference: widths of the reference and of the model's ends.

    Raises:
        SpaceError: the reference names sites that the model doesn't have.
    """

    facts: ModelFacts
    reference: ReferenceBits = field(default_factory=ReferenceBits)

    def __post_init__(self) -> None:
        self.reference.widths(self.facts)

    @cached_property
    def sites(self) -> tuple[str, ...]:
        """Site names in the order of `batch`'s columns."""
        return tuple(site.name for site in self.facts.sites)

    @cached_property
    def _elements(self) -> np.ndarray:
        return np.array([site.elements for site in self.facts.sites], dtype=np.int64)

    @cached_property
    def _is_activation(self) -> np.ndarray:
        return np.array([site.role is Role.ACTIVATION for site in self.facts.sites])

    @cached_property
    def _ends_bits(self) -> int:
        """Bits of the model's inputs and softmax outputs."""
        return self.facts.input_elements * self.reference.input + self.facts.softmax_elements * self.reference.output

    def widths(self, configs: Iterable[Config]) -> np.ndarray:
        """Widths of all sites, in bits: int64 (configs, sites); sites that a config leaves in float have 32.

        Raises:
            ConfigError: a config has a site that the model doesn't have.
        """
        known = set(self.sites)
        rows = []
        for config in configs:
            if not known.issuperset(config):
                raise ConfigError(
                    f"the config has sites that `{self.facts.name}` doesn't have: {sorted(set(config) - known)}"
                )
            rows.append([config[site].bits if site in config else FLOAT_BITS for site in self.sites])
        return np.array(rows, dtype=np.int64).reshape(-1, len(self.sites))

    def batch(self, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Parameter bits and activation bits of many configs at once.

        Args:
            widths: bits of each site, (configs, sites), columns as in `sites`.

        Returns:
            Two int64 arrays of shape (configs,).
        """
        widths = np.asarray(widths, dtype=np.int64)
        if widths.ndim != 2 or widths.shape[1] != len(self.sites):
            raise ConfigError(f"`widths` must have shape (configs, {len(self.sites)}), but got {widths.shape}")
        parameters = widths @ np.where(self._is_activation, 0, self._elements)
        activations = widths @ np.where(self._is_activation, self._elements, 0) + self._ends_bits
        return parameters, activations

    def parts(self, widths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Parameter bits and activation bits of each site, and of the model's ends in the last column.

        Args:
            widths: as of `batch`.

        Returns:
            Two int64 arrays of shape (configs, sites + 1).
        """
        bits = np.column_stack([widths * self._elements, np.full(len(widths), self._ends_bits)])
        is_activation = np.append(self._is_activation, True)
        return np.where(is_activation, 0, bits), np.where(is_activation, bits, 0)

    def price(self, site: SiteFacts, spec: QuantizerSpec) -> int:
        """What a site adds to the bit cost with a spec, in bits."""
        return site.elements * spec.bits

    def __call__(self, config: Config) -> Bits:
        """The bit costs of one config."""
        parameters, activations = self.batch(self.widths([config]))
        return Bits(int(parameters[0]), int(activations[0]))

    @cached_property
    def reference_cost(self) -> Bits:
        """The bit costs of the reference widths."""
        widths = self.reference.widths(self.facts)
        parameters, activations = self.batch(np.array([[widths[site] for site in self.sites]]))
        return Bits(int(parameters[0]), int(activations[0]))
