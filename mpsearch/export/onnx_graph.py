"""A program's operations as an ONNX graph; how quantizers are written is left to a `Dialect`.

ONNX has the channels behind the batch dimension where Keras has them last. Tensors are turned round where an operation
needs it, and stay so until another needs them otherwise.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mpsearch.errors import ExportError
from mpsearch.export.functions import SELU_ALPHA, SELU_SCALE, Function
from mpsearch.export.program import Grid, Operation, Program, Weight
from mpsearch.export.runtime import Written

OPSET = 21
"""The first with 4- and 16-bit codes."""
IR_VERSION = 10
BATCH = "batch"


class Dialect(Protocol):
    """How quantizers are written."""

    domains: Mapping[str, int]
    """Operator sets besides ONNX's own, to their versions."""

    def weight(self, graph: "OnnxGraph", weight: Weight, codes: np.ndarray, axis: int | None) -> str:
        """Write a weight whose codes and channel axis are arranged as ONNX has them; return its tensor."""

    def feature_map(self, graph: "OnnxGraph", tensor: str, grid: Grid, source: str, result: str) -> None:
        """Quantize the tensor `source` to `result`; scales are called after the program's `tensor`."""


@dataclass
class OnnxGraph:
    """What of a graph is written so far: nodes, constants, and the tensors of the program.

    Attributes:
        nodes: in order.
        constants: by name.
        parameters: names of those constants that hold weights, scales or zero-points.
        derived: bytes of scales that are counted besides, one for each bias whose scales follow from others.
        last, first: the program's tensors to those that hold them with the channels last, and behind the batch.
    """

    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)
    last: dict[str, str] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    parameters: set[str] = field(default_factory=set)
    derived: int = 0
    _names: set[str] = field(default_factory=set)

    def add(self, kind: str, inputs: Sequence[str], name: str, domain: str = "", **attributes: Any) -> str:
        """Append a node; its output is called `name`, with a number behind it where that is taken."""
        from onnx import helper

        unique, count = name, 1
        while unique in self._names:
            count += 1
            unique = f"{name}.{count}"
        self._names.add(unique)
        self.nodes.append(helper.make_node(kind, list(inputs), [unique], unique, domain=domain, **attributes))
        return unique

    def constant(self, array: Any, name: str) -> str:
        """Add a constant, once for each name."""
        from onnx import numpy_helper

        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.asarray(array), name)
        return name

    def parameter(self, array: Any, name: str) -> str:
        """Add a constant that holds a weight, scales or a zero-point."""
        self.parameters.add(name)
        return self.constant(array, name)

    @property
    def payload(self) -> int:
        """Bytes of all parameters, and of derived scales."""
        return self.derived + sum(len(self.constants[name].raw_data) for name in self.parameters)


def write_graph(
    program: Program, path: Path, dialect: Dialect, metadata: Mapping[str, str], batch: str | int = BATCH
) -> Written:
    """Write a program as an ONNX file; one without operators of other domains is checked, shapes inferred.

    Args:
        program: of any kind of operation.
        path: of the file.
        dialect: writes its quantizers.
        metadata: kept in the file.
        batch: the batch dimension, a name or a number.

    Raises:
        ExportError: an operation or width that ONNX doesn't have.
    """
    import onnx
    from onnx import TensorProto, helper

    graph = OnnxGraph()
    writer = _Writer(program, graph, dialect)
    for name in program.inputs:
        writer.made(name, name, first=False)
    for operation in program.operations:
        writer.operation(operation)
    outputs = []
    for number, name in enumerate(program.outputs):
        end = graph.add("Identity", [writer.last(name)], f"output_{number}" if len(program.outputs) > 1 else "output")
        outputs.append(helper.make_tensor_value_info(end, TensorProto.FLOAT, [batch, *program.shape(name)]))
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *shape])
        for name, shape in program.inputs.items()
    ]
    body = helper.make_graph(graph.nodes, program.name, inputs, outputs, list(graph.constants.values()))
    sets = [helper.make_opsetid(domain, version) for domain, version in {"": OPSET, **dialect.domains}.items()]
    model = helper.make_model(body, opset_imports=sets, ir_version=IR_VERSION, producer_name="mpsearch")
    helper.set_model_props(model, dict(metadata))
    if not dialect.domains:
        onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))
    return Written(graph.payload, writer.layouts)


