"""What codes take in memory: the container rule, which exported files follow as well.

| codes | bits | container |
|---|---|---|
| kernels | 2 to 4 | two to a byte |
| kernels | 5 to 8 | one byte |
| kernels | 9 to 16 | two bytes |
| kernels | 17 to 32 | four bytes |
| biases | 2 to 16 | two bytes |
| biases | 17 to 32 | four bytes |
| scales | | four bytes (float32), powers of two as well: one a channel of a kernel, a bias, a feature map |
| zero-points | | the container of the feature map's codes, one for each affine feature map |
| float | | four bytes |
"""

import numpy as np

SCALE_BYTES = 4


def container_bits(widths: np.ndarray) -> np.ndarray:
    """Bits that a code takes, for widths of 2 to 32 bits; int64, the same shape."""
    return np.where(widths <= 4, 4, padded_bits(widths))


def padded_bits(widths: np.ndarray) -> np.ndarray:
    """Bits that a code takes where each has at least a byte; int64, the same shape."""
    return np.where(widths <= 8, 8, np.where(widths <= 16, 16, 32)).astype(np.int64)


def bias_bits(widths: np.ndarray) -> np.ndarray:
    """Bits that a bias takes; int64, the same shape."""
    return np.where(widths <= 16, 16, 32).astype(np.int64)


def whole_bytes(bits: np.ndarray) -> np.ndarray:
    """Bytes that hold so many bits."""
    return -(-bits // 8)
