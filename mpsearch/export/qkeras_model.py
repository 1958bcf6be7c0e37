"""The searched model in plain QKeras layers with constant quantizers.

Kernels take `quantized_bits(b, 0, 1, 1, alpha="auto", post_training_scale=s·2^(b-1))`, biases and feature maps
`quantized_linear` with a number for alpha: forms that survive saving and loading (the usual ones compute their scales
anew or lose options). Aligned biases have a scale for each channel, of which QKeras has no such form: the layer holds
their values as they are.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import qkeras
from qkeras.qrecurrent import QGRUCell, QLSTMCell, QSimpleRNNCell

from mpsearch.config import Alpha, Config, QuantizerSpec, RangeRule, Role
from mpsearch.errors import ExportError
from mpsearch.network.adapters import Weight, class_name
from mpsearch.network.canonical import copied
from mpsearch.network.codes import Codes, weight_codes_of, weights_of
from mpsearch.network.elastic import ElasticNetwork
from mpsearch.network.graph import Node
from mpsearch.network.sites import with_quantizers
from mpsearch.quantizers.featuremap import QuantizedBitsFeatureMap

LAYERS: Mapping[str, tuple[Any, str]] = {
    "Dense": (qkeras.QDense, "kernel_quantizer"),
    "Conv1D": (qkeras.QConv1D, "kernel_quantizer"),
    "Conv2D": (qkeras.QConv2D, "kernel_quantizer"),
    "Conv2DTranspose": (qkeras.QConv2DTranspose, "kernel_quantizer"),
    "DepthwiseConv2D": (qkeras.QDepthwiseConv2D, "depthwise_quantizer"),
}
"""Layer class to its QKeras form and the name of that form's kernel quantizer. Others stay Keras layers that hold the
quantized values: QKeras has no form of them, or one that loses the `groups` of a Conv2D or the `output_padding` of a
Conv2DTranspose, or that has no causal padding."""

CELLS: Mapping[str, Any] = {"LSTM": QLSTMCell, "GRU": QGRUCell, "SimpleRNN": QSimpleRNNCell}
"""Recurrent layer class to the QKeras cell with a quantized state; `keras.layers.RNN` runs it."""


DROPPED = frozenset(
    {"kernel_regularizer", "bias_regularizer", "depthwise_regularizer", "recurrent_regularizer", "activity_regularizer"}
    | {"seed"}
)
"""Options that matter while training only."""


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


def activation_scale(quantizer: QuantizedBitsFeatureMap) -> float:
    """The step of a feature map's codes, for its present spec and range."""
    return float(quantizer.grid().scale)


def qkeras_model(network: ElasticNetwork, config: Config) -> keras.Model:
    """The network's present weights and ranges under `config`, as a model of QKeras and Keras layers.

    Layers have the float model's names; feature map quantizers are called `<layer>__activation`.

    Raises:
        ExportError: a site has a quantizer that plain QKeras can't hold.
    """
    check_expressible(config)
    codes, placement = weight_codes_of(network, config), network.placement

    def feature_map(site: str, x: Any) -> Any:
        if site not in config:
            return x
        return qkeras.QActivation(_activation_quantizer(network, config, site), name=site.replace("/", "__"))(x)

    model = with_quantizers(placement, feature_map, lambda node: _exported(node, network, codes, config))
    for node in placement.graph.nodes:
        if isinstance(node.layer, keras.layers.Layer) and node.layer.weights:
            made = model.get_layer(node.layer_name)
            made.set_weights(_values(node, network, codes))
            if type(made).__name__ == "Normalization":
                made.finalize_state()
    return model


def exported_kernel(layer: Any, weight: Weight) -> np.ndarray:
    """A kernel's values as a layer of an exported model computes with them, float64."""
    if isinstance(layer, qkeras.QDepthwiseConv2D):
        values = layer.depthwise_quantizer_internal(keras.ops.convert_to_tensor(layer.depthwise_kernel))
    elif getattr(layer, "kernel_quantizer_internal", None) is not None:
        values = layer.kernel_quantizer_internal(keras.ops.convert_to_tensor(layer.kernel))
    else:
        values = keras.ops.convert_to_tensor(weight.of(layer))
    return np.asarray(values, np.float64)


def _values(node: Node, network: ElasticNetwork, codes: Mapping[str, Codes]) -> list[np.ndarray]:
    """The layer's weights in its own order, quantized ones as codes · scale."""
    layer = network.model.get_layer(node.layer_name)
    layer = getattr(layer, "inner", layer)
    quantized = {}
    for weight in weights_of(node):
        site = f"{node.layer_name}/{weight.name}"
        if site in codes:
            quantized[id(weight.of(layer))] = codes[site].values
    return [quantized.get(id(variable), np.array(variable)) for variable in layer.weights]


def _exported(node: Node, network: ElasticNetwork, codes: Mapping[str, Codes], config: Config) -> Any:
    """The layer's exported form, without weights."""
    layer, kind = node.layer, class_name(node.layer)
    given = layer.get_config()
    state = network.placement.states.get(node.layer_name)
    if state is not None and state in config:
        made = CELLS[kind]
        options = {key: given[key] for key in inspect.signature(made.__init__).parameters if key in given}
        cell = made(
            **{key: value for key, value in options.items() if key not in DROPPED},
            state_quantizer=_activation_quantizer(network, config, state),
        )
        run = {key: given[key] for key in inspect.signature(keras.layers.RNN.__init__).parameters if key in given}
        return keras.layers.RNN(cell, **run, name=node.layer_name)
    lost = given.get("groups", 1) != 1 or given.get("output_padding") is not None or given.get("padding") == "causal"
    if kind not in LAYERS or lost:
        return copied(layer, node.layer_name)
    made, kernel_argument = LAYERS[kind]
    known = inspect.signature(made.__init__).parameters
    options = {key: value for key, value in given.items() if key in known and key not in DROPPED}
    for weight in weights_of(node):
        site = f"{node.layer_name}/{weight.name}"
        if site in config:
            argument = kernel_argument if weight.role is Role.KERNEL else "bias_quantizer"
            if config[site].alpha is not Alpha.ALIGNED:
                options[argument] = _weight_quantizer(config[site], codes[site], weight.role)
    return made(**{**options, "activation": None}, name=node.layer_name)


def _weight_quantizer(spec: QuantizerSpec, codes: Codes, role: Role) -> Any:
    if role is Role.BIAS:
        return qkeras.quantized_linear(spec.bits, spec.bits - 1, 1, alpha=float(codes.scale.ravel()[0]))
    frozen = codes.scale.astype(np.float64) * 2.0 ** (spec.bits - 1)
    return qkeras.quantized_bits(spec.bits, 0, 1, 1, alpha="auto", post_training_scale=frozen)


def _activation_quantizer(network: ElasticNetwork, config: Config, site: str) -> Any:
    spec, quantizer = config[site], network.quantizer(site)
    assert isinstance(quantizer, QuantizedBitsFeatureMap)
    scale = activation_scale(quantizer)
    if quantizer.signed:
        return qkeras.quantized_linear(spec.bits, spec.bits - 1, 1, alpha=scale)
    return qkeras.quantized_linear(spec.bits, spec.bits, 0, keep_negative=False, alpha=scale)
