"""Biases in the unit of the sums that they are added to, as most hardware needs them."""

from dataclasses import replace

import numpy as np

from mpsearch.errors import ExportError
from mpsearch.export.integer import FLOAT32_EXACT, TOTAL_BITS, stays_float
from mpsearch.export.program import Grid, Operation, Program, Weight

LOST_UNIT = 2.0**-20
"""Unit of a channel whose products are lost beside its bias, relative to that bias."""


def with_aligned_biases(program: Program) -> Program:
    """The program with each bias in the unit of the sums that it is added to, as most hardware needs it.

    A bias b · s_b becomes round(b · s_b / (s_input · s_kernel)) of that unit, one for each channel, in 32 bits, or in
    64 where it doesn't fit. Where no sum of a channel reaches 2^-24 of its bias, so that float32 loses it as well, the
    channel's kernel becomes zero, and its unit 2^-20 of the bias.

    Raises:
        ExportError: a bias without codes, or whose layer has float inputs or kernels.
    """
    changed = [
        operation if operation.bias is None else _aligned(program, operation) for operation in program.operations
    ]
    return replace(program, operations=tuple(changed))


def _aligned(program: Program, operation: Operation) -> Operation:
    kernel, bias, grid = operation.kernel, operation.bias, program.grid(operation.inputs[0])
    assert kernel is not None
    assert bias is not None
    if kernel.bits is None or grid is None:
        raise stays_float(operation.name)
    wide = bias.values.astype(np.float64) if bias.bits is None else bias.codes * bias.scale.astype(np.float64)
    if kernel.axis is not None:
        kernel = _without_lost_channels(kernel, grid, wide)
    unit = (np.float64(grid.scale) * kernel.scale.astype(np.float64)).reshape(-1)
    codes = np.round(wide / unit)
    largest = np.abs(codes).max(initial=0.0)
    if largest >= 2.0**TOTAL_BITS:
        raise ExportError(f"`{bias.site}` doesn't fit 64 bits of the unit of its layer's sums")
    bits = 32 if largest < 2**31 else 64
    aligned = Weight(bias.site, bits, codes.astype(np.int64), np.asarray(unit, np.float32), 0, bias.role)
    return replace(operation, kernel=kernel, bias=aligned)


def _without_lost_channels(kernel: Weight, grid: Grid, bias: np.ndarray) -> Weight:
    """A kernel whose last axis has scales, with zeros where its sums are lost beside the bias, float64 (channels,)."""
    shared = tuple(range(kernel.codes.ndim - 1))
    sums = np.abs(kernel.codes).sum(axis=shared) * float(max(-grid.low, grid.high))
    unit = grid.scale * kernel.scale.astype(np.float64).reshape(-1)
    lost = (sums > 0) & (np.abs(bias) >= FLOAT32_EXACT * sums * unit)
    scale = np.where(lost, np.abs(bias) * LOST_UNIT / grid.scale, kernel.scale.reshape(-1))
    codes = np.where(lost, 0, kernel.codes)
    return replace(kernel, codes=codes, scale=np.asarray(scale, np.float32).reshape(kernel.scale.shape))
