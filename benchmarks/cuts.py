"""Sensitivities with and without computing again what comes before a changed tensor.

    python benchmarks/cuts.py mbv2.py resnet8.py

The two run alternately in one process, each with the tracing of all that it needs; seconds, medians of the ratios and
the cuts, as JSON. The sensitivities have to be the same to the last bit. Weights are random ones, which take the same
time.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from probe_samples import space_of, untrained

from mpsearch.probing import Prober
from mpsearch.searching.engine import Engine
from mpsearch.sensitivities import SAMPLES


def compared(engine: Engine, samples: int, rounds: int) -> dict[str, Any]:
    """Seconds both ways, in turns, and the cuts."""
    seconds: dict[str, list[float]] = {"whole": [], "cut": []}
    found, places = [], list[int]()
    for _ in range(rounds):
        for name, traced in (("whole", float("inf")), ("cut", None)):
            engine._sessions.clear()  # so that both trace all they need
            with mock.patch("mpsearch.network.tails.TRACED", traced) if traced else mock.MagicMock():
                began = time.perf_counter()
                prober = Prober(engine, samples)
                rows = [prober.measure(number, {}) for number in prober.order]
            seconds[name].append(time.perf_counter() - began)
            found.append([(row.divergences, row.losses) for row in rows])
            places = prober._places
    assert all(rows == found[0] for rows in found)
    ratios = [whole / cut for whole, cut in zip(*seconds.values(), strict=True)]
    return {
        "samples": samples,
        "probes": sum(len(choice.specs) - 1 for choice in engine.network.space.choices),
        "nodes": len(prober._cuts._nodes),
        "cuts": places[1:],
        "seconds": seconds,
        "ratios": ratios,
        "median": statistics.median(ratios),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spaces", nargs="+", help="ready spaces, or files in this folder")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    result = {}
    for name in args.spaces:
        file = space_of(name)
        with tempfile.TemporaryDirectory() as folder:
            result[Path(name).stem] = compared(Engine(untrained(file, Path(folder))), args.samples, args.rounds)
    text = json.dumps(result, indent=1)
    if args.out:
        args.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
