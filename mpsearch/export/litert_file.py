"""LiteRT files (`.tflite`), written from a `Program` directly: its codes and scales are stored as they are.

Inputs are quantized first and outputs dequantized last; between them operators compute in integers, with biases in the
unit of the sums. A feature map's codes are stored so that the largest is the container's largest: saturation clips
there for nothing. The other end is clipped by a fused RELU, or by a MAXIMUM where there is none. Functions that don't
only clip are computed in float: DEQUANTIZE, the function, QUANTIZE; the sums before them are held in INT16, over the
range in which they change the function's codes. Before products codes of few bits are multiplied by a power of two,
since LiteRT rounds coarsely where numbers are small.

Format: ai.google.dev/edge/litert, `schema.fbs`; operator versions as in LiteRT's `op_version.cc`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from mpsearch.costs.containers import SCALE_BYTES
from mpsearch.errors import ExportError
from mpsearch.export.aligned_biases import with_aligned_biases
from mpsearch.export.functions import Function
from mpsearch.export.litert_functions import RELU, applied, float_constant, fused_number
from mpsearch.export.litert_graph import Graph, Held
from mpsearch.export.litert_limits import (
    FLOAT,
    LIMITS,
    NARROW_KERNEL_BITS,
    WEIGHTED,
    Form,
    Step,
    behind,
    finer,
    form_of,
    is_depthwise,
    is_wide,
    obstacles,
    spanning,
    stays_float,
    steps_of,
)
from mpsearch.export.litert_windows import Windows, plane_of
from mpsearch.export.program import MOVING, Grid, Operation, Program, Weight
from mpsearch.export.runtime import Written

ARITHMETIC: Mapping[str, str] = {"add": "ADD", "subtract": "SUB", "multiply": "MUL", "average": "ADD"}
FUSING = WEIGHTED | set(ARITHMETIC)
"""Kinds whose operators can apply a RELU themselves."""
JOINING = MOVING | {"maximum", "minimum", "concatenate"}
"""Kinds whose operators don't rescale: inputs and output have one form."""
PLANAR = frozenset({"convolution", "average_pool", "max_pool", "upsample"})
"""Kinds whose operators work along height and width."""
FARTHEST = 2.0**20
"""Beyond it no function of a sum changes its codes."""
INT32_SUMS = 2**31
COARSEST_ADDEND = 16000
"""Of steps; from 16384 on the interpreter ends the process."""


def write_litert(program: Program, path: Path, metadata: Mapping[str, str]) -> Written:
    """Write a program as a LiteRT file.

    Args:
        program: quantized all over but for a last softmax, or not at all.
        path: of the file.
        metadata: written into the file.

    Returns:
        Its payload counts kernels in their containers (two codes of up to 4 bits to a byte), biases of 4 bytes (8 where
        sums may not fit 32 bits), and 4 bytes for each scale of a kernel, each bias and each feature map; of a program
        without codes, its weights in float32. Constants that operators need besides, such as zeros for a missing bias,
        don't count.

    Raises:
        ExportError: the format can't hold it.
        MissingPackageError: ai-edge-litert isn't installed.
    """
    biases = {operation.name: operation.bias for operation in program.operations if operation.bias is not None}
    if program.grids:
        program = with_aligned_biases(program)
    found = obstacles(program)
    if found:
        raise ExportError(
            f"a LiteRT file can't hold all widths: {'; '.join(map(str, found))}. Give --round-up for the nearest "
            "config that it can hold, or --format onnx or keras"
        )
    graph = Graph(program.name)
    writer = _Writer(program, graph, biases)
    writer.write()
    graph.save(path, metadata)
    return Written(graph.payload + SCALE_BYTES * len(program.grids), beyond=graph.beyond, biases=writer.stored)


