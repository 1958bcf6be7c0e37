"""What `quantized_bits(b, i, 1, 1, alpha="auto_po2")` makes of MLPerf Tiny's published weights, BatchNorm folded.

    python studies/auto_po2/published.py FOLDER       # with pretrainedResnet.h5, ad01.h5 and vww_96.h5

Prints, for each model and setting, the share of weights that become zero beyond those that are, and the kernel that
loses most.
"""

import argparse
from pathlib import Path

import numpy as np
from qkeras import quantized_bits

from mpsearch import models
from mpsearch.floatmodel import with_weights
from mpsearch.network.canonical import canonical

MODELS = {
    "pretrainedResnet.h5": models.resnet8,
    "ad01.h5": models.fc_autoencoder,
    "vww_96.h5": models.mbv1,
}
SETTINGS = ((8, 8), (16, 16), (31, 31), (16, 0))


def lost(kernels: dict[str, np.ndarray], bits: int, integer: int) -> dict[str, float]:
    """Kernel to the share of its weights that become zero, of those that aren't: below 1e-30 they are."""
    found = {}
    for name, w in kernels.items():
        q = np.asarray(quantized_bits(bits, integer, 1, 1, alpha="auto_po2")(w))
        there = np.abs(w) > 1e-30
        found[name] = float(np.mean(q[there] == 0.0))
    return found


def main() -> None:
    """Print what is lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    for file, build in MODELS.items():
        model = canonical(with_weights(build(), folder / file), keep_batch_norm=False)
        kernels = {
            layer.name: layer.kernel.numpy()
            for layer in model.layers
            if getattr(layer, "kernel", None) is not None and len(layer.kernel.shape) > 1
        }
        for bits, integer in SETTINGS:
            shares = lost(kernels, bits, integer)
            worst = max(shares, key=shares.__getitem__)
            whole = sum(shares[name] * w.size for name, w in kernels.items()) / sum(w.size for w in kernels.values())
            print(
                f"{file}, quantized_bits({bits}, {integer}): {whole:.0%} of the weights become zero, most in {worst}: "
                f"{shares[worst]:.0%}, of which the largest is {np.abs(kernels[worst]).max():.3g}"
            )


if __name__ == "__main__":
    main()
