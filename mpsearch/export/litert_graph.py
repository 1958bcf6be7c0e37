"""A LiteRT file in the making: tensors, operators and buffers by the object form of LiteRT's schema.

Format: ai.google.dev/edge/litert, `schema.fbs`; operator versions as in LiteRT's `op_version.cc`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from mpsearch.costs.containers import SCALE_BYTES
from mpsearch.errors import MissingPackageError
from mpsearch.export.litert_limits import Form

OPERATORS: Mapping[str, tuple[str, tuple[int, int, int]]] = {
    "ADD": ("AddOptions", (1, 2, 3)),
    "AVERAGE_POOL_2D": ("Pool2DOptions", (1, 2, 3)),
    "CONCATENATION": ("ConcatenationOptions", (1, 2, 3)),
    "CONV_2D": ("Conv2DOptions", (1, 3, 8)),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", (2, 3, 5)),
    "DEQUANTIZE": ("", (1, 2, 3)),
    "FULLY_CONNECTED": ("FullyConnectedOptions", (5, 5, 11)),
    "GELU": ("GeluOptions", (1, 1, 1)),
    "LEAKY_RELU": ("LeakyReluOptions", (1, 1, 1)),
    "MAX_POOL_2D": ("Pool2DOptions", (1, 2, 3)),
    "MAXIMUM": ("", (1, 2, 4)),
    "MEAN": ("ReducerOptions", (1, 2, 3)),
    "MINIMUM": ("", (1, 2, 4)),
    "MUL": ("MulOptions", (1, 3, 4)),
    "PAD": ("", (1, 2, 3)),
    "REDUCE_MAX": ("ReducerOptions", (1, 2, 3)),
    "RESIZE_NEAREST_NEIGHBOR": ("ResizeNearestNeighborOptions", (3, 3, 4)),
    "SLICE": ("", (1, 2, 4)),
    "SOFTMAX": ("SoftmaxOptions", (1, 2, 3)),
    "SUB": ("SubOptions", (1, 2, 5)),
    "TRANSPOSE": ("", (1, 2, 5)),
}
"""Operator to its options and its versions for float32, INT8 and INT16; others have none and version 1."""
NARROW_VERSIONS: Mapping[str, tuple[int, int]] = {
    "CONV_2D": (7, 8),
    "DEPTHWISE_CONV_2D": (7, 7),
    "FULLY_CONNECTED": (10, 13),
}
"""Versions with an INT4 kernel, for INT8 and INT16."""


@dataclass(frozen=True)
class Held:
    """A feature map in the file.

    Attributes:
        index: of its tensor.
        shape: without the batch dimension.
        form: how it is stored.
        most: no magnitude of a value is larger.
        negative: whether values can be below zero.
    """

    index: int
    shape: tuple[int, ...]
    form: Form
    most: float = np.inf
    negative: bool = True


class Graph:
    """A flatbuffer in the making: tensors, operators and buffers.

    Attributes:
        payload: bytes so far of constants that count.
        beyond: of these, upper halves of 64-bit numbers.
        inputs, outputs: tensors of the model.
    """

    def __init__(self, name: str) -> None:
        self.schema = litert_module("schema_py_generated")
        self.payload = self.beyond = 0
        self.inputs: list[int] = []
        self.outputs: list[int] = []
        self._name = name
        self._tensors: list[Any] = []
        self._names: set[str] = set()
        self._operators: list[Any] = []
        self._codes: dict[tuple[str, int], int] = {}
        self._buffers: list[Any] = [self.schema.BufferT()]
        self._constants: dict[tuple[Any, ...], int] = {}

    def feature_map(self, name: str, shape: tuple[int, ...], form: Form, **facts: Any) -> Held:
        """Add a tensor whose first axis is the batch; where the name is taken it gets a number.

        Args:
            name: of the tensor.
            shape: without the batch dimension.
            form: how it is stored.
            facts: other attributes of what is returned.
        """
        unique, number = name, 2
        while unique in self._names:
            unique, number = f"{name}_{number}", number + 1
        tensor = self._tensor(unique, (1, *shape), form.container)
        tensor.shapeSignature = [-1, *shape]
        if not form.is_float:
            tensor.quantization = self._quantization(form.scale, form.zero)
        return Held(len(self._tensors) - 1, shape, form, **facts)

    def rename(self, held: Held, name: str) -> None:
        """Give a tensor another name."""
        self._tensors[held.index].name = name
        self._names.add(name)

    def constant(
        self,
        name: str,
        values: Any,
        kind: str,
        scale: Any = None,
        zero: int = 0,
        axis: int = 0,
        scales_counted: int | None = None,
    ) -> int:
        """Index of a constant tensor; equal constants are stored once.

        Args:
            name: of the tensor.
            values: numbers that fit the type, any shape.
            kind: the type, "int4" with two numbers to a byte, the first in the lower half.
            scale, zero, axis: its quantization, if it has one.
            scales_counted: scales that the payload counts with it; None of what doesn't belong to the payload.
        """
        values = np.asarray(values)
        data = _packed(values) if kind == "int4" else np.frombuffer(values.astype(kind).tobytes(), np.uint8)
        scales = None if scale is None else np.asarray(scale, np.float32).reshape(-1)
        key = (kind, values.shape, data.tobytes(), zero, axis, None if scales is None else scales.tobytes())
        if key not in self._constants:
            tensor = self._tensor(name, values.shape, kind)
            if scales is not None:
                tensor.quantization = self._quantization(scales, zero, axis)
            tensor.buffer = self._buffer(data)
            self._constants[key] = len(self._tensors) - 1
            if scales_counted is not None:
                self.payload += data.size + SCALE_BYTES * scales_counted
                self.beyond += data.size // 2 if kind == "int64" else 0
        return self._constants[key]

    def operator(self, name: str, inputs: Sequence[int], output: Held, **options: Any) -> Held:
        """Append an operator with one output, which is returned.

        Args:
            name: of the builtin operator.
            inputs: tensors.
            output: what it makes.
            options: attributes of its builtin options.
        """
        schema = self.schema
        kind, _ = OPERATORS.get(name, ("", ()))
        code = (name, self._version(name, [self._tensors[index].type for index in inputs], output))
        made = schema.OperatorT()
        made.opcodeIndex = self._codes.setdefault(code, len(self._codes))
        made.inputs, made.outputs = list(inputs), [output.index]
        if kind:
            made.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            made.builtinOptions = getattr(schema, f"{kind}T")()
            for key, value in options.items():
                setattr(made.builtinOptions, key, value)
        self._operators.append(made)
        return output

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the file."""
        import flatbuffers

        schema = self.schema
        graph, model = schema.SubGraphT(), schema.ModelT()
        graph.name, graph.tensors, graph.operators = self._name, self._tensors, self._operators
        graph.inputs, graph.outputs = self.inputs, self.outputs
        model.version, model.description, model.subgraphs = 3, "mpsearch", [graph]
        model.operatorCodes, model.metadata, model.buffers = [], [], self._buffers
        for name, version in self._codes:
            code = schema.OperatorCodeT()
            code.builtinCode, code.version = getattr(schema.BuiltinOperator, name), version
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            model.operatorCodes.append(code)
        for name, text in metadata.items():
            entry = schema.MetadataT()
            entry.name, entry.buffer = name, self._buffer(np.frombuffer(text.encode(), np.uint8))
            model.metadata.append(entry)
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        path.write_bytes(builder.Output())

    def _version(self, name: str, types: Sequence[int], output: Held) -> int:
        of = self.schema.TensorType
        if name == "QUANTIZE":
            return 2 if output.form.container == "int16" else 1
        if len(types) > 1 and types[1] == of.INT4:
            return NARROW_VERSIONS[name][[of.INT8, of.INT16].index(types[0])]
        _, versions = OPERATORS.get(name, ("", (1, 1, 1)))
        return versions[[of.FLOAT32, of.INT8, of.INT16].index(types[0])]

    def _tensor(self, name: str, shape: tuple[int, ...], kind: str) -> Any:
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape = name, list(shape)
        tensor.type = getattr(self.schema.TensorType, kind.upper())
        self._tensors.append(tensor)
        self._names.add(name)
        return tensor

    def _quantization(self, scale: Any, zero: int, axis: int = 0) -> Any:
        made = self.schema.QuantizationParametersT()
        made.scale = np.asarray(scale, np.float32).reshape(-1)
        made.zeroPoint = np.full(made.scale.shape, zero, np.int64)
        made.quantizedDimension = axis
        return made

    def _buffer(self, data: np.ndarray) -> int:
        """Index of a buffer, whose data starts at a multiple of 16 bytes as kernels expect it."""
        buffer = self.schema.BufferT()
        buffer.data = data
        pack = buffer.Pack

        def aligned(builder: Any) -> Any:
            builder.Prep(16, data.size)
            return pack(builder)

        buffer.Pack = aligned
        self._buffers.append(buffer)
        return len(self._buffers) - 1


def litert_module(module: str) -> Any:
    """A module of ai-edge-litert."""
    try:
        return import_module(f"ai_edge_litert.{module}")
    except ImportError as error:
        raise MissingPackageError("LiteRT files need ai-edge-litert: pip install 'mpsearch[litert]'") from error


def _packed(codes: np.ndarray) -> np.ndarray:
    """Codes of up to 4 bits, two to a byte, the first in the lower half."""
    halves = codes.reshape(-1).astype(np.int8).view(np.uint8) & 15
    halves = np.append(halves, np.zeros(len(halves) % 2, np.uint8))
    return np.asarray(halves[::2] | halves[1::2] << 4, np.uint8)
