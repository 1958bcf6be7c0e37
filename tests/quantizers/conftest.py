"""Tensors that quantizers are tried on."""

from dataclasses import dataclass

import numpy as np
import pytest

RNG = np.random.default_rng(7)


def _tensors(shape: tuple[int, ...], channel: int) -> dict[str, np.ndarray]:
    """Awkward tensors of one shape, by name; `channel` is the axis of output channels."""
    random = RNG.normal(0, 0.1, shape)
    some_zero = random.copy()
    np.moveaxis(some_zero, channel, 0)[[0, 2]] = 0.0
    outlier = random.copy()
    outlier.flat[3] = 40.0
    ties = RNG.integers(-7, 8, shape) / 2.0
    tensors = {
        "random": random,
        "heavy": RNG.standard_t(2, shape),
        "constant": np.full(shape, -0.3),
        "zero": np.zeros(shape),
        "some_zero": some_zero,
        "outlier": outlier,
        "tiny": random * 1e-12,
        "huge": random * 1e20,
        "powers": 2.0 ** RNG.integers(-6, 1, shape) * RNG.choice([-1, 1], shape),
        "ties": ties,
    }
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items()}


SHAPES = {"dense": ((24, 6), 1, (0,)), "conv": ((3, 3, 4, 6), 3, (0, 1, 2)), "depthwise": ((3, 3, 6, 1), 2, (0, 1, 3))}
ROUGH = ("zero", "tiny", "huge", "some_zero")  # where QKeras's own auto_po2 is far off, or NaN


@dataclass(frozen=True)
class Kernel:
    """Awkward tensors side by side in one kernel; they don't touch, since each channel has a scale of its own.

    Attributes:
        axes: axes that share a scale.
        channel: axis of the output channels.
        all: every tensor, one after another along `channel`.
        tame: those on which QKeras's auto_po2 works.
        zero: where a whole channel of `all` is zero, per channel.
    """

    axes: tuple[int, ...]
    channel: int
    all: np.ndarray
    tame: np.ndarray

    @property
    def zero(self) -> np.ndarray:
        return ~self.all.any(axis=self.axes)


def _kernel(kind: str) -> Kernel:
    shape, channel, axes = SHAPES[kind]
    tensors = _tensors(shape, channel)
    tame = [tensor for name, tensor in tensors.items() if name not in ROUGH]
    return Kernel(axes, channel, np.concatenate(list(tensors.values()), channel), np.concatenate(tame, channel))


KERNELS = {kind: _kernel(kind) for kind in SHAPES}


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> Kernel:
    """Awkward kernels of a dense layer, a convolution, a depthwise convolution."""
    return KERNELS[request.param]
