"""How much of the harm that sensitivities foretell is left after training, of kernels and of feature maps.

    python benchmarks/recovery.py resnet8 --trained studies/search/trained_resnet8.json --of validation

The metric of trained configs is fitted by least squares as m₀ - a · Σ s over kernels - b · Σ s over feature maps and
biases, where s is the root of a spec's divergence (`searching.surrogate`). Printed are a and b with standard errors,
their ratio, what the fit misses, and what it misses with a = b; and how much of the narrowest config's loss before
training is left after it, by the fit. The file has a row for each training, with the config's `positions` on the menus
and metrics; of `loss`, the training loss after the first epoch, the fit is of the negative. Not a timing.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np


def main() -> None:
    """Measure the sensitivities, fit, print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space")
    parser.add_argument("--trained", type=Path, required=True)
    parser.add_argument("--of", choices=("validation", "test", "loss"), default="test")
    args = parser.parse_args()
    from mpsearch.creation import provenance_of
    from mpsearch.probing import probe
    from mpsearch.searching.engine import Engine
    from mpsearch.sensitivities import UNTRAINED
    from mpsearch.spacefile import find_space_file, load_space_file
    from mpsearch.study import create_study

    path, rows = find_space_file(args.space), json.loads(args.trained.read_text())
    engine = Engine(load_space_file(path.resolve()))
    space = engine.network.space
    made = provenance_of(engine.file, engine.data, space, 0, "auto", "none")
    with tempfile.TemporaryDirectory() as folder:
        study = create_study("recovery", made, f"sqlite:///{folder}/studies.db")
        found = probe(study, engine)
        untrained = study.kept(UNTRAINED)[UNTRAINED]
    harms = [np.sqrt(np.maximum(row.divergences, 0.0)) for row in found]
    kernels = np.array([row.role == "kernel" for row in found])
    positions, metrics = np.array([row["positions"] for row in rows]), np.array([row[args.of] for row in rows])
    metrics = -metrics if args.of == "loss" else metrics
    each = np.array([[harm[p] for harm, p in zip(harms, row, strict=True)] for row in positions])
    narrowest = np.array([harm[0] for harm in harms])

    def fit(columns: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, float]:
        features = np.column_stack([np.ones(len(rows)), *[-column for column in columns]])
        weights = np.linalg.lstsq(features, metrics, rcond=None)[0]
        missed = metrics - features @ weights
        variance = missed @ missed / (len(rows) - features.shape[1])
        errors = np.sqrt(np.diag(np.linalg.inv(features.T @ features)) * variance)
        return weights[1:], errors[1:], float(variance**0.5)

    (a, b), (a_error, b_error), missed = fit([each[:, kernels].sum(axis=1), each[:, ~kernels].sum(axis=1)])
    _, _, alike = fit([each.sum(axis=1)])
    shown = {
        "space": path.name,
        "of": args.of,
        "trainings": len(rows),
        "kernels": [float(a), float(a_error)],
        "feature maps": [float(b), float(b_error)],
        "ratio": float(a / b),
        "missed": missed,
        "missed with one slope": alike,
    }
    if args.of != "loss":
        lost = untrained["float"] - untrained["validation"]
        left = float(a * narrowest[kernels].sum() + b * narrowest[~kernels].sum())
        shown |= {"lost before training": lost, "lost after it": left, "left": left / lost}
    print(json.dumps(shown, indent=1))


if __name__ == "__main__":
    main()
