"""Post-training quantization to 8 bits: nothing is trained, a few samples give the ranges.

The form is the usual one of 8-bit inference: kernels with symmetric codes and a scale per output channel, biases of 32
bits, feature maps with affine codes, one scale and zero-point per tensor.
Source: R. Krishnamoorthi, *Quantizing deep convolutional networks for efficient inference: A whitepaper*,
arXiv:1806.08342, sections 2 and 3.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import keras
import numpy as np

from mpsearch.baselines.correction import CORRECTION_SAMPLES, BiasCorrection
from mpsearch.baselines.equalization import Pair, Weights, equalized
from mpsearch.baselines.ranges import RangeMethod, range_of
from mpsearch.config import Config, QuantizerSpec, Role
from mpsearch.menu import bits
from mpsearch.network.adapters import adapter_of
from mpsearch.network.calibration import Observed, observe
from mpsearch.network.compute import QuantizedCompute
from mpsearch.quantizers.featuremap import QuantizedBitsFeatureMap
from mpsearch.searching.engine import Engine
from mpsearch.space import Space

WIDTH, BIAS_WIDTH = 8, 32


@dataclass(frozen=True)
class Seen:
    """What calibration saw.

    Attributes:
        sites: activation site to its values.
        seconds: wall time.
    """

    sites: dict[str, Observed]
    seconds: float


def int8_engine(engine: Engine) -> Engine:
    """An engine of the same task whose sites have 8 bits; those that the space leaves in float stay so."""
    given = engine.file.space
    space = Space(
        kernel=bits(WIDTH, alpha="auto"),
        bias=bits(BIAS_WIDTH, alpha="auto"),
        activation=bits(WIDTH, alpha="auto", affine=True),
        requantize_merge_inputs=given.requantize_merge_inputs,
        batch_norm=given.batch_norm,
    )
    floats = frozenset(engine.network.space.floats)
    if floats:
        space.skip("*", where=lambda site: site.name in floats)
    return Engine(replace(engine.file, space=space), data=engine.data, goal=engine.scoring.goal)


def int8_config(engine: Engine) -> Config:
    """The config of post-training quantization and of 8-bit training for the sites of an engine's space."""
    space, by_name = engine.network.space, engine.network.facts.by_name
    specs = {
        Role.KERNEL: QuantizerSpec(WIDTH),
        Role.BIAS: QuantizerSpec(BIAS_WIDTH),
        Role.ACTIVATION: QuantizerSpec(WIDTH, affine=True),
    }
    return Config({site: specs[by_name[site].role] for site in space.sites})


def kernels_of(config: Config, engine: Engine) -> Config:
    """A config's kernels alone."""
    by_name = engine.network.facts.by_name
    return Config({site: spec for site, spec in config.items() if by_name[site].role is Role.KERNEL})


class PostTraining:
    """Brings a network into the states that post-training quantization gives.

    Args:
        engine: of `int8_engine`.
        samples: of the training split, for calibration.
    """

    def __init__(self, engine: Engine, samples: int) -> None:
        self.engine, self.network = engine, engine.network
        self._samples = engine.samples(samples)
        self.config = int8_config(engine)
        self._float_weights = {name: self._layer(name).get_weights() for name in self._computing()}

    def dynamic_range(self) -> None:
        """Kernels on an affine grid of 8 bits per output channel; all else in float."""
        self.reset(None)
        for name, layer in self._computing().items():
            for weight in adapter_of(layer).kernels:
                if f"{name}/{weight.name}" in self.config:
                    variable = weight.of(self._layer(name))
                    values = np.asarray(keras.ops.convert_to_numpy(variable))
                    variable.assign(affine_codes(values, weight.shared_axes(values.ndim)))

    def reset(self, config: Config | None) -> None:
        """Set a config at the float weights, those of frozen layers as well, which no training changes."""
        self.network.set_config(config)
        self._assign(self._float_weights)

    def static(self, method: RangeMethod, equalize: bool = False) -> float:
        """All sites in 8 bits, with ranges by a method; the seconds that calibration takes, which isn't done again.

        Args:
            method: for the ranges.
            equalize: cross-layer equalization first.
        """
        seen = self.seen_equalized if equalize else self.seen
        self.reset(self.config)
        if equalize:
            self._assign(self.equalized[0])
        for site, observed in seen.sites.items():
            quantizer = self.network.quantizer(site)
            assert isinstance(quantizer, QuantizedBitsFeatureMap)
            quantizer.range.assign(np.array(range_of(method, observed), dtype=np.float32))
        return seen.seconds

    @cached_property
    def correction(self) -> BiasCorrection:
        """Corrects the biases of whatever state the network is in."""
        return BiasCorrection(self.network, self.engine.samples(CORRECTION_SAMPLES))

    @cached_property
    def equalized(self) -> tuple[Weights, Sequence[Pair]]:
        """The float weights after cross-layer equalization, and the pairs of layers."""
        return equalized(self.network.placement.graph)

    @cached_property
    def seen(self) -> Seen:
        """What calibration saw of the float weights."""
        started = time.perf_counter()
        sites = [site for site in self.config if self._role(site) is Role.ACTIVATION]
        found = observe(self.network.float_model, self.network.placement, sites, self._samples)
        return Seen(found, time.perf_counter() - started)

    @cached_property
    def seen_equalized(self) -> Seen:
        """What calibration saw after cross-layer equalization, that included in the time."""
        started = time.perf_counter()
        model = self.network.float_model
        before = model.get_weights()
        try:
            for name, arrays in self.equalized[0].items():
                model.get_layer(name).set_weights(arrays)
            sites = [site for site in self.config if self._role(site) is Role.ACTIVATION]
            found = observe(model, self.network.placement, sites, self._samples)
        finally:
            model.set_weights(before)
        return Seen(found, time.perf_counter() - started)

    def _assign(self, weights: Weights) -> None:
        for name, arrays in weights.items():
            self._layer(name).set_weights(arrays)

    def _computing(self) -> dict[str, Any]:
        """Name to float layer, of those with kernels."""
        nodes = self.network.placement.graph.nodes
        return {
            node.layer_name: node.layer
            for node in nodes
            if isinstance(node.layer, keras.layers.Layer) and node.layer.weights and adapter_of(node.layer).kernels
        }

    def _layer(self, name: str) -> Any:
        """The float layer inside the network's layer."""
        layer = self.network.model.get_layer(name)
        return layer.inner if isinstance(layer, QuantizedCompute) else layer

    def _role(self, site: str) -> Role:
        return self.network.facts.by_name[site].role


def affine_codes(w: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """`w` on an affine grid of 8 bits, over the range of the values that share a scale, zero included.

    Args:
        w: float32, any shape.
        axes: axes that share a scale.
    """
    wide = w.astype(np.float64)
    low = np.minimum(wide.min(axis=tuple(axes), keepdims=True), 0.0)
    high = np.maximum(wide.max(axis=tuple(axes), keepdims=True), 0.0)
    scale = np.where(high > low, (high - low) / (2**WIDTH - 1), 1.0)
    zero = np.round(-low / scale)
    codes = np.clip(np.round(wide / scale) + zero, 0, 2**WIDTH - 1)
    return np.asarray((codes - zero) * scale, dtype=np.float32)
