"""The elastic network: one quantized Keras model whose widths and scale modes are variables."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mpsearch.config import Alpha, Config, RangeRule
from mpsearch.errors import ConfigError
from mpsearch.facts import ModelFacts
from mpsearch.menu import Menu
from mpsearch.network.adapters import adapter_of
from mpsearch.network.alignment import Alignment
from mpsearch.network.assign import bulk_assign
from mpsearch.network.calibration import CALIBRATION_SAMPLES, observe
from mpsearch.network.canonical import canonical, copied
from mpsearch.network.compute import QuantizedCompute, QuantizedRecurrent
from mpsearch.network.graph import Node
from mpsearch.network.sites import Placement, place_sites, with_quantizers
from mpsearch.quantizers.featuremap import QuantizedBitsFeatureMap, sketch_of
from mpsearch.quantizers.weights import WeightQuantizer, encode
from mpsearch.space import ResolvedSpace, Space


class ElasticNetwork:
    """The quantized network of a process: built and traced once, switched from config to config by numbers.

    Args:
        model: the float model, weights included; it is not changed.
        space: which sites are quantized, and with which unchangeable options (sign, zero-point, integer bits).
        samples: model inputs, each of shape (n, ...), in the structure that the model takes; feature maps' ranges are
            calibrated on them.
        nonnegative_inputs: whether no model input is ever below zero; default: whether no sample is.
        extra_alphas: scale modes that sites with data-dependent scales can take besides those of their menus.

    Attributes:
        model: the quantized Keras model, float until `set_config`.
        float_model: the canonical float model it was made of.
        placement: where its sites are.
        facts: facts of its sites.
        space: the resolved space.
        state_variables: the variables that training changes: weights, then ranges, then the state of users' layers,
            such as a running mean.

    Raises:
        ModelError: the model can't be quantized.
        SpaceError: the space doesn't fit the model.
    """

    def __init__(
        self,
        model: keras.Model,
        space: Space,
        samples: Any,
        nonnegative_inputs: bool | None = None,
        extra_alphas: Sequence[Alpha] = (),
    ) -> None:
        if nonnegative_inputs is None:
            nonnegative_inputs = all(float(np.min(x)) >= 0.0 for x in keras.tree.flatten(samples))
        self.float_model = canonical(model, space.batch_norm == "keep")
        self.placement: Placement = place_sites(
            self.float_model, model, nonnegative_inputs, space.requantize_merge_inputs
        )
        self.facts: ModelFacts = self.placement.facts
        self.space: ResolvedSpace = space.resolve(self.facts)
        self._extra_alphas = tuple(extra_alphas)
        self._quantizers: dict[str, WeightQuantizer | QuantizedBitsFeatureMap] = {}
        self._states: list[Any] = []
        self.model = self._build()
        self._calibrate(keras.tree.map_structure(lambda x: x[:CALIBRATION_SAMPLES], samples))
        ranges = [q.range for q in self._quantizers.values() if isinstance(q, QuantizedBitsFeatureMap)]
        self.state_variables = [*self.model.trainable_variables, *ranges, *self._states]
        self._assign_state = bulk_assign(self.state_variables)
        self._assign_specs = bulk_assign([q.spec for q in self._quantizers.values()])
        self._initial = [keras.ops.copy(v) for v in self.state_variables]

    def set_config(self, config: Config | None) -> None:
        """Restore float weights, calibrated ranges and layers' state, and set every width and scale mode.

        Nothing is retraced.

        Args:
            config: the specs, one for each quantized site, or None for the float network.

        Raises:
            ConfigError: a site is missing or unknown, or an option differs from the one built in.
        """
        self.assign_specs(config)
        self.load_state(self._initial)

    def assign_specs(self, config: Config | None) -> None:
        """Set every width and scale mode, and leave weights, ranges and layers' state as they are."""
        if config is not None:
            self._check(config)
        specs = [encode(None if config is None else config[site]) for site in self._quantizers]
        self._assign_specs(np.array(specs, dtype=np.int32))

    def load_state(self, state: Sequence[np.ndarray]) -> None:
        """Assign weights, ranges and layers' state as given by `state`."""
        self._assign_state(state)

    def state(self) -> list[np.ndarray]:
        """Copies of weights, ranges and layers' state, in a fixed order."""
        return [np.array(keras.ops.convert_to_numpy(v)) for v in self.state_variables]

    def quantizer(self, site: str) -> WeightQuantizer | QuantizedBitsFeatureMap:
        """The quantizer layer of a site."""
        return self._quantizers[site]

    def _check(self, config: Config) -> None:
        if set(config) != set(self._quantizers):
            missing, extra = sorted(set(self._quantizers) - set(config)), sorted(set(config) - set(self._quantizers))
            raise ConfigError(f"the config's sites aren't the network's: missing {missing}, unknown {extra}")
        for site, spec in config.items():
            built = self.space.menus[site].specs[0]
            if spec.alpha not in self._alphas(self.space.menus[site]):
                raise ConfigError(
                    f"`{site}` is built for the scale modes of its menu ({self.space.menus[site]}), but "
                    f"the config has {spec}"
                )
            for option in ("integer", "signed", "affine", "range"):
                if getattr(spec, option) != getattr(built, option):
                    raise ConfigError(
                        f"`{site}` is built with {option}={getattr(built, option)}, but the config has "
                        f"{getattr(spec, option)}"
                    )

    def _build(self) -> keras.Model:
        menus = self.space.menus

        def feature_map(site: str, x: Any) -> Any:
            if site not in menus:
                return x
            self._quantizers[site] = self._feature_map(site, menus[site])
            return self._quantizers[site](x)

        model = with_quantizers(self.placement, feature_map, self._copy)
        self._quantizers = {site: self._quantizers[site] for site in self.space.sites}
        return model

    def _copy(self, node: Node) -> Any:
        """A float layer's quantized form, with its weights."""
        layer, adapter = node.layer, adapter_of(node.layer)
        inner = copied(layer, node.layer_name)
        if layer.built:
            inner.build_from_config(layer.get_build_config() or {})
        inner.set_weights(layer.get_weights())
        if type(layer).__name__ == "Normalization":
            inner.finalize_state()
        self._states.extend(_state_of(inner))
        quantizers = {}
        for weight in adapter.weights:
            site = f"{node.layer_name}/{weight.name}"
            if site in self.space.menus:
                ndim = len(self.facts.by_name[site].shape)
                menu = self.space.menus[site]
                quantizer = WeightQuantizer(weight.shared_axes(ndim), self._alphas(menu), menu.integer)
                quantizers[weight.attribute] = self._quantizers[site] = quantizer
        if adapter.recurrent:
            site = self.placement.states[node.layer_name]
            state = None
            if site in self.space.menus:
                state = self._quantizers[site] = self._feature_map(site, self.space.menus[site])
            return QuantizedRecurrent(inner, quantizers, state)
        return QuantizedCompute(inner, quantizers, self._alignment(node)) if adapter.weights else inner

    def _alignment(self, node: Node) -> Alignment | None:
        """What the unit of a layer's sums follows from, where its bias may be aligned."""
        weights = {f"{node.layer_name}/{weight.name}": weight for weight in adapter_of(node.layer).weights}
        for site, weight in weights.items():
            if site in self.space.menus and Alpha.ALIGNED in self._alphas(self.space.menus[site]):
                factors = self.facts.factors(site)
                assert factors is not None  # or the space would have been refused
                kernel, read = factors
                feature_map = self._quantizers[read]
                assert isinstance(feature_map, QuantizedBitsFeatureMap)
                scales = self.facts.by_name[kernel].scales
                return Alignment(weights[kernel].attribute, weight.attribute, scales, feature_map)
        return None

    def _feature_map(self, site: str, menu: Menu) -> QuantizedBitsFeatureMap:
        negative = self.facts.by_name[site].negative
        return QuantizedBitsFeatureMap(
            signed=negative if menu.signed is None else menu.signed,
            affine=bool(menu.affine),
            alphas=self._alphas(menu),
            integer=menu.integer,
            range_rule=(menu.range or RangeRule.MOVING).value,
            name=site.replace("/", "__"),
        )

    def _alphas(self, menu: Menu) -> tuple[Alpha, ...]:
        """The scale modes that a site's quantizer must be able to take."""
        own = [spec.alpha for spec in menu.specs]
        return tuple(dict.fromkeys(own if Alpha.FIXED in own else [*own, *self._extra_alphas]))

    def _calibrate(self, samples: Any) -> None:
        """Set the range and sketch of each feature map from the float network's values."""
        layers = {
            site: quantizer
            for site, quantizer in self._quantizers.items()
            if isinstance(quantizer, QuantizedBitsFeatureMap) and quantizer.integer is None
        }
        for site, seen in observe(self.float_model, self.placement, tuple(layers), samples).items():
            layers[site].range.assign(np.array((seen.low, seen.high), dtype=np.float32))
            layers[site].sketch.assign(sketch_of(seen.values))


def _state_of(layer: Any) -> list[Any]:
    """What a user's layer keeps from batch to batch: its non-trainable variables, without those of random numbers.

    Keras's own layers have constants alone, see `canonical`. Weights of a frozen layer are none of its state.
    """
    if type(layer).__module__.startswith("keras."):
        return []
    return [variable for part in layer._flatten_layers() for variable in part._non_trainable_variables]
