"""The integer reference: what the searched model computes on hardware, in NumPy, from codes, scales and shifts only.

A sum of products Σ w·x is an integer whose unit is the product of two scales. To bring it to the codes of the next
feature map each integer is multiplied by M = unit / scale, held as an integer m = M · 2^f, the products are added, and
the total is shifted right by f, rounded half to even, and clipped. Between powers of two m is one as well, f is chosen
so that nothing is lost, and the result is exact; else m has at most 31 bits.

An average divides the total by the number of values before it is rounded. Functions that only clip move the bounds of
the codes; others are looked up: a table holds, for each code, the smallest total that gets it.

Source of the multipliers: B. Jacob et al., *Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference*, CVPR 2018, section 2.2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, frexp, log2, prod
from typing import Any

import numpy as np

from mpsearch.errors import ExportError
from mpsearch.export.functions import Function
from mpsearch.export.lookup import looked_up
from mpsearch.export.program import Grid, Operation, Program

MULTIPLIER_BITS = 31
TOTAL_BITS = 62
"""What an int64 holds; totals that may be larger are computed with Python's integers."""
FLOAT64_EXACT = 2**53
FLOAT32_EXACT = 2**24
LOWEST = -(2**40)  # below each code


@dataclass(frozen=True)
class Accumulator:
    """The sums of an operation.

    Attributes:
        operation: its name.
        tensor: the quantized tensor that they become.
        bits: that hold each of them, whatever the inputs' codes are, sign included; the bias is not among them unless
            it has the same unit.
        exact: whether float32 computes its codes without rounding an intermediate result: all scales are powers of
            two, no sum of magnitudes reaches 2^24 times its unit, and functions only clip.
    """

    operation: str
    tensor: str
    bits: int
    exact: bool


@dataclass(frozen=True)
class _Part:
    """Integers of a unit: values = codes · scale.

    Attributes:
        codes: (batch, ..., channels), int64.
        scale: float64, one or one a channel.
        bound: what no magnitude of a code exceeds, for each channel or for all.
        constant: whether it is the same for all inputs, as a bias, so that it is known in whichever unit is wanted.
    """

    codes: np.ndarray
    scale: np.ndarray
    bound: np.ndarray
    constant: bool = False


@dataclass(frozen=True)
class _Sum:
    """What an operation makes before it is rescaled: the sum of its parts over a divisor."""

    parts: tuple[_Part, ...]
    divisor: Any = 1


@dataclass(frozen=True)
class _Goal:
    """What becomes of an operation's sums: functions, and the codes of a tensor."""

    tensor: str
    grid: Grid
    functions: tuple[Function, ...]


