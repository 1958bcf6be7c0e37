"""Export the float, flat 8-bit and best mixed models of studies in every format, run the files, and write `RESULTS.md`.

    cd FOLDER                                                  # where studies/mpsearch.db lies
    python …/studies/make_export.py --measure resnet8 ds_cnn   # adds their rows to studies/export/records.json
    python studies/make_export.py                              # writes studies/export/RESULTS.md from records.json

Each file is compared with the network that it was made of on 512 validation samples, in its own runtime; a single
sample at a time is timed, formats in turn, five rounds of 40, of which the median is kept.
"""

import argparse
import json
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent / "export"
ROUNDS, RUNS = 5, 40
ACCEPT = 0.5  # what is worse than `export` accepts is shown, and marked
ORDER = ("resnet8", "resnet8_litert", "ds_cnn", "fc_autoencoder", "mbv1", "mbv2", "efficientnetb0")
MODELS = ("float", "flat 8", "best mixed")


def measured(name: str) -> list[dict[str, Any]]:
    """The rows of one study."""
    from mpsearch.creation import engine_of
    from mpsearch.errors import StudyError
    from mpsearch.finetuning import kept_weights
    from mpsearch.ranking import ranked
    from mpsearch.study import open_study

    study = open_study(name)
    engine = engine_of(study, True, say=print)
    flat = next(record for record in study.records() if record.origin == "uniform 8" and record.config is not None)
    mixed = next(c.record for c in ranked(study, 100) if not c.record.origin.startswith("uniform"))
    rows = []
    for model, record in zip(MODELS, (None, flat, mixed), strict=True):
        if record is None:
            config, state, weights = None, None, "float"
        else:
            try:
                config, state, weights = kept_weights(study, record)
            except StudyError:  # of a trial that wasn't among the best: trained by the same recipe again
                config, state, weights = record.config, engine.train(record.config, seed=0).state, "trial"
        engine.network.set_config(config)
        if state is not None:
            engine.network.load_state(state)
        rows += files_of(engine, config, {"study": name, "model": model, "weights": weights})
    return rows


def files_of(engine: Any, config: Any, about: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each format of one model."""
    from mpsearch.errors import ExportError
    from mpsearch.export.building import program_of
    from mpsearch.export.exporting import Options, export
    from mpsearch.export.formats import FORMATS
    from mpsearch.export.verifying import Searched
    from mpsearch.prediction import latency

    searched = Searched(engine.network, engine.task, engine.data, engine.ends)
    rows, runtimes = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("onnx", "litert", "keras"):
            made, row = FORMATS[name], {**about, "format": name}
            path = Path(folder) / made.file
            if config is None and made.write is None:
                engine.network.float_model.save(path)
                rows.append({**row, "bytes": path.stat().st_size})
                continue
            try:
                if config is None:
                    written = made.write(program_of(engine.network, None), path, {})
                    runtime = made.run(path, written)
                    comparison, payload, rounded, flash = searched.compare(runtime, {}), written.payload, {}, None
                else:
                    (file,) = export(
                        engine, config, Path(folder), [made], about, Options(round_up=True, accept=ACCEPT), print
                    )
                    runtime = made.run(path, None)
                    comparison, payload, rounded = file.comparison, file.payload, file.rounded
                    flash = None if payload is None else file.flash
            except ExportError as error:
                rows.append({**row, "error": str(error)})
                continue
            rows.append(
                {**row, "bytes": path.stat().st_size, "payload": payload, "flash": flash, "rounded": len(rounded)}
                | {"comparison": vars(comparison)}
            )
            if name != "keras":  # nobody deploys that one
                runtimes[name] = runtime
        x = searched.inputs(np.arange(min(64, len(searched.split))))[0]
        times: dict[str, list[float]] = {name: [] for name in runtimes}
        for _ in range(ROUNDS):
            for name, runtime in runtimes.items():
                times[name].append(latency(runtime, x, RUNS).median_ms)
    return [row | {"median_ms": median(times[row["format"]])} if row["format"] in times else row for row in rows]


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    heads = ("study", "model", "format", "file KB", "payload KB", "flash KB", "agreement", "worst steps", "metric")
    from mpsearch.export.verifying import Comparison

    heads = (*heads, "searched", "ms", "rounded sites", "kept by default")
    lines = [heads, ("---",) * len(heads)]
    for row in rows:
        found = row.get("comparison") or {}

        def number(value: float | None, form: str) -> str:
            return "–" if value is None else format(value, form)

        kb = [row.get(key) for key in ("bytes", "payload", "flash")]
        lines.append(
            (
                row["study"],
                row["model"],
                row["format"],
                *(number(None if size is None else size / 1000, ",.1f") for size in kb),
                number(found.get("top1_agreement"), ".2%"),
                number(found.get("worst_steps"), ".2f"),
                number(found.get("exported"), ".4f"),
                number(found.get("searched"), ".4f"),
                number(row.get("median_ms"), ".3f"),
                str(row.get("rounded") or "–"),
                "–" if not found else ("no" if Comparison(**found).fault() else "yes"),
            )
        )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def page(folder: Path) -> str:
    """The page of the committed rows."""
    rows = json.loads((folder / "records.json").read_text())
    errors = [f"- {row['study']}, {row['model']}, {row['format']}: {row['error']}" for row in rows if "error" in row]
    whole = table([row for row in rows if "error" not in row])
    return "\n\n".join([(folder / "about.md").read_text().strip(), whole, *errors]) + "\n"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Export studies in every format and write RESULTS.md.")
    parser.add_argument("--measure", nargs="*", default=[], metavar="NAME", help="studies of the folder's database")
    records = HERE / "records.json"
    for name in parser.parse_args().measure:
        kept = [row for row in (json.loads(records.read_text()) if records.exists() else []) if row["study"] != name]
        kept += measured(name)
        kept.sort(key=lambda row: (ORDER.index(row["study"]), MODELS.index(row["model"])))
        records.write_text(json.dumps(kept, indent=1) + "\n")
    (HERE / "RESULTS.md").write_text(page(HERE))


if __name__ == "__main__":
    main()
