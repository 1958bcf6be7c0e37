"""How far sensitivities measured on few images are from those on many, and what they take.

    python benchmarks/probe_samples.py autoqkeras_resnet8.py ds_cnn.py --out studies/search/probe_samples.json
    python benchmarks/probe_samples.py mbv2.py --samples 512 --many 0 --untrained

Of each number of images: Spearman's rank correlation of the roots of the divergences, which the sampler works with,
with those on `--many`, and of the largest (at least a tenth of the largest of all) the mean relative difference.
Seconds are of all choices, after one that traces the network. With `--untrained` weights are random ones, which take
the same time but say nothing else.
"""

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from scipy.stats import spearmanr

from mpsearch.probing import Prober
from mpsearch.searching.engine import Engine
from mpsearch.spacefile import SpaceFile, find_space_file, load_space_file


def measured(file: SpaceFile, samples: list[int], many: int) -> dict[str, Any]:
    """A row for each number of images, of a space."""
    engine = Engine(file)
    roots, rows = {}, {}
    for count in dict.fromkeys([*samples, *([many] if many else [])]):
        prober = Prober(engine, count)
        prober.measure(0, {})
        started = time.perf_counter()
        found = {choice: prober.measure(choice, {}) for choice in prober.order}
        rows[count] = {"seconds": time.perf_counter() - started}
        divergences = np.concatenate([found[choice].divergences for choice in sorted(found)])
        roots[count] = np.sqrt(np.maximum(divergences, 0.0))
    if many:
        known, large = roots[many] > 0, roots[many] >= 0.1 * roots[many].max()
        for count in samples:
            rows[count]["rank correlation"] = float(spearmanr(roots[count][known], roots[many][known]).statistic)
            difference = np.abs(roots[count] / np.where(known, roots[many], 1.0) - 1.0)
            rows[count]["difference of the largest"] = float(difference[large].mean())
    choices = engine.network.space.choices
    return {
        "choices": len(choices),
        "probes": sum(len(choice.specs) - 1 for choice in choices),
        "rows": {str(count): rows[count] for count in samples},
    }


def space_of(name: str) -> SpaceFile:
    """A ready space, or a file in this folder."""
    beside = Path(__file__).with_name(name)
    return load_space_file(beside if beside.exists() else find_space_file(name))


def untrained(file: SpaceFile, folder: Path) -> SpaceFile:
    """The space file with random weights in the place of trained ones."""
    weights = folder / "random.weights.h5"
    file.task.build().save_weights(weights)
    return replace(file, task=replace(file.task, weights=str(weights)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spaces", nargs="+", help="ready spaces, or files in this folder")
    parser.add_argument("--samples", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--many", type=int, default=2048, help="images that are compared with; 0: none")
    parser.add_argument("--untrained", action="store_true")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    result: dict[str, Any] = {"many": args.many, "spaces": {}}
    for name in args.spaces:
        file = space_of(name)
        with tempfile.TemporaryDirectory() as folder:
            chosen = untrained(file, Path(folder)) if args.untrained else file
            result["spaces"][Path(name).stem] = measured(chosen, args.samples, args.many)
    text = json.dumps(result, indent=1)
    if args.out:
        args.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
