"""The command that compares a study's best config with what else there is: `mpsearch baselines`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpsearch.cli.common import open_engine, say
from mpsearch.cli.options import AcceptChange, AsJson, Quiet, Storage, StudyName, examples
from mpsearch.cli.tables import ARROWS

if TYPE_CHECKING:
    from mpsearch.baselines.record import Baseline

EXAMPLES = examples(
    "baselines digits",
    'baselines digits --only "flat *" --only "best *" --again',
    "baselines digits --recipe finetuning --calibration 512",
)
SPARE = ("seconds", "epochs", "parameter bits")


def baselines(
    name: StudyName,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help='Only rows of this name, or of a pattern such as "PTQ*"; repeatable.'),
    ] = None,
    recipe: Annotated[
        str, typer.Option(metavar="NAME", help="Train rows as the study's trials were (trial) or longer (finetuning).")
    ] = "trial",
    calibration: Annotated[
        int, typer.Option(metavar="N", help="Training samples for post-training quantization.", min=1)
    ] = 256,
    again: Annotated[bool, typer.Option("--again", help="Measure anew what is kept with the study.")] = False,
    accept_change: AcceptChange = False,
    storage: Storage = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Compare a study's best config with what else there is.

    That is: the float model, post-training quantization (PTQ), 8-bit training (QAT) and flat configs. Each row is kept
    with the study as soon as it is measured: a run that is cut off goes on where it stopped.

    PTQ dynamic range: kernels affine with 8 bits, all else float. Other PTQ: kernels and feature maps with 8 bits,
    ranges of the feature maps by all values of the calibration (min-max), all but 0.01 % at each end (percentile), the
    least squared error (MSE) or divergence (entropy), with and without cross-layer equalization (CLE) and bias
    correction (BC). QAT int8: the same form, trained. flat: each menu's width next to one, with kernels' scales auto
    and all scales powers of two. best mixed: the study's best config, as searched and with all scales powers of two.
    """
    from mpsearch.baselines.record import check_rows
    from mpsearch.cli.output import print_json
    from mpsearch.config import Alpha
    from mpsearch.progress import EpochProgress
    from mpsearch.study import open_study

    check_rows(only or (), recipe, calibration)
    opened = open_study(name, storage)
    silent = quiet or as_json
    engine = open_engine(opened, silent, accept_change, (Alpha.AUTO, Alpha.AUTO_PO2))
    from mpsearch.baselines.measuring import baselines as measure

    task = engine.task
    epochs = (task.training if recipe == "trial" else task.finetune_recipe).epochs

    def show(baseline: "Baseline", number: int, count: int) -> None:
        if not silent:
            say(f"[{number}/{count}] {described(baseline, task.metric)}")

    rows = measure(
        opened, engine, only or (), recipe, calibration, again, lambda row: EpochProgress(row, epochs, silent), show
    )
    if as_json:
        print_json([row.to_json() for row in rows])
    else:
        print_baselines(rows, f"{name}: baselines, {task.metric}")


def described(baseline: "Baseline", metric: str) -> str:
    """One line on a row."""
    if baseline.validation is None:
        return f"{baseline.name}: {baseline.note}"
    return f"{baseline.name}: {metric} {baseline.validation:.4f}, score {baseline.score:.4f}, {baseline.seconds:.1f} s"


def print_baselines(baselines: "Sequence[Baseline]", title: str) -> None:
    """Print the table, and below it what is to be said of it."""
    from mpsearch.cli.output import print_table

    print_table(baseline_rows(baselines), title, SPARE)
    for note in dict.fromkeys(baseline.note for baseline in baselines if baseline.note):
        names = [baseline.name for baseline in baselines if baseline.note == note]
        print(f"{'; '.join(names)}: {note}")
    print(
        "PTQ: post-training quantization, CLE: with cross-layer equalization, BC: with bias correction, QAT: trained\n"
        "KB: 1,024 bytes, of parameters and of all feature maps of one sample; seconds: to make it of the float model"
    )


def baseline_rows(baselines: "Sequence[Baseline]") -> list[dict[str, Any]]:
    """The table's rows."""
    from mpsearch.baselines.record import KB
    from mpsearch.costs.sizes import shown_costs
    from mpsearch.metrics import direction

    further = dict.fromkeys(name for b in baselines for name in b.further)
    costs = dict.fromkeys(name for b in baselines for name in b.costs)
    return [
        {
            "baseline": b.name,
            "validation": b.validation,
            "test": b.test,
            **{f"test {name} {ARROWS[direction(name)]}": b.further.get(name) for name in further},
            **{name: shown_costs(b.costs).get(name) for name in costs},
            "model KB": f"{b.parameter_bits / KB:,.1f}",
            "activation KB": f"{b.activation_bits / KB:,.1f}",
            "parameter bits": b.parameter_bits,
            "δ": f"{b.delta:+.2%}",
            "score": b.score,
            "epochs": b.epochs,
            "seconds": f"{b.seconds:,.1f}",
        }
        for b in baselines
    ]
