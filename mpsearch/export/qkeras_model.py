"""The searched model in plain QKeras layers with constant quantizers.

Kernels take `quantized_bits(b, 0, 1, 1, alpha="auto", post_training_scale=s·2^(b-1))`, biases and feature maps
`quantized_linear` with a number for alpha: forms that survive saving and loading (the usual ones compute their scales
anew or lose options).
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import qkeras

from mpsearch.config import Config, QuantizerSpec, RangeRule, Role
from mpsearch.errors import ExportError
from mpsearch.network.adapters import COMPUTE, class_name
from mpsearch.network.elastic import ElasticNetwork
from mpsearch.quantizers.featuremap import QuantizedBitsFeatureMap, grid_of
from mpsearch.quantizers.weights import WeightQuantizer, weight_codes

LAYERS: Mapping[str, tuple[Any, str]] = {
    "Dense": (qkeras.QDense, "kernel_quantizer"),
    "Conv2D": (qkeras.QConv2D, "kernel_quantizer"),
    "DepthwiseConv2D": (qkeras.QDepthwiseConv2D, "depthwise_quantizer"),
}
"""Layer class to its QKeras form and the name of that form's kernel quantizer."""


@dataclass(frozen=True)
class Codes:
    """A quantized weight tensor: value = codes · scale. Codes are integers in float64, scale broadcasts."""

    codes: np.ndarray
    scale: np.ndarray


def check_expressible(config: Config) -> None:
    """Refuse what plain QKeras can't hold.

    Raises:
        ExportError: names the sites.
    """
    affine = [site for site, spec in config.items() if spec.affine]
    batch = [site for site, spec in config.items() if spec.range is RangeRule.BATCH]
    for sites, what in (
        (affine, "codes with a zero-point (affine)"),
        (batch, 'ranges taken from each batch (range="batch")'),
    ):
        if sites:
            raise ExportError(
                f"plain QKeras has no {what}, but these sites have: {', '.join(sites)}; search the space without them"
            )


def weight_codes_of(network: ElasticNetwork, config: Config) -> dict[str, Codes]:
    """Codes and scales of all kernels and biases, for the network's present weights."""
    found = {}
    for site, spec in config.items():
        quantizer = network.quantizer(site)
        if isinstance(quantizer, WeightQuantizer):
            layer, _, attribute = site.partition("/")
            weight = getattr(network.model.get_layer(layer).inner, attribute)
            codes, scale = weight_codes(
                keras.ops.convert_to_tensor(weight), spec.bits, spec.alpha, quantizer.axes, quantizer.integer
            )
            found[site] = Codes(np.asarray(codes, np.float64), np.asarray(scale, np.float32))
    return found


def activation_scale(quantizer: QuantizedBitsFeatureMap) -> float:
    """The step of a feature map's codes, for its present spec and range."""
    convert = keras.ops.convert_to_tensor
    grid = grid_of(quantizer.options, convert(quantizer.spec), convert(quantizer.range), convert(quantizer.sketch))
    return float(grid.scale)


def qkeras_model(network: ElasticNetwork, config: Config) -> keras.Model:
    """The network's present weights and ranges under `config`, as a model of QKeras layers.

    Layers have the float model's names; feature map quantizers are called `<layer>__activation`.

    Raises:
        ExportError: a site has a quantizer that plain QKeras can't hold.
    """
    check_expressible(config)
    codes = weight_codes_of(network, config)
    quantized_inputs: dict[str, Any] = {}

    def feature_map(site: str, x: Any) -> Any:
        if site not in config:
            return x
        quantizer = network.quantizer(site)
        assert isinstance(quantizer, QuantizedBitsFeatureMap)
        function = _activation_quantizer(config[site], quantizer)
        return qkeras.QActivation(function, name=site.replace("/", "__"))(x)

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        def read(x: Any) -> Any:
            source = x._keras_history.operation
            if not isinstance(source, keras.layers.InputLayer) or source.name not in network.placement.outputs:
                return x
            if source.name not in quantized_inputs:
                quantized_inputs[source.name] = feature_map(network.placement.outputs[source.name], x)
            return quantized_inputs[source.name]

        args = keras.tree.map_structure(read, args)
        if layer.name in network.placement.merge_inputs:
            sites = network.placement.merge_inputs[layer.name]
            args = ([x if site is None else feature_map(site, x) for site, x in zip(sites, args[0], strict=True)],)
        if class_name(layer) in COMPUTE:
            layer = _compute(layer, codes, config)
        y = layer(*args, **kwargs)
        site = network.placement.outputs.get(layer.name)
        return y if site is None else feature_map(site, y)

    model = keras.models.clone_model(network.float_model, call_function=call)
    for layer in network.float_model.layers:
        if class_name(layer) in COMPUTE:
            weights = []
            for rule in COMPUTE[class_name(layer)].weights:
                site = f"{layer.name}/{rule.attribute}"
                variable = getattr(network.model.get_layer(layer.name).inner, rule.attribute)
                if variable is not None:
                    weights.append(
                        np.asarray(codes[site].codes * codes[site].scale, np.float32)
                        if site in codes
                        else np.array(variable)
                    )
            model.get_layer(layer.name).set_weights(weights)
    return model


def _compute(layer: Any, codes: Mapping[str, Codes], config: Config) -> Any:
    made, kernel_argument = LAYERS[class_name(layer)]
    known = inspect.signature(made.__init__).parameters
    dropped = {
        "activation",
        "kernel_regularizer",
        "bias_regularizer",
        "depthwise_regularizer",
        "activity_regularizer",
        "dtype",
    }
    options = {
        key: value
        for key, value in layer.get_config().items()
        if (key in known or key == "name") and key not in dropped
    }
    for rule in COMPUTE[class_name(layer)].weights:
        site = f"{layer.name}/{rule.attribute}"
        if site in config:
            argument = kernel_argument if rule.role is Role.KERNEL else "bias_quantizer"
            options[argument] = _weight_quantizer(config[site], codes[site], rule.role)
    return made(**options)


def _weight_quantizer(spec: QuantizerSpec, codes: Codes, role: Role) -> Any:
    if role is Role.BIAS:
        return qkeras.quantized_linear(spec.bits, spec.bits - 1, 1, alpha=float(codes.scale.ravel()[0]))
    frozen = codes.scale.astype(np.float64) * 2.0 ** (spec.bits - 1)
    return qkeras.quantized_bits(spec.bits, 0, 1, 1, alpha="auto", post_training_scale=frozen)


def _activation_quantizer(spec: QuantizerSpec, quantizer: QuantizedBitsFeatureMap) -> Any:
    scale = activation_scale(quantizer)
    if quantizer.signed:
        return qkeras.quantized_linear(spec.bits, spec.bits - 1, 1, alpha=scale)
    return qkeras.quantized_linear(spec.bits, spec.bits, 0, keep_negative=False, alpha=scale)
