"""The command `mpsearch run`: use an exported file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpsearch.cli.common import say
from mpsearch.cli.options import AsJson, examples
from mpsearch.cli.silence import import_tensorflow
from mpsearch.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mpsearch.export.runtime import Runtime

EXAMPLES = examples(
    "run exports/digits/model.onnx --data digits",
    "run model.tflite --data digits.py --split validation --samples 500",
    "run model.onnx --data recorded.npz --out predictions.csv",
    "run model.tflite --camera 0 --labels nobody,person --frames 100",
)


def run(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Exported file: .onnx, .tflite or .keras.")],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="What to predict: an .npz file with x and perhaps y, a space file, a folder of images with a folder "
            "for each class, or the name of a dataset.",
        ),
    ] = None,
    split: Annotated[str, typer.Option(metavar="PART", help="train, validation or test, of data with parts.")] = "test",
    samples: Annotated[
        int, typer.Option(metavar="N", help="Samples to predict at most, spread evenly.", min=1)
    ] = 10_000,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the predictions as CSV.")] = None,
    labels: Annotated[str | None, typer.Option(metavar="NAMES", help="Names of the classes: cat,dog.")] = None,
    camera: Annotated[
        str | None, typer.Option(metavar="N", help="Predict on a camera's pictures, or on those of a video file.")
    ] = None,
    frames: Annotated[
        int | None, typer.Option(metavar="N", help="Pictures to take.", show_default="until Ctrl-C", min=1)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Predict with an exported file in its own runtime.

    Shows the accuracy, and how long a single sample takes on this machine.
    """
    from mpsearch.export.formats import format_of

    if (data is None) == (camera is None):
        raise ConfigError("give either --data or --camera")
    made = format_of(file)
    if made.name == "keras" or (data or "").endswith(".py"):
        import_tensorflow()
    runtime = made.run(file, None)
    names = None if labels is None else [label.strip() for label in labels.split(",")]
    if camera is not None:
        _watch(runtime, camera, names, frames)
        return
    assert data is not None
    _predict(file, runtime, data, split, samples, out, names, as_json)


def _predict(
    file: Path,
    runtime: "Runtime",
    data: str,
    part: str,
    samples: int,
    out: Path | None,
    names: "Sequence[str] | None",
    as_json: bool,
) -> None:
    from mpsearch.cli.output import GAP, print_json, print_table
    from mpsearch.prediction import CODE, accuracy, inputs_from, latency, predict

    if len(runtime.inputs) != 1:
        raise ConfigError(f"{file} has {len(runtime.inputs)} inputs, but `run` takes one: {CODE}")
    found = inputs_from(data, runtime.inputs[0][1], part, samples)
    outputs = predict(runtime, found.x)
    right, timed = accuracy(outputs, found.y), latency(runtime, found.x)
    result: dict[str, Any] = {
        "file": str(file),
        "samples": len(found),
        "accuracy": right,
        "median_ms": timed.median_ms,
        "p95_ms": timed.p95_ms,
        "frames_per_second": timed.frames_per_second,
    }
    if out is not None:
        _write(out, outputs, found.y, names)
    if as_json:
        print_json(result)
        return
    row = {
        "file": file.name,
        "samples": len(found),
        "accuracy": GAP if right is None else f"{right:.4f}",
        "median ms": f"{timed.median_ms:.3f}",
        "p95 ms": f"{timed.p95_ms:.3f}",
        "frames/s": f"{timed.frames_per_second:,.0f}",
    }
    print_table([row], f"{file} on {data}")
    print(f"times: {timed.runs} single samples one after another, on this machine")
    if out is not None:
        print(f"predictions: {out}")


def _write(path: Path, outputs: Any, y: Any, names: "Sequence[str] | None") -> None:
    """Write one line a sample: its number, the class with the largest output, that output, and its target."""
    import csv

    from mpsearch.export.decisions import decisions, middle_of

    flat = outputs.reshape(len(outputs), -1)
    decided = decisions(flat, middle_of(flat))
    targets = y.reshape(len(flat), -1) if hasattr(y, "reshape") else None
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["sample", "predicted", "output", "target"])
        for number, scores in enumerate(flat):
            target = "" if targets is None or targets.shape[1] > 1 else targets[number, 0].item()
            target = "" if target != target else target  # none are known
            writer.writerow([number, _named(int(decided[number]), names), f"{scores.max():.6g}", target])


def _watch(runtime: "Runtime", camera: str, names: "Sequence[str] | None", frames: int | None) -> None:
    from statistics import median

    from mpsearch.prediction import watch

    times: list[float] = []
    try:
        for seen in watch(runtime, runtime.inputs[0][1], camera, lambda frame: frames is not None and frame >= frames):
            times.append(seen.milliseconds)
            print(
                f"{seen.frame}: {_named(seen.best, names)} {seen.output:.3f} ({seen.milliseconds:.1f} ms)", flush=True
            )
    except KeyboardInterrupt:
        say("")
    if times:
        print(
            f"{len(times)} pictures, median {median(times):.1f} ms, {1000 / median(times):,.0f} frames/s without camera"
        )


def _named(number: int, names: "Sequence[str] | None") -> str:
    return str(number) if names is None or number >= len(names) else names[number]
