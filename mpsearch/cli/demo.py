"""The demo: one whole search on data that ships with scikit-learn."""

import tempfile
import time
from pathlib import Path
from typing import Any

from mpsearch.cli.output import print_json, print_table
from mpsearch.cli.sensitivity import probe_first
from mpsearch.cli.silence import import_tensorflow
from mpsearch.methods import AUTO, usual_pruner


def run_demo(trials: int, seed: int, as_json: bool) -> None:
    """Train, search and compare; see `mpsearch demo --help`."""
    from mpsearch.progress import EpochProgress, RunProgress
    from mpsearch.spacefile import find_space_file, load_space_file

    started = time.perf_counter()
    file = load_space_file(find_space_file("digits.py"))
    if not as_json:
        print("loading TensorFlow, the digits and a small CNN …", flush=True)
    import_tensorflow()
    from mpsearch.creation import provenance_of
    from mpsearch.runners.inprocess import run
    from mpsearch.searching.engine import Engine
    from mpsearch.study import create_study

    engine = Engine(file, EpochProgress("float", file.task.float_recipe.epochs, as_json))
    space, metric = engine.network.space, file.task.metric
    with tempfile.TemporaryDirectory() as folder:
        provenance = provenance_of(file, engine.data, space, seed, AUTO, usual_pruner(AUTO, False))
        study = create_study("digits", provenance, f"sqlite:///{Path(folder) / 'demo.db'}")
        for width in (8, 4):
            study.enqueue(space, space.uniform(width), f"uniform {width}")
        probe_first(study, engine, as_json)
        if not as_json:
            print(f"searching {space.size:,} configs of {len(space.sites)} sites with {trials} trials", flush=True)
        with RunProgress(trials, 0, None, file.task.training.epochs, metric, quiet=as_json) as progress:
            run(study, engine, trials, progress)
        records, best = study.records(), study.best()[0]
    rows: list[dict[str, Any]] = [_float_row(engine, metric)]
    for label, record in (
        ("uniform 8", records[0]),
        ("uniform 4", records[1]),
        (f"best mixed (trial {best.number})", best),
    ):
        rows.append(
            {
                "config": label,
                f"validation {metric}": record.metric,
                "bits": record.costs.get("total_bits"),
                "δ": "–" if record.delta is None else f"{record.delta:+.2%}",
                "score": record.score,
            }
        )
    seconds = time.perf_counter() - started
    if as_json:
        print_json({"rows": rows, "best": best.to_json(), "seconds": seconds})
        return
    from mpsearch.cli.tables import config_rows

    print_table(config_rows(best), f"best mixed config: trial {best.number}")
    print_table(rows, f"digits, {trials} trials, {seconds:.0f} s")
    print(
        "δ is what the saving against the reference (kernels 16, biases 31, activations 16 bits) is worth; "
        "score = accuracy · (1 + δ)"
    )
    print("next: mpsearch study create --space digits.py && mpsearch study run digits")


def _float_row(engine: Any, metric: str) -> dict[str, Any]:
    widths = engine.cost.widths([{}])
    parameters, activations = engine.cost.batch(widths)
    bits = int(parameters[0] + activations[0])
    accuracy = engine.float_metric()
    forgiving = engine.file.forgiving
    reference = engine.cost.reference_cost.total_bits
    return {
        "config": "float (32 bits)",
        f"validation {metric}": accuracy,
        "bits": bits,
        "δ": f"{forgiving.delta(bits, reference):+.2%}",
        "score": forgiving.score(accuracy, bits, reference),
    }
