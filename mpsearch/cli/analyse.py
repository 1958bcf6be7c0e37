"""The command `mpsearch analyse`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpsearch.cli.common import counted, open_engine, say, trials_to_tune
from mpsearch.cli.options import AcceptChange, AsJson, Quiet, Storage, StudyName, examples
from mpsearch.cli.silence import import_tensorflow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mpsearch.analysis.analysing import Analysis
    from mpsearch.records import TrialRecord
    from mpsearch.searching.engine import Engine

EXAMPLES = examples(
    "analyse digits",
    "analyse digits --trial 12 --train --samples 1000",
    "analyse digits --trial 12 --alpha auto_po2",
    "analyse digits --figure analysis.html",
    "analyse digits --json > analysis.json",
)
PAUSE = 5.0  # seconds between lines of progress


def analyse(
    name: StudyName,
    trial: Annotated[str, typer.Option(metavar="N", help="Number of the trial, or best.")] = "best",
    train: Annotated[
        bool, typer.Option("--train", help="Train the trial's config again, as the trial was, and watch.")
    ] = False,
    alpha: Annotated[
        str | None,
        typer.Option(metavar="MODE", help="Analyse the fine-tuning with this scale mode in place of auto."),
    ] = None,
    samples: Annotated[
        int, typer.Option(metavar="N", help="Training samples that feature maps and outputs are of.", min=1)
    ] = 256,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write figures to look at in a browser, an .html file.")
    ] = None,
    accept_change: AcceptChange = False,
    storage: Storage = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Show what quantization does to a trained config.

    For each kernel, bias and feature map: the share of codes that are zero, of values that are clipped, and of channels
    that are zero altogether; how many decibels the signal is above the quantization noise, with its own scale mode,
    with auto and with auto_po2; and how far the outputs move where this tensor alone has powers of two, which tells the
    layers that gain from staying auto. Where the training was watched, with --train or Training(observe=True), also
    what each epoch did: updates that vanish or explode, gradients, scales that oscillate.
    """
    from mpsearch.changes import space_file_of
    from mpsearch.cli.output import print_json
    from mpsearch.config import parse_alpha
    from mpsearch.errors import ConfigError
    from mpsearch.study import open_study

    changed = None if alpha is None else parse_alpha(alpha)
    opened = open_study(name, storage)
    (record,) = trials_to_tune(opened, trial, 1, changed)
    if figure is not None and figure.suffix != ".html":
        raise ConfigError(f"the figures are written as an .html file, but got {figure}")
    import_tensorflow()
    from mpsearch.analysis.analysing import BOTH
    from mpsearch.analysis.trials import analyse_trial
    from mpsearch.progress import EpochProgress

    silent = quiet or as_json

    def engine() -> "Engine":
        return open_engine(opened, silent, accept_change, BOTH)

    epochs = space_file_of(opened).task.training.epochs
    report = EpochProgress("training again", epochs, silent)
    found = analyse_trial(opened, record, engine, train, changed, samples, report, told(silent))
    title = f"{name}, trial {record.number}, {found.weights}" + ("" if train else " weights")
    if figure is not None:
        from mpsearch.analysis.figures import write_figures

        write_figures(found.analysis, title, figure)
        say(f"written: {figure}")
    if as_json:
        print_json({"study": name, **found.to_json()})
    else:
        _print(found.analysis, title, name, record)


def told(quiet: bool) -> "Callable[[int, int], None]":
    """What tells a user how many tensors are measured: a line every few seconds."""
    import time

    last = [time.monotonic()]

    def tell(number: int, count: int) -> None:
        if not quiet and time.monotonic() - last[0] > PAUSE:
            last[0] = time.monotonic()
            say(f"{number}/{count} tensors")

    return tell


def _print(analysis: "Analysis", title: str, name: str, record: "TrialRecord") -> None:
    from mpsearch.analysis.analysing import remarks
    from mpsearch.cli.output import GAP, print_table
    from mpsearch.config import Role

    def decibels(value: float | None) -> str:
        return GAP if value is None else f"{value:.1f}"

    def rows(roles: "Sequence[Role]", channels: bool = False) -> list[dict[str, Any]]:
        return [
            {
                "tensor": row.site,
                "quantizer": str(row.spec),
                "values": f"{row.elements:,}",
                "zeros": f"{row.figures.zeros:.1%}",
                **({"dead": f"{row.figures.dead:.1%}"} if channels else {}),
                "clipped": f"{row.figures.clipped:.2%}",
                "SNR dB": decibels(row.figures.snr_db),
                "auto dB": decibels(row.auto_db),
                "auto_po2 dB": decibels(row.po2_db),
                "po2 moves": GAP if row.po2_moves is None else f"{1000 * row.po2_moves:.3g}",
            }
            for row in analysis.sites
            if row.role in roles
        ]

    spare = ["values", "dead"]
    print_table(rows([Role.KERNEL, Role.BIAS], True), f"{title}: kernels and biases", spare)
    print_table(rows([Role.ACTIVATION]), f"{title}: feature maps", ["values", "quantizer"])
    print(
        f"of {counted(analysis.samples, 'training sample')}; dead: channels whose codes are all zero; po2 moves: the "
        "outputs, in thousandths, where this tensor alone has auto_po2 and all others auto; all together "
        f"{1000 * analysis.all_po2_moves:.3g}"
    )
    if analysis.epochs:
        print_table(_epochs(analysis), f"{title}: what each epoch did to kernels and biases", ["gradient"])
        print(
            "means over tensors; vanishing, exploding: weights that an epoch changed by less than 1e-4, by more than "
            "1e-3; moves, returns: changes of a scale by half an octave or more in an epoch, and those that went back"
        )
    else:
        print(
            f"its training wasn't watched: mpsearch analyse {name} --trial {record.number} --train trains it again and "
            "watches; of a further study Training(observe=True) in the space file watches all trials"
        )
    for remark in remarks(analysis):
        print(f"- {remark}")


def _epochs(analysis: "Analysis") -> list[dict[str, Any]]:
    found = []
    for number, epoch in enumerate(analysis.epochs, 1):
        mean = {name: sum(getattr(seen, name) for seen in epoch.values()) / len(epoch) for name in _SEEN}
        worst = max(epoch, key=lambda site: epoch[site].returns)
        swings = epoch[worst].returns > 0
        found.append(
            {
                "epoch": str(number),
                "update": f"{mean['update']:.2e}",
                "vanishing": f"{mean['vanishing']:.1%}",
                "exploding": f"{mean['exploding']:.1%}",
                "gradient": f"{mean['gradient']:.2e}",
                "zeros": f"{mean['zeros']:.1%}",
                "moves": f"{mean['moves']:.2f}",
                "returns": f"{mean['returns']:.2f}",
                "most returns": f"{worst} {epoch[worst].returns:.1f}" if swings else "–",
            }
        )
    return found


_SEEN = ("update", "vanishing", "exploding", "gradient", "zeros", "moves", "returns")
