"""QONNX files: ONNX with a `Quant` node at each quantizer, of any width, as FINN and hls4ml read them.

Source: A. Pappalardo et al., *QONNX: Representing Arbitrary-Precision Quantized Neural Networks*, arXiv:2206.07527.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mpsearch.errors import MissingPackageError
from mpsearch.export.onnx_graph import OnnxGraph, write_graph
from mpsearch.export.program import Grid, Program, Weight
from mpsearch.export.runtime import Written, channels_last, unreadable

DOMAIN = "qonnx.custom_op.general"


class _Quant:
    """`Quant` nodes; weights are held as floats on their grid, which quantizing leaves as they are."""

    domains: Mapping[str, int] = {DOMAIN: 1}

    def weight(self, graph: OnnxGraph, weight: Weight, codes: np.ndarray, axis: int | None) -> str:
        own = [1] * codes.ndim
        if axis is not None:
            own[axis] = -1
        scale = weight.scale.reshape(own)
        values = graph.parameter(codes.astype(np.float32) * scale, weight.site)
        assert weight.bits is not None
        return _quant(graph, values, f"{weight.site}/value", scale, 0, weight.bits, signed=True)

    def feature_map(self, graph: OnnxGraph, tensor: str, grid: Grid, source: str, result: str) -> None:
        zero = 0 if grid.signed else -grid.low
        _quant(graph, source, result, np.float32(grid.scale), zero, grid.bits, grid.signed)


def _quant(graph: OnnxGraph, source: str, result: str, scale: Any, zero: int, bits: int, signed: bool) -> str:
    """Append a `Quant` node; signed codes are symmetric."""
    parts = [
        graph.constant(np.asarray(value, np.float32), f"{result}/{what}")
        for what, value in (("scale", scale), ("zero_point", zero), ("bits", bits))
    ]
    return graph.add(
        "Quant", [source, *parts], result, DOMAIN, signed=int(signed), narrow=int(signed), rounding_mode="ROUND"
    )


def write_qonnx(program: Program, path: Path, metadata: Mapping[str, str]) -> Written:
    """Write a program as a QONNX file for batches of one sample, as FINN has them.

    Arguments and errors as of `write_onnx`.
    """
    return write_graph(program, path, _Quant(), metadata, batch=1)


class QonnxRuntime:
    """A QONNX file in the executor of the package qonnx, which runs node after node.

    Args:
        path: of the file.
        layouts: as of `Written`; needed by `values` alone.

    Raises:
        ExportError: the file is missing, cut off or none of QONNX.
        MissingPackageError: qonnx isn't installed.
    """

    def __init__(self, path: Path, layouts: Mapping[str, tuple[str, bool]] | None = None) -> None:
        import onnx

        try:
            from qonnx.core.modelwrapper import ModelWrapper
        except ImportError as error:
            raise MissingPackageError("running a QONNX file needs qonnx: pip install 'mpsearch[qonnx]'") from error
        self._layouts, self._batch = layouts or {}, 0
        try:
            model = onnx.load(str(path))
            if not model.graph.output:
                raise ValueError("it has no graph")
            self._model = ModelWrapper(model)
        except Exception as error:  # of protobuf, or whatever damaged content leads to
            raise unreadable(path, "QONNX", error) from error
        self.inputs: Sequence[tuple[str, tuple[int, ...]]] = [
            (entry.name, tuple(d.dim_value for d in entry.type.tensor_type.shape.dim[1:]))
            for entry in model.graph.input
        ]

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The model's outputs for inputs, float32 of shape (batch, ...)."""
        found = self._executed(inputs)
        return [found[entry.name] for entry in self._model.graph.output]

    def values(self, inputs: Sequence[np.ndarray], tensors: Sequence[str]) -> dict[str, np.ndarray]:
        """Values of a program's quantized tensors, float32 (batch, ..., channels)."""
        found = self._executed(inputs)
        layouts = [self._layouts[tensor] for tensor in tensors]
        return {t: channels_last(found[name], first) for t, (name, first) in zip(tensors, layouts, strict=True)}

    def _executed(self, inputs: Sequence[np.ndarray]) -> Mapping[str, np.ndarray]:
        from qonnx.core.onnx_exec import execute_onnx
        from qonnx.transformation.infer_shapes import InferShapes

        size = len(inputs[0])
        if size != self._batch:
            for entry in (*self._model.graph.input, *self._model.graph.output):
                entry.type.tensor_type.shape.dim[0].dim_value = size
            del self._model.graph.value_info[:]
            self._model = self._model.transform(InferShapes())
            self._batch = size
        fed = {name: np.asarray(x, np.float32) for (name, _), x in zip(self.inputs, inputs, strict=True)}
        return execute_onnx(self._model, fed, return_full_exec_context=True)