def execute(
    program: Program, inputs: Sequence[np.ndarray], given: Mapping[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Codes of all quantized tensors, and of those that keep codes that they read.

    Args:
        program: each of whose tensors but the outputs of a last softmax is quantized.
        inputs: model inputs, each float32 of shape (batch, ...).
        given: quantized tensor to codes that those who read it are given in place of its own, int64.

    Returns:
        Quantized tensor to its codes, int64 (batch, ...), computed from the inputs' codes or the given ones.

    Raises:
        ExportError: something is float there.
    """
    return _Run(program, given or {}).all(inputs)


def outputs_of(program: Program, codes: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The model's outputs in float64, with a last softmax computed in float."""
    found = []
    for name in program.outputs:
        operation = program.by_name[name]
        softmax = operation.kind == "softmax"
        source = _quantized_source(program, operation.inputs[0] if softmax else name)
        values = codes[operation.inputs[0] if softmax else name] * program.grids[source].scale
        if softmax:
            shifted = np.exp(values - values.max(axis=operation.options["axis"], keepdims=True))
            values = shifted / shifted.sum(axis=operation.options["axis"], keepdims=True)
        found.append(values)
    return found


def accumulators(program: Program) -> list[Accumulator]:
    """The accumulators of each operation that makes new codes, in order; errors as of `execute`."""
    run = _Run(program, {}, measure=True)
    run.all([np.zeros((1, *shape), np.float32) for shape in program.inputs.values()])
    return run.accumulators


class _Run:
    """One pass through a program."""

    def __init__(self, program: Program, given: Mapping[str, np.ndarray], measure: bool = False) -> None:
        self.program, self.given, self.measure = program, given, measure
        self.own: dict[str, np.ndarray] = {}  # tensor -> codes
        self.accumulators: list[Accumulator] = []
        self._covered: set[str] = set()

    def all(self, inputs: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Execute every operation."""
        for name, x in zip(self.program.inputs, inputs, strict=True):
            goal = self._goal(name)
            values = np.asarray(x, np.float32)
            for function in goal.functions:
                values = function(values)
            self.own[goal.tensor] = goal.grid.codes(np.asarray(values, np.float32))
        results = set(self.program.outputs)
        for operation in self.program.operations:
            if operation.name in self._covered:
                continue
            if operation.kind == "softmax" and operation.name in results and not self.program.readers[operation.name]:
                continue
            inherits = operation.keeps_codes and operation.name not in self.program.grids
            if inherits and self.program.grid(operation.name) is not None:
                self.own[operation.name] = moved(operation, self._codes(operation.inputs[0]))
                continue
            goal = self._goal(operation.name)
            self.own[goal.tensor] = self._rescaled(operation, self._sum(operation, goal), goal)
        return self.own

    def _codes(self, tensor: str) -> np.ndarray:
        if tensor in self.given:
            return self.given[tensor]
        if tensor not in self.own:
            raise stays_float(tensor)
        return self.own[tensor]

    def _goal(self, tensor: str) -> _Goal:
        """The quantized tensor that a tensor becomes, behind functions that alone read it."""
        functions = []
        while tensor not in self.program.grids:
            readers = self.program.readers[tensor]
            if len(readers) != 1 or readers[0].kind != "function" or tensor in self.program.outputs:
                raise stays_float(tensor)
            tensor = readers[0].name
            functions.append(readers[0].function)
            self._covered.add(tensor)
        self._covered.add(tensor)
        return _Goal(tensor, self.program.grids[tensor], tuple(f for f in functions if f and not f.is_identity))

    def _part(self, tensor: str) -> _Part:
        source = _quantized_source(self.program, tensor)
        grid = self.program.grids[source]
        return _Part(self._codes(tensor), np.asarray(grid.scale), np.asarray(float(max(-grid.low, grid.high))))

    def _sum(self, operation: Operation, goal: _Goal) -> _Sum:
        parts = [self._part(tensor) for tensor in operation.inputs]
        kind, options = operation.kind, operation.options
        if kind in ("convolution", "dense", "scale"):
            return self._weighted(operation, parts[0])
        if kind in ("add", "subtract", "average"):
            signs = (1, -1) if kind == "subtract" else (1,) * len(parts)
            signed = tuple(replace(p, codes=sign * p.codes) for p, sign in zip(parts, signs, strict=True))
            return _Sum(signed, len(parts) if kind == "average" else 1)
        if kind == "multiply":
            return _Sum((_product(parts),))
        if kind in ("maximum", "minimum", "concatenate"):
            return self._joined(operation, parts, goal)
        if kind == "mean":
            codes = parts[0].codes.sum(axis=options["axes"], keepdims=options["keepdims"])
            count = prod(parts[0].codes.shape[axis] for axis in options["axes"])
            return _Sum((replace(parts[0], codes=codes, bound=parts[0].bound * count),), count)
        if kind == "average_pool":
            codes, counts = _pooled_sums(operation, parts[0].codes)
            return _Sum((replace(parts[0], codes=codes, bound=parts[0].bound * np.max(counts)),), counts)
        if kind == "function":
            assert operation.function is not None
            return _Sum((parts[0],))
        raise ExportError(f"`{operation.name}` ({kind}) has no integer form")

    def _weighted(self, operation: Operation, part: _Part) -> _Sum:
        kernel, bias = operation.kernel, operation.bias
        assert kernel is not None
        if kernel.bits is None or (bias is not None and bias.bits is None):
            raise stays_float(operation.name)
        shared = tuple(range(kernel.codes.ndim - 1)) if operation.kind != "scale" else ()
        bound = np.abs(kernel.codes).astype(np.float64).sum(axis=shared) * part.bound
        scale = part.scale * kernel.scale.astype(np.float64).reshape(-1)
        scale = scale if len(scale) > 1 else scale[0]
        codes = _products(operation, part.codes, float(np.max(bound, initial=0.0)))
        parts = [_Part(codes, scale, bound)]
        if bias is not None:
            unit = bias.scale.astype(np.float64).reshape(-1)
            most = np.abs(bias.codes).astype(np.float64)
            values = _Part(bias.codes, unit if len(unit) > 1 else unit[0], most, constant=True)
            if np.array_equal(np.asarray(unit, np.float32), np.asarray(np.atleast_1d(scale), np.float32)):
                parts = [_Part(codes + bias.codes, scale, bound + values.bound)]
            else:
                parts.append(values)
        return _Sum(tuple(parts))

    def _joined(self, operation: Operation, parts: Sequence[_Part], goal: _Goal) -> _Sum:
        """Of tensors with scales of their own: each is brought to the goal's unit first, as finely as it needs."""
        fraction = _fraction([_Sum((part,)) for part in parts], goal.grid)
        totals = [_total(_Sum((part,)), goal.grid, fraction) for part in parts]
        if operation.kind == "concatenate":
            joined = np.concatenate(totals, axis=operation.options["axis"])
        else:
            take = np.maximum if operation.kind == "maximum" else np.minimum
            joined = totals[0]
            for total in totals[1:]:
                joined = take(joined, total)
        bound = max(float(np.max(part.bound * part.scale)) for part in parts) / goal.grid.scale * 2.0**fraction
        return _Sum((_Part(joined, np.asarray(goal.grid.scale * 2.0**-fraction), np.asarray(bound)),))

    def _rescaled(self, operation: Operation, values: _Sum, goal: _Goal) -> np.ndarray:
        own = operation.function
        functions = goal.functions if own is None or own.is_identity else (own, *goal.functions)
        if self.measure:
            self.accumulators.append(_accumulator(operation.name, values, replace(goal, functions=functions)))
        values, functions = _with_linear(values, functions)
        functions, low, high = goal.grid.clipped(functions)
        if functions:
            if np.ndim(values.divisor):
                raise ExportError(f"`{operation.name}` averages over a border and applies a function: no integer form")
            values = _Sum(tuple(replace(p, scale=p.scale / values.divisor) for p in values.parts))
        fraction = _fraction([values], goal.grid)
        if functions:
            fraction = min(fraction, _largest_fraction([values], goal.grid))
            total = _total(values, goal.grid, fraction)
            codes = looked_up(total, functions, goal.grid, fraction, operation.name)
        else:
            total = _total(values, goal.grid, fraction)
            codes = _divided(total, values.divisor, fraction)
        return np.clip(codes, low, high).astype(np.int64)


def moved(operation: Operation, codes: np.ndarray) -> np.ndarray:
    """What an operation that `keeps_codes` makes of codes (batch, ...)."""
    options = operation.options
    if operation.function is not None:
        return np.maximum(codes, 0) if operation.function.is_relu else codes
    if operation.kind == "reshape":
        return codes.reshape(len(codes), *operation.shape)
    if operation.kind == "transpose":
        return codes.transpose(options["order"])
    if operation.kind == "max":
        return np.asarray(codes.max(axis=options["axes"], keepdims=options["keepdims"]))
    if operation.kind == "pad":
        return np.pad(codes, ((0, 0), *options["pads"]))
    if operation.kind == "slice":
        slices = [slice(start, stop) for start, stop in zip(options["starts"], options["stops"], strict=True)]
        return codes[(slice(None), *slices)]
    if operation.kind == "upsample":
        for axis, size in enumerate(options["sizes"], start=1):
            codes = codes.repeat(size, axis=axis)
        return codes
    padded = np.pad(codes, ((0, 0), *options["pads"], (0, 0)), constant_values=LOWEST)
    windows = _windows(padded, options["sizes"], options["strides"], (1,) * len(options["sizes"]), operation.shape)
    found = None
    for window in windows:
        found = window if found is None else np.maximum(found, window)
    assert found is not None
    return found


def _quantized_source(program: Program, tensor: str) -> str:
    """The tensor whose codes a tensor holds."""
    while tensor not in program.grids:
        if tensor in program.inputs or not program.by_name[tensor].keeps_codes:
            raise stays_float(tensor)
        tensor = program.by_name[tensor].inputs[0]
    return tensor


def _windows(
    padded: np.ndarray,
    sizes: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    shape: Sequence[int],
) -> list[np.ndarray]:
    """For each position of a kernel, in row-major order, what it meets: each of shape (batch, *spatial, channels)."""
    found = []
    for position in np.ndindex(*sizes):
        slices = [
            slice(at * dilation, at * dilation + (count - 1) * stride + 1, stride)
            for at, dilation, stride, count in zip(position, dilations, strides, shape, strict=False)
        ]
        found.append(padded[(slice(None), *slices)])
    return found


def _products(operation: Operation, codes: np.ndarray, bound: float) -> np.ndarray:
    """Sums of products of a kernel's codes with a feature map's: exact, int64, or Python's integers beyond.

    NumPy multiplies matrices of integers slowly; where no sum reaches 2^53 float64 holds them all, and is exact.
    """
    kernel = operation.kernel
    assert kernel is not None
    kind: Any = np.float64 if bound < FLOAT64_EXACT else (np.int64 if bound < 2.0**TOTAL_BITS else object)
    w, x = kernel.codes.astype(kind), codes.astype(kind)
    if operation.kind == "dense":
        found = x @ w
    elif operation.kind == "scale":
        found = x * w
    else:
        options = operation.options
        padded = np.pad(x, ((0, 0), *options["pads"], (0, 0)))
        sizes, groups = w.shape[:-2], options["groups"]
        windows = _windows(padded, sizes, options["strides"], options["dilations"], operation.shape)
        found = np.zeros((len(x), *operation.shape), kind)
        for window, of_position in zip(windows, w.reshape(-1, *w.shape[-2:]), strict=True):
            if groups == 1:
                found += window @ of_position
            elif w.shape[-2] == 1:
                found += np.repeat(window, w.shape[-1] // groups, axis=-1) * of_position[0]
            else:
                split = window.reshape(*window.shape[:-1], groups, w.shape[-2])
                by_group = of_position.reshape(w.shape[-2], groups, -1)
                found += np.einsum("...gi,igo->...go", split, by_group).reshape(found.shape)
    return found if kind is object else found.astype(np.int64)


def _pooled_sums(operation: Operation, codes: np.ndarray) -> tuple[np.ndarray, Any]:
    """Sums of windows, and how many values each has: a number, or where they differ (1, *spatial, 1)."""
    options = operation.options
    ones = np.ones((1, *codes.shape[1:-1], 1), np.int64)
    sums = []
    for array in (codes, ones):
        padded = np.pad(array, ((0, 0), *options["pads"], (0, 0)))
        sums.append(
            sum(_windows(padded, options["sizes"], options["strides"], (1,) * len(options["sizes"]), operation.shape))
        )
    counts = np.asarray(sums[1])
    return np.asarray(sums[0]), counts if np.ptp(counts) else counts.flat[0]


def _product(parts: Sequence[_Part]) -> _Part:
    found = parts[0]
    for part in parts[1:]:
        found = _Part(found.codes * part.codes, found.scale * part.scale, found.bound * part.bound)
    return found


def _with_linear(values: _Sum, functions: tuple[Function, ...]) -> tuple[_Sum, tuple[Function, ...]]:
    """Take x · factor + offset, where it comes first, into the scales."""
    while functions and functions[0].name in ("linear", "negative") and np.ndim(values.divisor) == 0:
        numbers = functions[0].numbers or {"factor": -1.0, "offset": 0.0}
        factor, offset = np.asarray(numbers["factor"], np.float64), np.asarray(numbers["offset"], np.float64)
        parts = [replace(p, scale=p.scale * factor / values.divisor) for p in values.parts]
        if np.any(offset):
            one = np.ones(offset.shape, np.int64)
            parts.append(_Part(one, offset, one.astype(np.float64), constant=True))
        values, functions = _Sum(tuple(parts)), functions[1:]
    return values, functions


def _fraction(sums: Sequence[_Sum], grid: Grid) -> int:
    """How many bits of a grid's step totals keep: f of the module's text."""
    parts = [part for values in sums for part in values.parts]
    ratios = [np.abs(part.scale[part.scale != 0.0] / grid.scale) for part in parts]
    used = np.concatenate([ratio.ravel() for ratio in ratios])
    if not used.size:
        return 0
    if all(_is_po2(ratio) for ratio in used):
        return max(0, -round(log2(used.min())))
    multiplied = [ratio.max() for part, ratio in zip(parts, ratios, strict=True) if ratio.size and not part.constant]
    return max(0, min(_largest_fraction(sums, grid), MULTIPLIER_BITS - 1 - ceil(log2(max(multiplied, default=1.0)))))


def _largest_fraction(sums: Sequence[_Sum], grid: Grid) -> int:
    """Bits of a step with which every total fits an int64."""
    most = max(sum(float(np.max(p.bound * np.abs(p.scale))) for p in values.parts) for values in sums) / grid.scale
    return max(0, TOTAL_BITS - 1 - ceil(log2(most + 1.0)))


def _total(values: _Sum, grid: Grid, fraction: int) -> np.ndarray:
    """The sum of all parts in units of a grid's step times 2^-fraction: int64, or Python's integers beyond."""
    most = sum(float(np.max(p.bound * np.abs(p.scale))) for p in values.parts) / grid.scale * 2.0**fraction
    kind: Any = np.int64 if most < 2.0**TOTAL_BITS else object
    total: Any = 0
    for part in values.parts:
        ratio = np.asarray(part.scale / grid.scale, np.float64)
        if part.constant:
            shares = np.asarray(part.codes * ratio)
            whole = np.array([_rounded(float(share), fraction) for share in shares.ravel()], kind)
            total = total + whole.reshape(shares.shape)
            continue
        multiplier = np.array([_rounded(r, fraction) for r in ratio.reshape(-1)], kind).reshape(ratio.shape)
        total = total + part.codes.astype(kind) * multiplier
    return np.asarray(total)


def _rounded(ratio: float, fraction: int) -> int:
    """ratio · 2^fraction as an integer, half to even, whatever its size."""
    mantissa, exponent = frexp(ratio)
    whole, shift = int(mantissa * 2**53), exponent - 53 + fraction
    return whole << shift if shift >= 0 else round_shift(whole, -shift)


def round_shift(number: Any, shift: int) -> Any:
    """number / 2^shift, rounded half to even; of an integer or an array of integers."""
    if shift == 0:
        return number
    floor, half = number >> shift, 1 << (shift - 1)
    rest = number - (floor << shift)
    return floor + ((rest > half) | ((rest == half) & (floor & 1 == 1)))


def _divided(total: np.ndarray, divisor: Any, fraction: int) -> np.ndarray:
    """total / (divisor · 2^fraction), rounded half to even."""
    if np.ndim(divisor) == 0 and divisor == 1:
        if total.dtype == object:
            return np.array([round_shift(int(t), fraction) for t in total.ravel()], object).reshape(total.shape)
        return np.asarray(round_shift(total, fraction))
    large = total.dtype == object or float(np.max(divisor)) * 2.0**fraction >= 2.0 ** (TOTAL_BITS - 1)
    whole = np.asarray(divisor, object if large else np.int64) * (1 << fraction)
    number = total.astype(object) if large else total
    floor = number // whole
    twice = (number - floor * whole) * 2
    return np.asarray(floor + ((twice > whole) | ((twice == whole) & (floor % 2 == 1))))


def _accumulator(name: str, values: _Sum, goal: _Goal) -> Accumulator:
    """Facts of an operation's sums."""
    largest = float(np.max(values.parts[0].bound, initial=0.0))
    clipping = all(function.bounds is not None for function in goal.functions)
    divisors = np.unique(values.divisor)
    exact = clipping and _is_po2(goal.grid.scale) and all(_is_po2(float(divisor)) for divisor in divisors)
    scales = np.stack(np.broadcast_arrays(*(np.atleast_1d(part.scale) for part in values.parts)))
    if exact and all(_is_po2(float(scale)) for scale in scales.ravel()):
        bounds = np.stack(np.broadcast_arrays(*(np.atleast_1d(part.bound) for part in values.parts)))
        scales, bounds = np.broadcast_arrays(scales.reshape(len(values.parts), -1), bounds)
        totals = (bounds * scales / scales.min(axis=0)).sum(axis=0) * np.max(values.divisor)
        exact = bool(totals.max(initial=0.0) < FLOAT32_EXACT)
    else:
        exact = False
    return Accumulator(name, goal.tensor, ceil(log2(largest + 1.0)) + 1, exact)


def _is_po2(number: float) -> bool:
    return number > 0.0 and frexp(number)[0] == 0.5


def stays_float(tensor: str) -> ExportError:
    """The error about a tensor that has no codes."""
    return ExportError(
        f"`{tensor}` stays float, but integers need codes everywhere: search the space without skipping sites (a last "
        "softmax may stay float), or give --format onnx or keras"
    )