class _Writer:
    """Turns a program's steps into operators.

    Args:
        program: with aligned biases.
        graph: to write into.
        biases: operation to its bias before that: the unit of its sums may become finer here.
    """

    def __init__(self, program: Program, graph: Graph, biases: Mapping[str, Weight]) -> None:
        self.program, self.graph, self.biases = program, graph, biases
        self.held: dict[str, Held] = {}
        self.stored: dict[str, np.ndarray] = {}
        self._requantizations: dict[tuple[int, Form], Held] = {}

    def write(self) -> None:
        """Everything, from inputs to outputs."""
        program, graph = self.program, self.graph
        for name, shape in program.inputs.items():
            tensor, functions, _ = behind(program, name)
            x = graph.feature_map(f"{name}/input" if tensor == name else name, shape, FLOAT)
            graph.inputs.append(x.index)
            grid = program.grids.get(tensor)
            if program.grids and grid is None:
                raise stays_float(name)
            self._keep(tensor, self._with_functions(x, functions, grid, tensor))
        for step in steps_of(program):
            self._keep(step.tensor, self._step(step))
        for name in program.outputs:
            graph.outputs.append(self._requantized(self.held[name], FLOAT, f"{name}/output").index)

    def _keep(self, tensor: str, held: Held) -> None:
        """Let a tensor of the program be what is held; a quantized one has a tensor of its own in the file."""
        taken = held.index in {other.index for other in self.held.values()}
        if taken and tensor in self.program.grids:
            made = self.graph.feature_map(tensor, held.shape, held.form)
            self.graph.operator("QUANTIZE", [held.index], made)
            held, taken = replace(held, index=made.index), False
        if not taken:
            self.graph.rename(held, tensor)
        self.held[tensor] = held

    def _step(self, step: Step) -> Held:
        operation, functions, tensor, grid = step.operation, step.functions, step.tensor, step.grid
        inputs = [self.held[name] for name in operation.inputs]
        x, kind = inputs[0], operation.kind
        if operation.function is not None:
            if grid is None and not x.form.is_float:
                return self._clipped(x, 0, None, tensor) if operation.function.is_relu else x
            return self._with_functions(x, (operation.function, *functions), grid, tensor)
        if kind == "softmax":
            x = self._softmax(operation, self._requantized(x, FLOAT, f"{tensor}/float"), tensor)
            return self._with_functions(x, functions, grid, tensor)
        if grid is None:
            fused = fused_number(functions[0]) if functions and kind in FUSING else 0
            made = self._computed(operation, inputs, x.form, fused, tensor)
            return self._with_functions(made, functions[1:] if fused else functions, None, tensor)
        rest, low, high = grid.clipped(functions)
        if rest:
            form = spanning(min(_reach(rest, grid), _largest_sum(operation, inputs)))
            inputs = self._fitting(operation, inputs, form, f"{tensor}/in")
            made = self._computed(operation, inputs, form, 0, f"{tensor}/sum")
            return self._with_functions(made, functions, grid, tensor)
        form = inner = form_of(grid, high)
        if form.container == "int8" and is_wide(self.program, step):
            inner = finer(form, max(-low, high) * form.scale)
        inputs = self._fitting(operation, inputs, inner, f"{tensor}/in")
        fused, again = RELU if low == 0 and kind in FUSING else 0, inner != form
        made = self._computed(operation, inputs, inner, fused, f"{tensor}/sum", again)
        return self._clipped(self._requantized(made, form, f"{tensor}/codes"), low, high, tensor)

    def _fitting(self, operation: Operation, inputs: Sequence[Held], form: Form, name: str) -> list[Held]:
        """Inputs in the container of an operator's output; in its form where the operator doesn't rescale."""
        if operation.kind in JOINING:
            return [self._requantized(x, form, name) for x in inputs]
        if operation.kind in WEIGHTED | {"multiply"} and form.container == "int8":
            return [self._magnified(operation, x, name) for x in inputs]
        if form.container == "int8" or operation.kind == "average_pool":
            return list(inputs)
        found = []
        for x in inputs:
            if x.form.container == "int8":
                # ADD needs inputs that aren't much coarser than its output
                fine = operation.kind in ("add", "subtract", "average")
                wide = finer(x.form, x.most) if fine else Form("int16", x.form.scale)
                x = self._requantized(x, wide, name)
            found.append(x)
        return found

    def _magnified(self, operation: Operation, x: Held, name: str) -> Held:
        """A feature map with codes of few bits multiplied by a power of two, as large as INT8 holds them.

        Operators round products twice: to a part of the output's step, the finer the smaller the product's unit, and
        then to the step.
        """
        most = round(x.most / x.form.scale)
        shift = int(np.log2(255 / max(2 * most if x.negative else most, 1)))
        largest = 0 if operation.bias is None else int(np.abs(operation.bias.codes).max(initial=0))
        if shift <= 0 or largest << shift >= INT32_SUMS:
            return x
        zero = LIMITS["int8"][1] - (most << shift)
        return self._requantized(x, Form("int8", x.form.scale / 2**shift, zero), name)

    def _with_functions(self, x: Held, functions: Sequence[Function], grid: Grid | None, name: str) -> Held:
        """Functions of a feature map, quantized to a grid where one is given."""
        if grid is None:
            for function in functions:
                x = applied(self.graph, x, function, name)
            return x
        rest, low, high = grid.clipped(functions)
        if rest:
            x = self._requantized(x, FLOAT, f"{name}/float")
            for function in rest:
                x = applied(self.graph, x, function, name)
        return self._clipped(self._requantized(x, form_of(grid, high), f"{name}/codes"), low, high, name)

    def _requantized(self, x: Held, form: Form, name: str) -> Held:
        """The same values in another form."""
        if x.form == form:
            return x
        if x.form.container == form.container == "int8" and x.form.scale < form.scale:  # see `_magnified`
            x = self._requantized(x, finer(form, 255 * form.scale), f"{name}/fine")
        key = (x.index, form)
        if key not in self._requantizations:
            operator = "DEQUANTIZE" if form.is_float else "QUANTIZE"
            self._requantizations[key] = self.graph.operator(operator, [x.index], self._like([x], form, name))
        return self._requantizations[key]

    def _clipped(self, x: Held, low: int, high: int | None, name: str) -> Held:
        """Codes brought between two, where their container doesn't do it."""
        form = x.form
        least, most = LIMITS[form.container]
        high = most - form.zero if high is None else high
        below = low + form.zero > least and (x.negative or low != 0)
        above = high + form.zero < most
        for operator, code, needed in (("MAXIMUM", low, below), ("MINIMUM", high, above)):
            if needed:
                bound = self._code(code, form, f"{name}/{operator.lower()}")
                made = self.graph.feature_map(f"{name}/clipped", x.shape, form)
                x = self.graph.operator(operator, [x.index, bound], made)
        return replace(x, most=max(-low, high) * form.scale, negative=low < 0)

    def _code(self, code: int, form: Form, name: str) -> int:
        """A constant that holds one code of a form."""
        return self.graph.constant(name, [code + form.zero], form.container, form.scale, form.zero)

    def _integers(self, numbers: Any, name: str) -> int:
        return self.graph.constant(name, numbers, "int32")

    def _like(self, inputs: Sequence[Held], form: Form, name: str, shape: tuple[int, ...] | None = None) -> Held:
        """A new feature map whose values lie between those of others."""
        shape = inputs[0].shape if shape is None else shape
        facts = {"most": max(x.most for x in inputs), "negative": any(x.negative for x in inputs)}
        return self.graph.feature_map(name, shape, form, **facts)

    def _computed(
        self, operation: Operation, inputs: Sequence[Held], form: Form, fused: int, name: str, again: bool = False
    ) -> Held:
        """What an operation makes of inputs that fit, in a form; `again`: whether it is then rounded to a coarser."""
        x, kind, options, graph = inputs[0], operation.kind, operation.options, self.graph
        if kind in PLANAR and len(operation.shape) > 3:
            raise ExportError(
                f"`{operation.name}` works along three axes, which a LiteRT file can't in integers; give --format "
                "onnx or keras"
            )
        if kind in WEIGHTED:
            return self._weighted(operation, x, form, fused, name, again)
        if kind in ARITHMETIC:
            return self._arithmetic(operation, inputs, form, fused, name)
        if kind in PLANAR:
            return self._planar(operation, x, form, name)
        if kind == "pad":
            return self._padded(x, options["pads"], name)
        if kind == "reshape":
            return self._reshaped(x, operation.shape, name)
        if kind in ("maximum", "minimum"):
            for other in inputs[1:]:
                made = self._like(inputs, form, name, tuple(np.broadcast_shapes(x.shape, other.shape)))
                x = graph.operator(kind.upper(), [x.index, other.index], made)
            return x
        if kind not in ("concatenate", "mean", "max", "slice", "transpose"):
            raise ExportError(f"`{operation.name}` ({kind}) has no form in a LiteRT file; give --format onnx or keras")
        made = self._like(inputs, form, name, operation.shape)
        if kind == "concatenate":
            return graph.operator("CONCATENATION", [each.index for each in inputs], made, axis=options["axis"])
        if kind == "slice":
            sizes = [stop - start for start, stop in zip(options["starts"], options["stops"], strict=True)]
            starts = self._integers([0, *options["starts"]], f"{name}/starts")
            return graph.operator("SLICE", [x.index, starts, self._integers([-1, *sizes], f"{name}/sizes")], made)
        if kind == "transpose":
            return graph.operator("TRANSPOSE", [x.index, self._integers(options["order"], f"{name}/order")], made)
        axes = self._integers(options["axes"], f"{name}/axes")
        operator = "MEAN" if kind == "mean" else "REDUCE_MAX"
        return graph.operator(operator, [x.index, axes], made, keepDims=options["keepdims"])

    def _reshaped(self, x: Held, shape: tuple[int, ...], name: str) -> Held:
        if x.shape == shape:
            return x
        made = self._like([x], x.form, name, shape)
        return self.graph.operator("RESHAPE", [x.index, self._integers([-1, *shape], f"{name}/shape")], made)

    def _padded(self, x: Held, pads: Sequence[tuple[int, int]], name: str) -> Held:
        """Zeros before and after each axis behind the batch."""
        shape = tuple(size + before + after for size, (before, after) in zip(x.shape, pads, strict=True))
        made = self._like([x], x.form, name, shape)
        return self.graph.operator("PAD", [x.index, self._integers([(0, 0), *pads], f"{name}/pads")], made)

    def _arithmetic(self, operation: Operation, inputs: Sequence[Held], form: Form, fused: int, name: str) -> Held:
        """Two operands at a time; what lies between in INT16."""
        kind, found = operation.kind, inputs[0]

        def binary(operator: str, other: int, made: Held, fused: int) -> Held:
            options = {} if operator == "MUL" else {"potScaleInt16": False}
            coarsest = max(x.form.scale for x in inputs)
            if not form.is_float and options and coarsest > made.form.scale * COARSEST_ADDEND:
                raise ExportError(
                    f"`{operation.name}` adds feature maps whose steps are too far from its result's ({coarsest:.3g} "
                    f"and {made.form.scale:.3g}): LiteRT takes up to {COARSEST_ADDEND} times; give --format onnx or "
                    "keras"
                )
            return self.graph.operator(operator, [found.index, other], made, fusedActivationFunction=fused, **options)

        for number, x in enumerate(inputs[1:], start=2):
            last = number == len(inputs) and kind != "average"
            most = found.most * x.most if kind == "multiply" else found.most + x.most
            negative = (found.negative or x.negative or kind == "subtract") and not (fused and last)
            shape = tuple(np.broadcast_shapes(found.shape, x.shape))
            within = form if last or form.is_float else spanning(most)
            made = self.graph.feature_map(name, shape, within, most=most, negative=negative)
            found = binary(ARITHMETIC[kind], x.index, made, fused if last else 0)
        if kind == "average":
            share = 1.0 / len(inputs)
            label = f"{name}/share"
            one = (
                self._code(1, Form("int16", share), label)
                if not form.is_float
                else float_constant(self.graph, share, label)
            )
            made = self._like([found], form, name)
            found = binary("MUL", one, replace(made, negative=found.negative and not fused), fused)
        return found

    def _weighted(self, operation: Operation, x: Held, form: Form, fused: int, name: str, again: bool) -> Held:
        """A convolution, dense layer or factor of each channel."""
        kernel, graph = operation.kernel, self.graph
        if kernel is None or (kernel.bits is None) != form.is_float:
            raise stays_float(operation.name)
        operator, codes, axis = _arranged(operation, is_depthwise(self.program, operation))
        outputs, shape = codes.shape[axis], operation.shape
        options: dict[str, Any] = {"fusedActivationFunction": fused}
        if operator == "FULLY_CONNECTED":
            options["keepNumDims"] = len(shape) > 1
        else:
            x, shape = self._reshaped(x, plane_of(x.shape), f"{name}/plane"), plane_of(shape)
            windows = Windows.of(operation, codes.shape[1:3])
            padding = windows.padding(x.shape)
            if padding is None:
                x = self._padded(x, [*windows.pads, (0, 0)], f"{name}/padded")
            options |= windows.arguments(padding or "VALID", graph.schema)
            options |= {"dilationHFactor": windows.dilations[0], "dilationWFactor": windows.dilations[1]}
        if operator == "DEPTHWISE_CONV_2D":
            options["depthMultiplier"] = outputs // x.shape[-1]
        narrow = kernel.bits is not None and kernel.bits <= NARROW_KERNEL_BITS
        kind = "float32" if kernel.bits is None else ("int4" if narrow else "int8")
        scale = None if kernel.bits is None else kernel.scale.reshape(-1)
        counted = 0 if scale is None else len(scale)
        weights = graph.constant(kernel.site, codes, kind, scale, axis=axis, scales_counted=counted)
        of_bias = {"float32": "float32", "int8": "int32", "int16": "int64"}[form.container]
        if of_bias == "int64" and operator != "DEPTHWISE_CONV_2D":
            of_bias = "int32" if _fits_int32(operation, x) else of_bias  # faster, and rounded better
            options["quantizedBiasType"] = getattr(graph.schema.TensorType, of_bias.upper())
        bias = self._bias(operation, x, outputs, of_bias, form, again)
        most = _largest_sum(operation, [x])
        made = graph.feature_map(name, shape, form, most=most, negative=not fused)
        graph.operator(operator, [x.index, weights, bias], made, **options)
        return self._reshaped(made, operation.shape, f"{name}/shaped")

    def _bias(self, operation: Operation, x: Held, outputs: int, kind: str, form: Form, again: bool) -> int:
        """An operation's bias in the unit of its sums, of zero where it has none, since operators want one.

        Args:
            operation: a weighted one.
            x: what it reads.
            outputs: channels.
            kind: type of the bias.
            form: of the result, whose rounding is allowed for. A kernel with a bias of 32 bits rounds sum · m to a
                whole number, with m · 2^-n = unit / step and m between a half and one, and then that over 2^n, halves
                upwards both times. So what lies up to half a unit below a half goes up as well, and half a unit,
                1 / (2 m) of the sum, is taken off.
            again: whether the result is then rounded to a coarser form, so that half of its step goes up as well.
        """
        kernel, bias = operation.kernel, operation.bias
        assert kernel is not None
        unit = None if x.form.is_float else np.float32(x.form.scale) * kernel.scale.reshape(-1)
        given = np.zeros(outputs, np.float32) if bias is None else self.biases[operation.name].values
        name = f"{operation.name}/zeros" if bias is None else bias.site
        if unit is None:
            return self.graph.constant(name, given, kind, scales_counted=None if bias is None else 0)
        steps = unit.astype(np.float64)
        part, exponent = np.frexp(steps / form.scale)
        twice = (exponent < 0) & (kind == "int32")
        early = np.where(twice, 0.5 / part, 0.0) + (0.5 * form.scale / steps if again else 0.0)
        codes = np.round(given.astype(np.float64) / steps - early)
        if bias is None:
            return self.graph.constant(name, codes, kind, unit)
        self.stored[bias.site] = (codes + early) * steps
        return self.graph.constant(name, codes, kind, unit, scales_counted=1)

    def _planar(self, operation: Operation, x: Held, form: Form, name: str) -> Held:
        """Pooling and enlarging, over height and width."""
        kind, graph = operation.kind, self.graph
        x, shape = self._reshaped(x, plane_of(x.shape), f"{name}/plane"), plane_of(operation.shape)
        if kind == "upsample":
            sizes = self._integers(shape[:2], f"{name}/sizes")
            made = self._like([x], form, name, shape)
            graph.operator("RESIZE_NEAREST_NEIGHBOR", [x.index, sizes], made, halfPixelCenters=True)
            return self._reshaped(made, operation.shape, f"{name}/shaped")
        windows = Windows.of(operation, operation.options["sizes"])
        padding = windows.padding(x.shape)
        if padding is None:
            raise ExportError(f"`{operation.name}` pads unlike LiteRT's pooling; give --format onnx or keras")
        if kind == "average_pool" and not form.is_float:  # it rounds in its input's scale
            x = self._requantized(x, finer(x.form, x.most), f"{name}/fine")
        made = self._like([x], x.form, name, shape)
        options = {"filterHeight": windows.sizes[0], "filterWidth": windows.sizes[1]}
        options |= windows.arguments(padding, graph.schema)
        graph.operator(f"{kind.upper()}_2D", [x.index], made, **options)
        return self._reshaped(self._requantized(made, form, f"{name}/pooled"), operation.shape, f"{name}/shaped")

    def _softmax(self, operation: Operation, x: Held, name: str) -> Held:
        if operation.options["axis"] != len(operation.shape):
            raise ExportError(
                f"`{operation.name}` takes a softmax over another axis than the last, which no LiteRT file has; give "
                "--format onnx or keras"
            )
        return self.graph.operator("SOFTMAX", [x.index], self._like([x], FLOAT, name), beta=1.0)


