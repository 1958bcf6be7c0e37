"""Importing TensorFlow with Python's garbage collection, and without: `python benchmarks/importing.py` prints JSON.

Each import is in a process of its own, which says how long it took; the two kinds take turns, after one that isn't
counted. The ratio is the median of the rounds' ratios. Run it where mpsearch alone is installed: Keras imports
whatever it finds of matplotlib, pandas and JAX as well.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

PLAIN = "import keras"
HELD = "from mpsearch.importing import importing\nwith importing():\n    import keras"
TIMED = "import time\nbegan = time.perf_counter()\n{}\nprint(time.perf_counter() - began)"


def seconds(code: str) -> float:
    """How long code takes in a process of its own."""
    path = [str(Path(__file__).resolve().parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    command = [sys.executable, "-c", TIMED.format(code)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    args = parser.parse_args()
    seconds(PLAIN)
    rounds = [(seconds(PLAIN), seconds(HELD)) for _ in range(args.rounds)]
    found = {
        "with collection_s": statistics.median(plain for plain, _ in rounds),
        "without_s": statistics.median(held for _, held in rounds),
        "ratio": statistics.median(plain / held for plain, held in rounds),
        "ratios": sorted(round(plain / held, 2) for plain, held in rounds),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