class _Writer:
    """Writes one operation after another."""

    def __init__(self, program: Program, graph: OnnxGraph, dialect: Dialect) -> None:
        self.program, self.graph, self.dialect = program, graph, dialect
        self.layouts: dict[str, tuple[str, bool]] = {}
        self._weights: dict[tuple[str, bytes], str] = {}  # site and scales to its values, if a layer is applied again
        self._by_kind: Mapping[str, Callable[[Operation], tuple[str, bool]]] = {
            "convolution": self._convolution,
            "dense": self._dense,
            "scale": self._scale,
            "concatenate": self._concatenate,
            "mean": lambda operation: self._reduced(operation, "ReduceMean"),
            "max": lambda operation: self._reduced(operation, "ReduceMax"),
            "average_pool": lambda operation: self._pooled(operation, "AveragePool", count_include_pad=0),
            "max_pool": lambda operation: self._pooled(operation, "MaxPool"),
            "pad": self._pad,
            "slice": self._slice,
            "upsample": self._upsample,
            "reshape": self._reshape,
            "transpose": self._transpose,
            "function": self._function,
            "softmax": self._softmax,
            **dict.fromkeys(("add", "subtract", "multiply", "maximum", "minimum", "average"), self._merge),
        }

    def operation(self, operation: Operation) -> None:
        """Append an operation and its quantizer."""
        name, first = self._by_kind[operation.kind](operation)
        self.made(operation.name, name, first)

    def made(self, tensor: str, name: str, first: bool) -> None:
        """Give a program's tensor, held by `name`, its quantizer."""
        grid = self.program.grids.get(tensor)
        if grid is not None:
            # the quantized tensor must not be called as the one before it
            result = f"{tensor}/quantized"
            self.dialect.feature_map(self.graph, tensor, grid, name, result)
            name = result
            self.layouts[tensor] = (name, first)
        (self.graph.first if first else self.graph.last)[tensor] = name

    def last(self, tensor: str) -> str:
        """A tensor with its channels last."""
        return self._turned(tensor, self.graph.last, self.graph.first, to_last=True)

    def first(self, tensor: str) -> str:
        """A tensor with its channels behind the batch dimension."""
        return self._turned(tensor, self.graph.first, self.graph.last, to_last=False)

    def _turned(self, tensor: str, wanted: dict[str, str], other: dict[str, str], to_last: bool) -> str:
        if tensor not in wanted:
            rank = len(self.program.shape(tensor)) + 1
            if rank < 3:
                wanted[tensor] = other[tensor]
            else:
                order = [0, *range(2, rank), 1] if to_last else [0, rank - 1, *range(1, rank - 1)]
                name = f"{tensor}/channels_{'last' if to_last else 'first'}"
                wanted[tensor] = self.graph.add("Transpose", [other[tensor]], name, perm=order)
        return wanted[tensor]

    def _is_first(self, tensors: Sequence[str]) -> bool:
        """Whether tensors of one rank are best read with channels first: one of them is so already."""
        ranks = {len(self.program.shape(tensor)) for tensor in tensors}
        return len(ranks) == 1 and ranks.pop() > 1 and any(tensor in self.graph.first for tensor in tensors)

    def _read(self, tensors: Sequence[str]) -> tuple[list[str], bool]:
        first = self._is_first(tensors)
        return [self.first(tensor) if first else self.last(tensor) for tensor in tensors], first

    def _weight(self, weight: Weight, order: Sequence[int] | None = None) -> str:
        """A weight's tensor, its axes in another order."""
        key = (weight.site, weight.scale.tobytes())
        if key in self._weights:
            return self._weights[key]
        again = sum(site == weight.site for site, _ in self._weights)
        if again:  # of a layer that is applied to tensors with different scales, its bias in the unit of the sums
            weight = replace(weight, site=f"{weight.site}.{again + 1}")
        codes, axis = weight.codes, weight.axis
        if order is not None:
            codes = codes.transpose(order)
            axis = None if axis is None else list(order).index(axis)
        floats = weight.bits is None
        self._weights[key] = (
            self.graph.parameter(np.asarray(codes, np.float32), weight.site)
            if floats
            else self.dialect.weight(self.graph, weight, codes, axis)
        )
        return self._weights[key]

    def _convolution(self, operation: Operation) -> tuple[str, bool]:
        kernel, options = operation.kernel, operation.options
        assert kernel is not None
        rank = kernel.codes.ndim
        inputs = [self.first(operation.inputs[0]), self._weight(kernel, (rank - 1, rank - 2, *range(rank - 2)))]
        if operation.bias is not None:
            inputs.append(self._weight(operation.bias))
        name = self.graph.add(
            "Conv",
            inputs,
            operation.name,
            kernel_shape=kernel.codes.shape[:-2],
            strides=options["strides"],
            dilations=options["dilations"],
            pads=_pads(options["pads"]),
            group=options["groups"],
        )
        return name, True

    def _dense(self, operation: Operation) -> tuple[str, bool]:
        assert operation.kernel is not None
        x, kernel = self.last(operation.inputs[0]), self._weight(operation.kernel)
        bias = [] if operation.bias is None else [self._weight(operation.bias)]
        if len(operation.shape) == 1:
            return self.graph.add("Gemm", [x, kernel, *bias], operation.name), False
        product = self.graph.add("MatMul", [x, kernel], f"{operation.name}/product" if bias else operation.name)
        return self.graph.add("Add", [product, *bias], operation.name) if bias else product, False

    def _scale(self, operation: Operation) -> tuple[str, bool]:
        assert operation.kernel is not None
        x = self.last(operation.inputs[0])
        bias = [] if operation.bias is None else [self._weight(operation.bias)]
        name = f"{operation.name}/product" if bias else operation.name
        product = self.graph.add("Mul", [x, self._weight(operation.kernel)], name)
        return self.graph.add("Add", [product, *bias], operation.name) if bias else product, False

    def _merge(self, operation: Operation) -> tuple[str, bool]:
        inputs, first = self._read(operation.inputs)
        kind = {"subtract": "Sub", "multiply": "Mul", "maximum": "Max", "minimum": "Min"}.get(operation.kind, "Add")
        found = inputs[0]
        for number, other in enumerate(inputs[1:], start=2):
            whole = number == len(inputs) and operation.kind != "average"
            found = self.graph.add(kind, [found, other], operation.name if whole else f"{operation.name}/{number}")
        if operation.kind == "average":
            count = self.graph.constant(np.float32(len(inputs)), f"{operation.name}/count")
            found = self.graph.add("Div", [found, count], operation.name)
        return found, first

    def _axis(self, axis: int, rank: int, first: bool) -> int:
        """An axis in a layout, the batch dimension counted."""
        if not first or axis == 0:
            return axis
        return 1 if axis == rank - 1 else axis + 1

    def _concatenate(self, operation: Operation) -> tuple[str, bool]:
        inputs, first = self._read(operation.inputs)
        axis = self._axis(operation.options["axis"], len(operation.shape) + 1, first)
        return self.graph.add("Concat", inputs, operation.name, axis=axis), first

    def _reduced(self, operation: Operation, kind: str) -> tuple[str, bool]:
        (tensor,) = operation.inputs
        rank, keep = len(self.program.shape(tensor)) + 1, operation.options["keepdims"]
        whole = operation.options["axes"] == tuple(range(1, rank - 1))
        first = self._is_first([tensor]) and (keep or whole)
        axes = np.array([self._axis(axis, rank, first) for axis in operation.options["axes"]], np.int64)
        constant = self.graph.constant(axes, f"{operation.name}/axes")
        source = self.first(tensor) if first else self.last(tensor)
        return self.graph.add(kind, [source, constant], operation.name, keepdims=int(keep)), first and keep

    def _pooled(self, operation: Operation, kind: str, **attributes: Any) -> tuple[str, bool]:
        options = operation.options
        sizes, strides, pads = options["sizes"], options["strides"], _pads(options["pads"])
        x = self.first(operation.inputs[0])
        return (
            self.graph.add(kind, [x], operation.name, kernel_shape=sizes, strides=strides, pads=pads, **attributes),
            True,
        )

    def _pad(self, operation: Operation) -> tuple[str, bool]:
        (x,), first = self._read(operation.inputs)
        pads = list(operation.options["pads"])
        pads = [(0, 0), pads[-1], *pads[:-1]] if first else [(0, 0), *pads]
        constant = self.graph.constant(np.array(_pads(pads), np.int64), f"{operation.name}/pads")
        return self.graph.add("Pad", [x, constant], operation.name), first

    def _slice(self, operation: Operation) -> tuple[str, bool]:
        x, options = self.last(operation.inputs[0]), operation.options
        axes = range(1, len(operation.shape) + 1)
        parts = [
            self.graph.constant(np.array(values, np.int64), f"{operation.name}/{what}")
            for what, values in (("starts", options["starts"]), ("ends", options["stops"]), ("axes", axes))
        ]
        return self.graph.add("Slice", [x, *parts], operation.name), False

    def _upsample(self, operation: Operation) -> tuple[str, bool]:
        x, sizes = self.first(operation.inputs[0]), operation.options["sizes"]
        scales = self.graph.constant(np.array([1, 1, *sizes], np.float32), f"{operation.name}/scales")
        return (
            self.graph.add(
                "Resize",
                [x, "", scales],
                operation.name,
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            ),
            True,
        )

    def _reshape(self, operation: Operation) -> tuple[str, bool]:
        (tensor,) = operation.inputs
        shape = self.program.shape(tensor)
        alike = tensor in self.graph.first and (prod(shape[:-1]) == 1 or shape[-1] == 1)  # the same order of values
        x = self.graph.first[tensor] if alike else self.last(tensor)
        target = self.graph.constant(np.array([0, *operation.shape], np.int64), f"{operation.name}/shape")
        return self.graph.add("Reshape", [x, target], operation.name), False

    def _transpose(self, operation: Operation) -> tuple[str, bool]:
        x = self.last(operation.inputs[0])
        return self.graph.add("Transpose", [x], operation.name, perm=operation.options["order"]), False

    def _softmax(self, operation: Operation) -> tuple[str, bool]:
        x = self.last(operation.inputs[0])
        return self.graph.add("Softmax", [x], operation.name, axis=operation.options["axis"]), False

    def _function(self, operation: Operation) -> tuple[str, bool]:
        function = operation.function
        assert function is not None
        if any(np.ndim(number) for number in function.numbers.values()):
            x, first = self.last(operation.inputs[0]), False
        else:
            (x,), first = self._read(operation.inputs)
        return self._applied(function, x, operation.name), first

    def _applied(self, function: Function, x: str, name: str) -> str:
        add, numbers = self.graph.add, function.numbers

        def number(key: str, value: Any) -> str:
            return self.graph.constant(np.asarray(value, np.float32), f"{name}/{key}")

        def clip(low: Any, high: Any) -> str:
            bounds = [number(key, v) if np.isfinite(v) else "" for key, v in (("low", low), ("high", high))]
            return add("Clip", [x, *bounds], name)

        kind = function.name
        if kind in _PLAIN:
            operator, attributes = _PLAIN[kind]
            return add(operator, [x], name, **attributes)
        if kind == "relu":
            if function.is_relu:
                return add("Relu", [x], name)
            if numbers["threshold"] or (numbers["slope"] and np.isfinite(numbers["ceiling"])):
                raise ExportError(
                    f"`{name}` is a ReLU with a threshold, or with a slope and a largest value, which ONNX doesn't "
                    "have: give --format keras"
                )
            return (
                add("LeakyRelu", [x], name, alpha=numbers["slope"])
                if numbers["slope"]
                else clip(0.0, numbers["ceiling"])
            )
        if kind == "clip":
            return clip(numbers["low"], numbers["high"])
        if kind == "linear":
            steps = [("Mul", "factor", 1.0), ("Add", "offset", 0.0)]
            wanted = [(op, key) for op, key, neutral in steps if np.any(np.asarray(numbers[key]) != neutral)]
            for left, (operator, key) in zip(range(len(wanted), 0, -1), wanted, strict=True):
                x = add(operator, [x, number(key, numbers[key])], name if left == 1 else f"{name}/{key}ed")
            return x if wanted else add("Identity", [x], name)
        if kind == "prelu":
            return add("PRelu", [x, number("alpha", numbers["alpha"])], name)
        if kind == "silu":
            return add("Mul", [x, add("Sigmoid", [x], f"{name}/sigmoid")], name)
        if kind == "square":
            return add("Mul", [x, x], name)
        if kind == "elu":
            return add("Elu", [x], name, alpha=numbers["alpha"])
        if kind == "gelu":
            return add("Gelu", [x], name, approximate="tanh" if numbers["approximate"] else "none")
        raise ExportError(f"`{name}` applies {kind}, which ONNX doesn't have: give --format keras")


_PLAIN: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "identity": ("Identity", {}),
    "sigmoid": ("Sigmoid", {}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1.0 / 6.0, "beta": 0.5}),
    "tanh": ("Tanh", {}),
    "hard_silu": ("HardSwish", {}),
    "selu": ("Selu", {"alpha": SELU_ALPHA, "gamma": SELU_SCALE}),
    "softplus": ("Softplus", {}),
    "softsign": ("Softsign", {}),
    "exponential": ("Exp", {}),
    "absolute": ("Abs", {}),
    "sqrt": ("Sqrt", {}),
    "negative": ("Neg", {}),
}
"""Function to ONNX's operator and its attributes."""


def _pads(pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Pads as ONNX has them: all befores, then all afters."""
    return [before for before, _ in pairs] + [after for _, after in pairs]
