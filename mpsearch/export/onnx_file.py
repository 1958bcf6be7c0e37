"""ONNX files in QDQ form: codes packed at their widths, with QuantizeLinear and DequantizeLinear around them.

Kernels lie in INT4, INT8, INT16 or INT32, the least that holds their width, biases in INT16 or INT32, feature maps in
UINT4 to INT16; a feature map whose codes don't fill its type is clipped first. Format: onnx.ai, operators
QuantizeLinear and DequantizeLinear of opset 21.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mpsearch.config import Role
from mpsearch.costs.containers import SCALE_BYTES
from mpsearch.errors import ExportError
from mpsearch.export.onnx_graph import OnnxGraph, write_graph
from mpsearch.export.program import Grid, Program, Weight
from mpsearch.export.runtime import Written, channels_last, unreadable

WIDEST_FEATURE_MAP = 16


class _Qdq:
    """QuantizeLinear and DequantizeLinear."""

    domains: Mapping[str, int] = {}

    def weight(self, graph: OnnxGraph, weight: Weight, codes: np.ndarray, axis: int | None) -> str:
        scale = weight.scale.reshape(-1) if axis is not None else weight.scale.reshape(())
        packed = graph.parameter(codes.astype(_weight_type(weight)), weight.site)
        attributes: dict[str, Any] = {} if axis is None else {"axis": axis}
        name = f"{weight.site}_scale"
        if weight.role is Role.BIAS and axis is not None:
            # in the unit of the sums, which follow from the kernel's: the container rule counts one for a bias
            scales = graph.constant(scale, name)
            graph.derived += SCALE_BYTES
        else:
            scales = graph.parameter(scale, name)
        return graph.add("DequantizeLinear", [packed, scales], f"{weight.site}/value", **attributes)

    def feature_map(self, graph: OnnxGraph, tensor: str, grid: Grid, source: str, result: str) -> None:
        from onnx import TensorProto

        if grid.bits > WIDEST_FEATURE_MAP:
            raise ExportError(
                f"`{tensor}` has codes of {grid.bits} bits, but ONNX quantizes feature maps to {WIDEST_FEATURE_MAP} at "
                "most: search a space with narrower ones, or give --format keras"
            )
        size = 4 if grid.bits <= 4 else (8 if grid.bits <= 8 else 16)
        kind = f"{'INT' if grid.signed else 'UINT'}{size}"
        least, most = (-(2 ** (size - 1)), 2 ** (size - 1) - 1) if grid.signed else (0, 2**size - 1)
        zero = 0 if grid.signed else -grid.low
        scale = graph.parameter(np.float32(grid.scale), f"{tensor}_scale")
        if (grid.low + zero, grid.high + zero) != (least, most):
            ends = [
                graph.constant(np.float32(code) * np.float32(grid.scale), f"{tensor}_{what}")
                for what, code in (("low", grid.low), ("high", grid.high))
            ]
            source = graph.add("Clip", [source, *ends], f"{tensor}/clipped")
        zeros = [graph.parameter(np.asarray(zero, _numpy_type(kind)), f"{tensor}_zero_point")] if zero else []
        codes = graph.add(
            "QuantizeLinear",
            [source, scale, *zeros],
            f"{tensor}/codes",
            **({} if zeros else {"output_dtype": getattr(TensorProto, kind)}),
        )
        graph.add("DequantizeLinear", [codes, scale, *zeros], result)


def write_onnx(program: Program, path: Path, metadata: Mapping[str, str]) -> Written:
    """Write a program as an ONNX file in QDQ form, checked with its shapes inferred.

    Args:
        program: quantized, in part or not at all.
        path: of the file.
        metadata: kept in the file's metadata_props.

    Raises:
        ExportError: ONNX doesn't have it.
    """
    return write_graph(program, path, _Qdq(), metadata)


class OnnxRuntime:
    """An ONNX file in ONNX Runtime, on the CPU.

    Args:
        path: of the file.
        layouts: as of `Written`; needed by `values` alone.

    Raises:
        ExportError: the file is missing, cut off or none of ONNX.
    """

    def __init__(self, path: Path, layouts: Mapping[str, tuple[str, bool]] | None = None) -> None:
        import onnxruntime

        self._path, self._layouts = path, layouts or {}
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._open: Callable[[bytes], Any] = lambda model: onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
        try:
            self._session = self._open(path.read_bytes())
        except Exception as error:  # onnxruntime has an exception of its own for each kind of damage
            raise unreadable(path, "ONNX", error) from error
        self._shown: tuple[tuple[str, ...], Any] = ((), self._session)  # tensors, and a session that gives them
        self.inputs: Sequence[tuple[str, tuple[int, ...]]] = [
            (entry.name, tuple(entry.shape[1:])) for entry in self._session.get_inputs()
        ]

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The model's outputs for inputs, float32 of shape (batch, ...)."""
        return list(self._session.run(None, self._fed(inputs)))

    def values(self, inputs: Sequence[np.ndarray], tensors: Sequence[str]) -> dict[str, np.ndarray]:
        """Values of a program's quantized tensors, float32 (batch, ..., channels)."""
        if self._shown[0] != tuple(tensors):
            self._shown = tuple(tensors), self._showing(tensors)
        found = self._shown[1].run(None, self._fed(inputs))
        layouts = [self._layouts[tensor] for tensor in tensors]
        return {t: channels_last(v, first) for t, v, (_, first) in zip(tensors, found, layouts, strict=True)}

    def _showing(self, tensors: Sequence[str]) -> Any:
        """A session whose outputs are tensors of the program."""
        import onnx

        model = onnx.load(str(self._path))
        del model.graph.output[:]
        for tensor in tensors:
            model.graph.output.append(onnx.ValueInfoProto(name=self._layouts[tensor][0]))
        return self._open(model.SerializeToString())

    def _fed(self, inputs: Sequence[np.ndarray]) -> dict[str, Any]:
        return {name: np.asarray(x, np.float32) for (name, _), x in zip(self.inputs, inputs, strict=True)}


def _weight_type(weight: Weight) -> Any:
    """The type that holds a weight's codes, as the container rule of `costs.containers` has it."""
    sizes = (16, 32) if weight.role is Role.BIAS else (4, 8, 16, 32)
    size = next((size for size in sizes if (weight.bits or 0) <= size), None)
    if size is None:
        raise ExportError(f"`{weight.site}` has codes of {weight.bits} bits, but ONNX holds {sizes[-1]} at most")
    return _numpy_type(f"INT{size}")


def _numpy_type(kind: str) -> Any:
    import ml_dtypes

    return getattr(ml_dtypes, kind.lower()) if kind.endswith("T4") else np.dtype(kind.lower())
