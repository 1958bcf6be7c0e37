"""The command `mpsearch export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpsearch.cli.common import open_engine, say, trials_to_tune
from mpsearch.cli.completion import among
from mpsearch.cli.options import AcceptChange, AsJson, Quiet, Storage, StudyName, examples
from mpsearch.cli.silence import import_tensorflow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpsearch.export.exporting import Exported

EXAMPLES = examples(
    "export digits --out exports/digits",
    "export digits --format onnx,keras --out exports/digits",
    "export digits --format litert --round-up --accept 0.98 --out mcu",
    "export digits --top 3 --format onnx --samples 2000 --out three",
    "export digits --format onnx --align-biases --out aligned",
    "export digits --trial 12 --alpha auto_po2 --out po2 --force --debug",
)
FORMAT_NAMES = ("onnx", "litert", "keras", "qonnx")
ABOUT_FORMATS = (
    "Of the files, a list. onnx: QDQ form with packed 4-, 8- and 16-bit codes, for ONNX Runtime; litert: int8 and "
    "int16, for microcontrollers; keras: plain QKeras layers; qonnx: Quant nodes, for FINN and hls4ml."
)


def export(
    name: StudyName,
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder to write to; with --top, one folder a trial inside it.")
    ],
    format: Annotated[
        str, typer.Option(metavar="FORMATS", help=ABOUT_FORMATS, autocompletion=among(FORMAT_NAMES))
    ] = "keras",
    trial: Annotated[str, typer.Option(metavar="N", help="Number of the trial, or best.")] = "best",
    top: Annotated[int, typer.Option(metavar="N", help="Export the N best trials.", min=1)] = 1,
    alpha: Annotated[
        str | None,
        typer.Option(metavar="MODE", help="Export the fine-tuning with this scale mode in place of auto."),
    ] = None,
    samples: Annotated[
        int, typer.Option(metavar="N", help="Validation samples that each file is compared on.", min=50)
    ] = 512,
    accept: Annotated[
        float,
        typer.Option(
            metavar="SHARE",
            help="Of the samples, on which a file must decide as the searched model; below 0.995 the metric may be "
            "further off in proportion.",
        ),
    ] = 0.995,
    align_biases: Annotated[
        bool,
        typer.Option("--align-biases", help="Bring biases into the unit of the sums they are added to, in 32 bits."),
    ] = False,
    round_up: Annotated[
        bool,
        typer.Option("--round-up", help="Where a format can't hold the config, export the nearest that it can."),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show how each feature map compares.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    accept_change: AcceptChange = False,
    storage: Storage = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a trial's model as files that run elsewhere.

    Each file is run in its own runtime before it is kept, and compared with the searched model: it must decide alike on
    99.5 % of the samples, with a metric at most 0.2 points off. export.json beside the files says what was measured.
    """
    from mpsearch.cli.output import print_json
    from mpsearch.config import parse_alpha
    from mpsearch.export.formats import parse_formats
    from mpsearch.study import open_study

    formats = parse_formats(format)
    changed = None if alpha is None else parse_alpha(alpha)
    opened = open_study(name, storage)
    chosen = trials_to_tune(opened, trial, top, changed)
    import_tensorflow()
    from mpsearch.export.exporting import Options
    from mpsearch.export.exporting import export as write
    from mpsearch.export.folders import remember_export
    from mpsearch.finetuning import finetunings, kept_weights

    kept = [(record, *kept_weights(opened, record, changed)) for record in chosen]
    engine = open_engine(opened, quiet or as_json, accept_change, () if changed is None else (changed,))
    options = Options(samples, accept, align_biases, round_up, debug, force)
    results: list[dict[str, Any]] = []
    for record, config, state, weights in kept:
        folder = out / f"trial_{record.number}" if top > 1 else out
        engine.network.set_config(config)
        engine.network.load_state(state)
        about = {"study": name, "trial": record.number, "weights": weights}
        report = (lambda line: None) if quiet or as_json else say
        files = write(engine, config, folder, formats, about, options, report)
        remember_export(opened.folder, folder)
        results.extend({**about, **file.to_json()} for file in files)
        if as_json:
            continue
        _print(files, f"{name}, trial {record.number}, {weights} weights: {folder}")
        for other in finetunings(opened, record):
            if other is not changed:
                flag = "" if other is None else f" --alpha {other}"
                beside = folder.with_name(f"{folder.name}_{other or 'searched'}")
                print(
                    f"note: trial {record.number} has another fine-tuning, "
                    f"{'as searched' if other is None else other}; to export that: mpsearch export {name} --trial "
                    f"{record.number}{flag} --format {format} --out {beside}"
                )
    if as_json:
        print_json(results)


def _print(files: "Sequence[Exported]", title: str) -> None:
    from mpsearch.cli.output import GAP, print_table

    rows = []
    for file in files:
        found = file.comparison
        rows.append(
            {
                "format": file.format,
                "file": file.path.name,
                "KB": f"{file.bytes / 1000:,.1f}",
                "payload KB": GAP if file.payload is None else f"{file.payload / 1000:,.1f}",
                "flash KB": f"{file.flash / 1000:,.1f}",
                "agreement": GAP if found.top1_agreement is None else f"{found.top1_agreement:.2%}",
                "worst steps": GAP if found.worst_steps is None else f"{found.worst_steps:.2f}",
                f"{found.metric} searched": found.searched,
                "in the file": found.exported,
            }
        )
    print_table(rows, title, spare=["worst steps", "payload KB"])
    print(
        f"verified on {files[0].comparison.samples} validation samples, each file in its own runtime; payload: "
        "kernels, biases and scales in the file, flash: what the cost predicts of the config as the file holds it"
    )
    for file in files:
        if file.rounded:
            widths = ", ".join(f"{site} {old} to {new}" for site, (old, new) in file.rounded.items())
            print(f"{file.format}: rounded to what the format holds: {widths}")
        if file.layers:
            print_table(
                [
                    {"site": row.site, "differing": f"{row.differing:.3%}", "worst steps": f"{row.worst_steps:.2f}"}
                    for row in file.layers
                ],
                f"{file.format}: feature maps",
            )
