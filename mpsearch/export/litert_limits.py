"""What a LiteRT file (`.tflite`) can hold of a program: containers of codes, and where they run out.

| codes | container |
|---|---|
| kernels of 2 to 4 bits | INT4, two to a byte |
| kernels of 5 to 8 bits | INT8 |
| feature maps of up to 8 bits | INT8 with a zero-point |
| feature maps of 9 to 16 bits, unsigned up to 15 | INT16 without one |

An operator's inputs and output have one container, so a wider one on either side makes it compute in INT16. So do
functions that LiteRT computes in float: the sums before them are held in INT16.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from mpsearch.config import Config
from mpsearch.errors import ExportError
from mpsearch.export.functions import Function
from mpsearch.export.program import Grid, Operation, Program, Weight

LIMITS: Mapping[str, tuple[int, int]] = {"int8": (-128, 127), "int16": (-32768, 32767)}
"""Container to its smallest and largest stored number."""
KERNEL_BITS, NARROW_KERNEL_BITS = 8, 4
WEIGHTED = frozenset({"convolution", "dense", "scale"})
"""Kinds with a kernel."""


@dataclass(frozen=True)
class Form:
    """How a feature map's values are stored: (number - zero) · scale.

    Attributes:
        container: "float32", "int8" or "int16".
        scale, zero: of the stored numbers; 1 and 0 in float32.
    """

    container: str
    scale: float = 1.0
    zero: int = 0

    @property
    def is_float(self) -> bool:
        """Whether values are stored as they are."""
        return self.container == "float32"


FLOAT = Form("float32")


@dataclass(frozen=True)
class Step:
    """An operation with the functions that alone read what it computes: one quantized tensor, or one float one.

    Attributes:
        operation: what is computed.
        functions: applied to it, in order; identities are left out, and so is an operation's own function.
        tensor: what it becomes.
        grid: the tensor's own codes; None where it keeps those that the operation reads, and where it stays float.
    """

    operation: Operation
    functions: tuple[Function, ...]
    tensor: str
    grid: Grid | None


@dataclass(frozen=True)
class Obstacle:
    """A site whose codes no LiteRT file can hold.

    Attributes:
        site: its name.
        reason: why.
        bits: the nearest width that can be held.
    """

    site: str
    reason: str
    bits: int

    def __str__(self) -> str:
        return f"`{self.site}` {self.reason}: {self.bits} bits can be held"


def obstacles(program: Program) -> list[Obstacle]:
    """What of a program's widths can't be held, each site once, in the program's order.

    Raises:
        ExportError: something but a last softmax is float in a quantized program.
    """
    found: dict[str, Obstacle] = {}
    for tensor, grid in program.grids.items():
        if container(grid.low, grid.high) is None:
            site, bits = program.sites[tensor], 16 if grid.signed else 15
            kind = "signed" if grid.signed else ("unsigned" if grid.low >= 0 else "affine")
            found[site] = Obstacle(site, f"has {kind} codes of {grid.bits} bits, which don't fit INT16", bits)
    for step in steps_of(program):
        kernel = step.operation.kernel
        if kernel is None or kernel.bits is None:
            continue
        if kernel.bits > KERNEL_BITS:
            reason = f"has {kernel.bits} bits, but kernels have 8 at most"
            found[kernel.site] = Obstacle(kernel.site, reason, KERNEL_BITS)
        elif kernel.bits <= NARROW_KERNEL_BITS and is_depthwise(program, step.operation) and is_wide(program, step):
            reason = (
                f"has {kernel.bits} bits, of which LiteRT's depthwise kernel makes nonsense beside INT16 feature maps"
            )
            found[kernel.site] = Obstacle(kernel.site, reason, KERNEL_BITS)
    return list(found.values())


def nearest_config(config: Config, program: Program) -> Config:
    """The config with the widths that a LiteRT file can hold instead of those that it can't; all else is kept.

    Args:
        config: any of the program's network.
        program: of that network, under whichever config.
    """
    while found := obstacles(_with_widths(program, config)):
        changed = {obstacle.site: replace(config[obstacle.site], bits=obstacle.bits) for obstacle in found}
        config = Config({**config, **changed})
    return config


def container(low: int, high: int) -> str | None:
    """The container of a feature map's codes: "int8", "int16", or None where they fit neither."""
    if high - low <= 255:
        return "int8"
    least, most = LIMITS["int16"]
    return "int16" if least <= low and high <= most else None


def form_of(grid: Grid, high: int) -> Form:
    """How a grid's codes are stored, whose largest is `high`: as the largest that INT8 holds."""
    kind = container(grid.low, grid.high)
    assert kind is not None
    return Form(kind, grid.scale, LIMITS["int8"][1] - high if kind == "int8" else 0)


