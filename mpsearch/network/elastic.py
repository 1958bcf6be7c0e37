"""The elastic network: one quantized Keras model whose widths and scale modes are variables."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from mpsearch.config import Alpha, Config, RangeRule
from mpsearch.errors import ConfigError
from mpsearch.facts import ModelFacts
from mpsearch.menu import Menu
from mpsearch.network.adapters import COMPUTE, class_name
from mpsearch.network.assign import bulk_assign
from mpsearch.network.canonical import canonical, graph
from mpsearch.network.sites import Placement, place_sites
from mpsearch.quantizers.featuremap import QuantizedBitsFeatureMap, sketch_of
from mpsearch.quantizers.weights import WeightQuantizer, encode
from mpsearch.space import ResolvedSpace, Space

CALIBRATION_SAMPLES = 256
CALIBRATION_BATCH = 32
SKETCHED_VALUES = 200_000  # values of a feature map from which its sketch is made


@keras.saving.register_keras_serializable("mpsearch")
class QuantizedCompute(keras.layers.Layer):
    """A Keras layer that computes with quantized weights; the float weights are trained.

    Args:
        inner: the float layer.
        quantizers: weight attribute (`kernel`, `bias`) to its quantizer.
    """

    def __init__(self, inner: keras.layers.Layer, quantizers: Mapping[str, WeightQuantizer], **kwargs: Any) -> None:
        super().__init__(name=inner.name, **kwargs)
        self.inner = inner
        self.weight_quantizers = dict(quantizers)

    def build(self, shape: tuple[int | None, ...]) -> None:
        if not self.inner.built:
            self.inner.build(shape)
        for attribute, quantizer in self.weight_quantizers.items():
            quantizer.build(tuple(getattr(self.inner, attribute).shape))

    def call(self, x: Any) -> Any:
        # the layer's own code runs, reading quantized values in place of its variables
        values = {id(v): (v, keras.ops.convert_to_tensor(v)) for v in self.inner.variables}
        for attribute, quantizer in self.weight_quantizers.items():
            variable = getattr(self.inner, attribute)
            values[id(variable)] = (variable, quantizer(values[id(variable)][1]))
        with keras.StatelessScope(state_mapping=list(values.values())):
            return self.inner.call(x)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return tuple(self.inner.compute_output_shape(shape))


class ElasticNetwork:
    """The quantized network of a process: built and traced once, switched from config to config by numbers.

    Args:
        model: the float model, weights included; it is not changed.
        space: which sites are quantized, and with which unchangeable options (sign, zero-point, integer bits).
        samples: model inputs, shape (n, ...), on which feature maps' ranges are calibrated.
        nonnegative_inputs: whether no model input is ever below zero; default: whether no sample is.
        extra_alphas: scale modes that sites with data-dependent scales can take besides those of their menus.

    Attributes:
        model: the quantized Keras model, float until `set_config`.
        float_model: the canonical float model it was made of.
        placement: where its sites are.
        facts: facts of its sites.
        space: the resolved space.
        state_variables: the variables that training changes: weights, then ranges.

    Raises:
        ModelError: the model can't be quantized.
        SpaceError: the space doesn't fit the model.
    """

    def __init__(
        self,
        model: keras.Model,
        space: Space,
        samples: np.ndarray,
        nonnegative_inputs: bool | None = None,
        extra_alphas: Sequence[Alpha] = (),
    ) -> None:
        if nonnegative_inputs is None:
            nonnegative_inputs = bool(np.min(samples) >= 0.0)
        self.float_model = canonical(model)
        self.placement: Placement = place_sites(
            self.float_model, model, nonnegative_inputs, space.requantize_merge_inputs
        )
        self.facts: ModelFacts = self.placement.facts
        self.space: ResolvedSpace = space.resolve(self.facts)
        self._extra_alphas = tuple(extra_alphas)
        self._quantizers: dict[str, WeightQuantizer | QuantizedBitsFeatureMap] = {}
        self.model = self._build()
        self._calibrate(samples[:CALIBRATION_SAMPLES])
        ranges = [q.range for q in self._quantizers.values() if isinstance(q, QuantizedBitsFeatureMap)]
        self.state_variables = [*self.model.trainable_variables, *ranges]
        self._assign_state = bulk_assign(self.state_variables)
        self._assign_specs = bulk_assign([q.spec for q in self._quantizers.values()])
        self._initial = [keras.ops.copy(v) for v in self.state_variables]

    def set_config(self, config: Config | None) -> None:
        """Restore float weights and calibrated ranges, and set every width and scale mode. Nothing is retraced.

        Args:
            config: the specs, one for each quantized site, or None for the float network.

        Raises:
            ConfigError: a site is missing or unknown, or an option differs from the one built in.
        """
        self.assign_specs(config)
        self.load_state(self._initial)

    def assign_specs(self, config: Config | None) -> None:
        """Set every width and scale mode, and leave weights and ranges as they are."""
        if config is not None:
            self._check(config)
        specs = [encode(None if config is None else config[site]) for site in self._quantizers]
        self._assign_specs(np.array(specs, dtype=np.int32))

    def load_state(self, state: Sequence[np.ndarray]) -> None:
        """Assign weights and ranges as given by `state`."""
        self._assign_state(state)

    def state(self) -> list[np.ndarray]:
        """Copies of weights and ranges, in a fixed order."""
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
        quantized_inputs: dict[str, Any] = {}

        def feature_map(site: str, x: Any) -> Any:
            if site not in menus:
                return x
            layer = self._feature_map(site, menus[site])
            self._quantizers[site] = layer
            return layer(x)

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            def read(x: Any) -> Any:
                """A model input, quantized once for all its readers; other tensors as they are."""
                source = str(x._keras_history.operation.name)
                site = self.placement.outputs.get(source)
                if not isinstance(x._keras_history.operation, keras.layers.InputLayer) or site is None:
                    return x
                if source not in quantized_inputs:
                    quantized_inputs[source] = feature_map(site, x)
                return quantized_inputs[source]

            args = keras.tree.map_structure(read, args)
            if layer.name in self.placement.merge_inputs:
                sites = self.placement.merge_inputs[layer.name]
                args = ([x if site is None else feature_map(site, x) for site, x in zip(sites, args[0], strict=True)],)
            if class_name(layer) in COMPUTE:
                layer = self._compute(layer)
            y = layer(*args, **kwargs)
            site = self.placement.outputs.get(layer.name)
            return y if site is None else feature_map(site, y)

        model = keras.models.clone_model(self.float_model, call_function=call)
        for layer in self.float_model.layers:
            if class_name(layer) in COMPUTE:
                model.get_layer(layer.name).inner.set_weights(layer.get_weights())
        self._quantizers = {site: self._quantizers[site] for site in self.space.sites}
        return model

    def _compute(self, layer: Any) -> QuantizedCompute:
        quantizers = {}
        for rule in COMPUTE[class_name(layer)].weights:
            site = f"{layer.name}/{rule.attribute}"
            if site in self.space.menus:
                ndim = len(self.facts.by_name[site].shape)
                menu = self.space.menus[site]
                quantizer = WeightQuantizer(tuple(rule.shared_axes(ndim)), self._alphas(menu), menu.integer)
                quantizers[rule.attribute] = self._quantizers[site] = quantizer
        return QuantizedCompute(layer, quantizers)

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

    def _calibrate(self, samples: np.ndarray) -> None:
        """Set the range and sketch of each feature map from the float network's values."""
        layers = {
            site: quantizer
            for site, quantizer in self._quantizers.items()
            if isinstance(quantizer, QuantizedBitsFeatureMap) and quantizer.integer is None
        }
        if not layers:
            return
        tensors = [self.float_model.get_layer(self.placement.tensors[site]).output for site in layers]
        probe = graph(self.float_model, tensors)
        ranges = np.zeros((len(layers), 2))
        kept: list[list[np.ndarray]] = [[] for _ in layers]
        rng = np.random.default_rng(0)
        batches = -(-len(samples) // CALIBRATION_BATCH)
        for start in range(0, len(samples), CALIBRATION_BATCH):
            values = probe(samples[start : start + CALIBRATION_BATCH], training=False)
            for i, tensor in enumerate(values if isinstance(values, (list, tuple)) else [values]):
                flat = np.asarray(tensor).ravel()
                low, high = float(flat.min()), float(flat.max())
                ranges[i] = (low, high) if start == 0 else (min(ranges[i, 0], low), max(ranges[i, 1], high))
                share = SKETCHED_VALUES // batches
                kept[i].append(flat if len(flat) <= share else rng.choice(flat, share, replace=False, shuffle=False))
        for layer, extremes, values in zip(layers.values(), ranges, kept, strict=True):
            layer.range.assign(extremes.astype(np.float32))
            layer.sketch.assign(sketch_of(np.concatenate(values)))
