"""From the elastic network, with a config and weights set, to a `Program`."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import keras
import numpy as np

from mpsearch.config import Config, RangeRule
from mpsearch.errors import ExportError
from mpsearch.export.functions import Function
from mpsearch.export.keras_functions import function_of
from mpsearch.export.program import Grid, Operation, Program, Weight
from mpsearch.network.adapters import Output, activation_name, adapter_of, class_name, is_function
from mpsearch.network.codes import Codes, weight_codes_of
from mpsearch.network.elastic import ElasticNetwork
from mpsearch.network.graph import Node, Tensor
from mpsearch.quantizers.featuremap import QuantizedBitsFeatureMap

PASSED = frozenset(("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianNoise",
    "GaussianDropout", "AlphaDropout", "ActivityRegularization", "StochasticDepth", "Identity"))  # fmt: skip
"""Layers that do nothing but while training."""

_MERGES = {
    "Add": "add",
    "Subtract": "subtract",
    "Multiply": "multiply",
    "Maximum": "maximum",
    "Minimum": "minimum",
    "Average": "average",
}


def program_of(network: ElasticNetwork, config: Config | None) -> Program:
    """The program of a network's present weights and ranges.

    Args:
        network: with the config set.
        config: the specs, or None for the float network.

    Raises:
        ExportError: a layer, or an option of one, that programs don't have.
    """
    graph = network.placement.graph
    if config is not None:
        _check_ranges(config)
    codes = {} if config is None else weight_codes_of(network, config)
    made = _Builder(network, config or Config({}), codes)
    for node in graph.nodes:
        made.add(node)
    outputs = tuple(made.name(tensor) for tensor in graph.output_tensors)
    inputs = {tensor.node: made.inputs[tensor.node] for tensor in keras.tree.flatten(graph.inputs)}
    return Program(graph.name, inputs, tuple(made.operations), outputs, made.grids, made.sites)


def _check_ranges(config: Config) -> None:
    batch = [site for site, spec in config.items() if spec.range is RangeRule.BATCH]
    if batch:
        raise ExportError(
            f'ranges taken from each batch (range="batch") exist in no file, but these sites have them: '
            f"{', '.join(batch)}; search the space without them"
        )


class _Builder:
    """What of a program is made so far."""

    def __init__(self, network: ElasticNetwork, config: Config, codes: Mapping[str, Codes]) -> None:
        self.network, self.config, self.codes = network, config, codes
        self.inputs: dict[str, tuple[int, ...]] = {}
        self.operations: list[Operation] = []
        self.grids: dict[str, Grid] = {}
        self.sites: dict[str, str] = {}
        self._names: dict[Tensor, str] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}

    def name(self, tensor: Tensor) -> str:
        """What a tensor of the graph is called."""
        return self._names[tensor]

    def add(self, node: Node) -> None:
        """Append what a node does."""
        layer: Any = node.layer
        if isinstance(layer, keras.layers.Layer) and not node.is_input:
            layer = self.network.model.get_layer(node.layer_name)
            layer = getattr(layer, "inner", layer)
        if len(node.shapes) != 1:
            raise _unknown(node, "makes several tensors")
        if node.is_input:
            if not keras.backend.is_float_dtype(node.layer.dtype):
                raise _unknown(node, f"is an input of {node.layer.dtype}")
            self.inputs[node.name] = node.shape
            self._finish(node, node.name)
            return
        inputs = self._read(node)
        if class_name(layer) in PASSED:
            self._finish(node, inputs[0])
            return
        operation = self._operation(node, layer, inputs)
        self.operations.append(operation)
        self._shapes[operation.name] = operation.shape
        self._finish(node, node.name)

    def _finish(self, node: Node, name: str) -> None:
        """Give a node's tensor its name and, where it has a site, its codes."""
        tensor = node.tensors[0]
        site = self.network.placement.outputs.get(tensor)
        self._names[tensor] = name
        self._shapes.setdefault(name, node.shape)
        if site in self.config:
            if name in self.grids or name != node.name:
                name = self._requantized(name, node.name if name != node.name else f"{node.name}__quantized")
                self._names[tensor] = name
            self._quantize(name, str(site))

    def _quantize(self, name: str, site: str) -> None:
        spec, quantizer = self.config[site], self.network.quantizer(site)
        assert isinstance(quantizer, QuantizedBitsFeatureMap)
        grid = quantizer.grid()
        zero, low, high = (round(float(number)) for number in (grid.zero, grid.low, grid.high))
        self.grids[name] = Grid(spec.bits, float(grid.scale), low - zero, high - zero)
        self.sites[name] = site

    def _requantized(self, source: str, name: str) -> str:
        """Append a copy of a tensor that gets codes of its own."""
        self.operations.append(
            Operation(name, "function", (source,), self._shapes[source], function=Function("identity"))
        )
        self._shapes[name] = self._shapes[source]
        return name

    def _read(self, node: Node) -> tuple[str, ...]:
        """Names of a node's inputs; those of a merge that are requantized as their own tensors."""
        names = [self._names[tensor] for tensor in node.inputs]
        for i, site in enumerate(self.network.placement.merge_inputs.get(node.name, ())):
            if site in self.config:
                assert site is not None
                names[i] = self._requantized(names[i], site.replace("/", "__"))
                self._quantize(names[i], site)
        return tuple(names)

    def _of_one_rank(self, node: Node, names: tuple[str, ...]) -> tuple[str, ...]:
        """Inputs of a merge with axes of size one behind the batch dimension, as Keras's layers broadcast them."""
        rank = max(len(self._shapes[name]) for name in names)
        found = []
        for number, name in enumerate(names):
            shape = self._shapes[name]
            if len(shape) < rank:
                if not isinstance(node.layer, keras.layers.Layer):
                    raise _unknown(node, "joins tensors with different numbers of axes")
                wide = (*(1,) * (rank - len(shape)), *shape)
                name = f"{node.name}__input_{number}"
                self.operations.append(Operation(name, "reshape", (names[number],), wide))
                self._shapes[name] = wide
            found.append(name)
        return tuple(found)

    def _weight(
        self, node: Node, layer: Any, attribute: str, arrange: Callable[[np.ndarray], np.ndarray]
    ) -> Weight | None:
        """A weight of a layer by the name that its site has, arranged as programs have it."""
        weight = next((w for w in adapter_of(node.layer).weights if w.name == attribute), None)
        if weight is None or weight.of(layer) is None:
            return None
        site = f"{node.layer_name}/{attribute}"
        if site not in self.codes:
            values = arrange(np.array(weight.of(layer), np.float32))
            return Weight(site, None, values, np.ones((1,) * values.ndim, np.float32), role=weight.role)
        found = self.codes[site]
        codes = arrange(found.codes.astype(np.int64))
        scale = arrange(np.broadcast_to(found.scale, found.codes.shape))
        own = [axis for axis, size in enumerate(found.scale.shape) if size > 1]
        axis = codes.ndim - 1 if own and codes.ndim else None
        scale = scale[(slice(0, 1),) * (codes.ndim - 1)] if axis is not None else scale[(slice(0, 1),) * codes.ndim]
        return Weight(site, self.config[site].bits, codes, np.asarray(scale, np.float32), axis, weight.role)

    def _operation(self, node: Node, layer: Any, inputs: tuple[str, ...]) -> Operation:
        kind = class_name(layer)
        adapter = adapter_of(node.layer)
        if getattr(layer, "data_format", "channels_last") == "channels_first":
            raise _unknown(node, "has its channels first")

        if kind in _MERGES and len(inputs) > 1:
            inputs = self._of_one_rank(node, inputs)

        def made(what: str, kernel: Weight | None = None, bias: Weight | None = None, **options: Any) -> Operation:
            return Operation(node.name, what, inputs, node.shape, kernel, bias, options=options)

        if kind in ("Conv1D", "Conv2D", "Conv3D", "DepthwiseConv1D", "DepthwiseConv2D"):
            return self._convolution(node, layer, inputs)
        if kind == "Dense":
            kernel, bias = (self._weight(node, layer, name, lambda w: w) for name in ("kernel", "bias"))
            return made("dense", kernel, bias)
        if kind in ("BatchNormalization", "LayerScale"):
            if kind == "BatchNormalization" and tuple(np.atleast_1d(layer.axis)) not in ((-1,), (len(node.shape),)):
                raise _unknown(node, "normalizes another axis than the last")
            gamma, beta = (self._weight(node, layer, name, lambda w: w) for name in ("gamma", "beta"))
            return made("scale", gamma, beta)
        if adapter.output is Output.FUNCTION and is_function(node.layer):
            function = function_of(node, layer)
            return Operation(node.name, "function", inputs, node.shape, function=function)
        if activation_name(layer) == "softmax":
            axis = int(getattr(layer, "axis", -1))
            return made("softmax", axis=axis % (len(node.shape) + 1))
        if kind in _MERGES:
            return made(_MERGES[kind])
        if kind == "Concatenate":
            return made("concatenate", axis=int(layer.axis) % (len(node.shape) + 1))
        return self._moved(node, layer, inputs, made)

    def _convolution(self, node: Node, layer: Any, inputs: tuple[str, ...]) -> Operation:
        shape = self._shapes[inputs[0]]
        depthwise = class_name(layer).startswith("Depthwise")
        channels = shape[-1]

        def arrange(w: np.ndarray) -> np.ndarray:
            # (*sizes, channels, multiplier) to (*sizes, 1, channels · multiplier): a group for each channel
            return w.reshape(*w.shape[:-2], 1, -1) if depthwise else w

        sizes, strides, dilations = (
            tuple(getattr(layer, name)) for name in ("kernel_size", "strides", "dilation_rate")
        )
        return Operation(
            node.name,
            "convolution",
            inputs,
            node.shape,
            self._weight(node, layer, "kernel", arrange),
            self._weight(node, layer, "bias", lambda w: w),
            options={
                "strides": strides,
                "dilations": dilations,
                "pads": _pads(node, layer.padding, shape, sizes, strides, dilations),
                "groups": channels if depthwise else int(layer.groups),
            },
        )

    def _moved(self, node: Node, layer: Any, inputs: tuple[str, ...], made: Callable[..., Operation]) -> Operation:
        """Pooling, and what moves values."""
        kind, shape = class_name(layer), self._shapes[inputs[0]]
        spatial = tuple(range(1, len(shape)))
        if kind.startswith(("GlobalAveragePooling", "GlobalMaxPooling")):
            what = "mean" if "Average" in kind else "max"
            return made(what, axes=spatial, keepdims=bool(layer.keepdims))
        if kind in ("Mean", "Max") and not getattr(layer, "initial", None):
            return made(kind.lower(), axes=_axes(layer.axis, len(shape) + 1, node), keepdims=bool(layer.keepdims))
        if kind.startswith(("AveragePooling", "MaxPooling")):
            sizes, strides = tuple(layer.pool_size), tuple(layer.strides)
            pads = _pads(node, layer.padding, shape, sizes, strides, (1,) * len(sizes))
            what = "average_pool" if kind.startswith("Average") else "max_pool"
            return made(what, sizes=sizes, strides=strides, pads=pads)
        if kind.startswith("ZeroPadding"):
            return made("pad", pads=(*_pairs(layer.padding, len(shape) - 1), (0, 0)))
        if kind.startswith("Cropping"):
            cut = _pairs(layer.cropping, len(shape) - 1)
            starts = (*(before for before, _ in cut), 0)
            return made("slice", starts=starts, stops=tuple(s + n for s, n in zip(starts, node.shape, strict=True)))
        if kind.startswith("UpSampling") and getattr(layer, "interpolation", "nearest") == "nearest":
            sizes = tuple(np.atleast_1d(layer.size)) * (len(shape) - 1 if np.ndim(layer.size) == 0 else 1)
            return made("upsample", sizes=tuple(int(size) for size in sizes))
        if kind == "Permute":
            return made("transpose", order=(0, *layer.dims))
        if kind in ("Flatten", "Reshape", "Squeeze", "ExpandDims", "Ravel") and prod(node.shape) == prod(shape):
            return made("reshape")
        raise _unknown(node, "has no form there")