def spanning(most: float) -> Form:
    """The form in INT16 that just holds magnitudes up to `most`."""
    return Form("int16", float(np.float32(max(most, 1e-30) / LIMITS["int16"][1])))


def finer(form: Form, most: float) -> Form:
    """A form in INT16 that holds magnitudes up to `most` as finely as it can, by a power of two, and no coarser."""
    room = LIMITS["int16"][1] * form.scale / max(most, form.scale)
    return Form("int16", form.scale / 2 ** max(0, int(np.log2(room))))


def is_depthwise(program: Program, operation: Operation) -> bool:
    """Whether LiteRT has it as a DEPTHWISE_CONV_2D: each channel by itself."""
    if operation.kind == "scale":
        return True
    groups = operation.options.get("groups", 1)
    return operation.kind == "convolution" and groups > 1 and groups == program.shape(operation.inputs[0])[-1]


def is_wide(program: Program, step: Step) -> bool:
    """Whether a quantized step computes in INT16."""
    operation = step.operation
    grids = [program.grid(tensor) for tensor in operation.inputs] + [step.grid]
    if any(grid is not None and container(grid.low, grid.high) != "int8" for grid in grids):
        return True
    if operation.bias is not None and (operation.bias.bits or 0) > 32:
        return True
    if operation.kind in ("mean", "average") or not all(function.bounds for function in step.functions):
        return True  # LiteRT's MEAN rounds badly in INT8
    return operation.kind in ("add", "multiply") and len(operation.inputs) > 2


def steps_of(program: Program) -> list[Step]:
    """The program's operations with the functions behind them, in an order in which they can be executed.

    Raises:
        ExportError: something but a last softmax is float in a quantized program.
    """
    found: list[Step] = []
    covered: set[str] = set()
    for name in program.inputs:
        _, _, names = behind(program, name)
        covered.update(names)
    for operation in program.operations:
        if operation.name in covered:
            continue
        kept = operation.keeps_codes and program.grid(operation.name) is not None
        if program.grids and operation.name not in program.grids and (kept or _is_last_softmax(program, operation)):
            found.append(Step(operation, (), operation.name, None))
            continue
        tensor, functions, names = behind(program, operation.name)
        covered.update(names)
        if program.grids and tensor not in program.grids:
            raise stays_float(operation.name)
        found.append(Step(operation, functions, tensor, program.grids.get(tensor)))
    return found


def behind(program: Program, tensor: str) -> tuple[str, tuple[Function, ...], tuple[str, ...]]:
    """What becomes of a tensor by functions that alone read it, up to the first that is quantized.

    Returns:
        The last tensor, the functions but identities, and the names of all their operations.
    """
    functions: list[Function] = []
    names: list[str] = []
    while tensor not in program.grids and tensor not in program.outputs:
        readers = program.readers[tensor]
        if len(readers) != 1 or readers[0].function is None:
            break
        tensor = readers[0].name
        functions.append(readers[0].function)
        names.append(tensor)
    return tensor, tuple(function for function in functions if not function.is_identity), tuple(names)


def stays_float(tensor: str) -> ExportError:
    """The error about a float tensor in a quantized program."""
    return ExportError(
        f"`{tensor}` stays float, but a LiteRT file needs codes everywhere or nowhere: search the space without "
        "skipping sites (a last softmax may stay float), or give --format onnx or keras"
    )


def _is_last_softmax(program: Program, operation: Operation) -> bool:
    return operation.kind == "softmax" and operation.name in program.outputs and not program.readers[operation.name]


def _with_widths(program: Program, config: Config) -> Program:
    """The program with a config's widths for its own, and codes that don't fit them."""

    def weight(given: Weight | None) -> Weight | None:
        if given is None or given.bits is None or given.site not in config:
            return given
        return replace(given, bits=config[given.site].bits)

    grids = {
        tensor: _widened(grid, config[program.sites[tensor]].bits) if program.sites[tensor] in config else grid
        for tensor, grid in program.grids.items()
    }
    operations = tuple(replace(o, kernel=weight(o.kernel), bias=weight(o.bias)) for o in program.operations)
    return replace(program, operations=operations, grids=grids)


def _widened(grid: Grid, bits: int) -> Grid:
    """The codes of so many bits over the same range; their scale is left."""
    if grid.signed:
        limit = 2 ** (bits - 1) - 1
        return Grid(bits, grid.scale, -limit, limit)
    span = 2**bits - 1
    low = -round(span * -grid.low / (grid.high - grid.low))
    return Grid(bits, grid.scale, low, low + span)
