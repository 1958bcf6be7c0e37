"""What `quantized_bits(…, alpha="auto_po2")` makes of small weights: QKeras and NumPy alone.

    pip install qkeras-v3
    python reproducer.py              # prints tables; --json FILE keeps the numbers

Kernels 3×3×64×64, normally distributed and clipped at three standard deviations, which is the largest weight named.
Signal-to-noise ratio in decibels, and the share of weights that become zero; beside QKeras's rule the best power of two
of each channel, found by trying all.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

WIDTHS = (4, 6, 8, 10, 12, 16)
LARGEST = (1.0, 0.3, 0.1, 0.05, 0.01, 0.001)
RULES = ("integer = bits", "integer = 0", "best power of two")


def kernel(largest: float) -> np.ndarray:
    """A kernel whose largest weight is about this."""
    drawn = np.random.default_rng(0).normal(0.0, 1.0, (3, 3, 64, 64)).clip(-3.0, 3.0)
    return np.asarray(drawn * (largest / 3.0), np.float32)


def qkeras_values(w: np.ndarray, bits: int, integer: int) -> np.ndarray:
    """What QKeras computes with in place of a kernel."""
    from qkeras import quantized_bits

    return np.asarray(quantized_bits(bits, integer, 1, 1, alpha="auto_po2")(w), np.float64)


def best_values(w: np.ndarray, bits: int) -> np.ndarray:
    """Each output channel with the power of two of the least squared error."""
    limit = 2.0 ** (bits - 1) - 1.0
    x = w.astype(np.float64)
    best = np.zeros_like(x)
    least = np.full(x.shape[-1], np.inf)
    for exponent in range(-40, 3):
        scale = 2.0**exponent
        q = np.clip(np.rint(x / scale), -limit, limit) * scale
        errors = np.sum((q - x) ** 2, axis=(0, 1, 2))
        better = errors < least
        best[..., better], least[better] = q[..., better], errors[better]
    return best


def figures(w: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """Signal-to-noise ratio in decibels, and the share of zeros."""
    noise = float(np.sum((values - w.astype(np.float64)) ** 2))
    return {
        "snr_db": round(10.0 * float(np.log10(np.sum(w.astype(np.float64) ** 2) / noise)), 1),
        "zeros": round(float(np.mean(values == 0.0)), 4),
    }


def measured(widths: tuple[int, ...] = WIDTHS, largest: tuple[float, ...] = LARGEST) -> list[dict[str, Any]]:
    """A row for each width, largest weight and rule."""
    rows = []
    for most in largest:
        w = kernel(most)
        for bits in widths:
            made = {
                "integer = bits": qkeras_values(w, bits, bits),
                "integer = 0": qkeras_values(w, bits, 0),
                "best power of two": best_values(w, bits),
            }
            rows += [{"largest": most, "bits": bits, "rule": rule, **figures(w, made[rule])} for rule in RULES]
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as text: SNR and zeros by width, a line for each largest weight and rule."""
    widths = sorted({row["bits"] for row in rows})
    lines = [f"{'largest weight':>14}  {'rule':<18}" + "".join(f"{f'{bits} bits':>18}" for bits in widths)]
    by = {(row["largest"], row["rule"], row["bits"]): row for row in rows}
    for most in dict.fromkeys(row["largest"] for row in rows):
        for rule in RULES:
            cells = [by[most, rule, bits] for bits in widths]
            shown = "".join(f"{cell['snr_db']:>8.1f} dB {cell['zeros']:>6.1%}" for cell in cells)
            lines.append(f"{most:>14g}  {rule:<18}{shown}")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure QKeras's auto_po2 on small weights.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the numbers in a file")
    options = parser.parse_args()
    found = measured()
    print(table(found))
    if options.json is not None:
        options.json.write_text("[\n" + ",\n".join(json.dumps(row) for row in found) + "\n]\n")