def _arranged(operation: Operation, depthwise: bool) -> tuple[str, np.ndarray, int]:
    """The operator for an operation's kernel, the codes as it wants them, and the axis of its outputs."""
    assert operation.kernel is not None
    codes = operation.kernel.codes
    if operation.kind == "dense":
        return "FULLY_CONNECTED", codes.T, 0
    codes = codes.reshape(*(1,) * (4 - codes.ndim), *codes.shape)
    if depthwise:
        return "DEPTHWISE_CONV_2D", codes.transpose(2, 0, 1, 3), 3
    return "CONV_2D", codes.transpose(3, 0, 1, 2), 0


def _largest_sum(operation: Operation, inputs: Sequence[Held]) -> float:
    """What no magnitude of an operation's results exceeds."""
    kernel, bias = operation.kernel, operation.bias
    most = [x.most for x in inputs]
    if kernel is not None and operation.kind in WEIGHTED:
        sums = _sums_of_magnitudes(kernel.values, operation.kind)
        return float(np.max(sums * most[0] + (0.0 if bias is None else np.abs(bias.values.astype(np.float64)))))
    if operation.kind in ("add", "subtract"):
        return sum(most)
    return prod(most) if operation.kind == "multiply" else max(most)


def _fits_int32(operation: Operation, x: Held) -> bool:
    """Whether no sum of products, in its unit, needs more than 32 bits."""
    assert operation.kernel is not None
    sums = _sums_of_magnitudes(operation.kernel.codes, operation.kind) * (x.most / x.form.scale)
    return bool(np.max(sums + (0 if operation.bias is None else np.abs(operation.bias.codes))) < INT32_SUMS)


def _sums_of_magnitudes(kernel: np.ndarray, kind: str) -> np.ndarray:
    """For each output of a kernel."""
    shared = tuple(range(kernel.ndim - 1)) if kind != "scale" else ()
    return np.abs(kernel).astype(np.float64).sum(axis=shared)


def _reach(functions: Sequence[Function], grid: Grid) -> float:
    """The magnitude beyond which functions of a value have the same code."""
    magnitudes = FARTHEST * 2.0 ** (-np.arange(30 * 4)[::-1] / 4)
    values = np.stack([magnitudes, -magnitudes]).reshape(2, -1, 1, 1, 1)
    with np.errstate(all="ignore"):
        for function in functions:
            values = np.nan_to_num(function(values))
        codes = grid.codes(values).reshape(2, len(magnitudes), -1)
    changing = np.flatnonzero(np.any(codes != codes[:, -1:], axis=(0, 2)))
    return float(magnitudes[changing[-1] + 1] if len(changing) else magnitudes[0])