def _pads(
    node: Node,
    padding: str,
    shape: Sequence[int],
    sizes: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[tuple[int, int], ...]:
    """What is padded before and after each spatial axis, as TensorFlow does it."""
    found = []
    for size, kernel, stride, dilation in zip(shape, sizes, strides, dilations, strict=False):
        reach = (kernel - 1) * dilation + 1
        if padding == "valid":
            found.append((0, 0))
        elif padding == "causal":
            found.append((reach - 1, 0))
        elif padding == "same":
            total = max((-(-size // stride) - 1) * stride + reach - size, 0)
            found.append((total // 2, total - total // 2))
        else:
            raise _unknown(node, f'pads "{padding}"')
    return tuple(found)


def _pairs(given: Any, axes: int) -> tuple[tuple[int, int], ...]:
    pairs = [given] if axes == 1 and np.ndim(given) == 1 else list(given)
    return tuple((int(pair), int(pair)) if np.ndim(pair) == 0 else (int(pair[0]), int(pair[1])) for pair in pairs)


def _axes(axis: Any, ndim: int, node: Node) -> tuple[int, ...]:
    axes = tuple(sorted(int(a) % ndim for a in np.atleast_1d(axis))) if axis is not None else ()
    if not axes or 0 in axes:
        raise _unknown(node, "reduces the batch dimension")
    return axes


def _unknown(node: Node, why: str) -> ExportError:
    return ExportError(
        f"`{node.name}` ({class_name(node.layer)}) {why}: of the file formats, keras alone can hold it; give "
        "--format keras, or build the model of layers that the others know: convolutions, Dense, pooling, merges, "
        "activation functions, and layers that move values"
    )
