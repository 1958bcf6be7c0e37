"""Windows of convolutions and pooling as LiteRT has them: along height and width, with pads called SAME or VALID."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from mpsearch.export.program import Operation


@dataclass(frozen=True)
class Windows:
    """What a convolution or pooling meets, along height and width.

    Attributes:
        sizes, strides, dilations: of each axis.
        pads: before and after each axis.
    """

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]

    @staticmethod
    def of(operation: Operation, sizes: Sequence[int]) -> "Windows":
        """Those of an operation; a single axis becomes the second of two."""

        def pair(values: Sequence[Any], fill: Any) -> tuple[Any, ...]:
            return (*(fill,) * (2 - len(values)), *values)

        options = operation.options
        strides, dilations, pads = (options.get(name, ()) for name in ("strides", "dilations", "pads"))
        return Windows(pair(sizes, 1), pair(strides, 1), pair(dilations, 1), pair(pads, (0, 0)))

    def padding(self, shape: tuple[int, ...]) -> str | None:
        """What LiteRT calls the pads of a feature map (height, width, channels); None where it has no name for them."""
        if not any(map(any, self.pads)):
            return "VALID"
        same = []
        for size, kernel, stride, dilation in zip(shape, self.sizes, self.strides, self.dilations, strict=False):
            total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
            same.append((total // 2, total - total // 2))
        return "SAME" if self.pads == tuple(same) else None

    def arguments(self, padding: str, schema: Any) -> dict[str, int]:
        """Options of an operator."""
        return {"padding": getattr(schema.Padding, padding), "strideH": self.strides[0], "strideW": self.strides[1]}


def plane_of(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Height, width and channels of a shape without the batch dimension."""
    full = (1, 1, *shape)
    return prod(full[:-2]), full[-2], full[-1]
