"""The commands on what widths harm: `mpsearch sensitivity`, `mpsearch solve` and `mpsearch study importance`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpsearch.cli.common import counted, open_engine, say
from mpsearch.cli.options import AcceptChange, AsJson, Quiet, Storage, StudyName, examples

if TYPE_CHECKING:
    from mpsearch.searching.engine import Engine
    from mpsearch.sensitivities import Sensitivity
    from mpsearch.study import Study

EXAMPLES = examples(
    "sensitivity digits",
    "sensitivity digits --samples 2000 --again",
    "sensitivity digits --figure sensitivity.html",
)
SOLVE_EXAMPLES = examples(
    "solve digits --limit flash=10KB",
    "solve digits --limit flash=300KB --limit ram=64KB",
    "solve digits --limit bits=200000 --json > next.json",
)
IMPORTANCE_EXAMPLES = examples("study importance digits", "study importance digits --json")
PAUSE = 5.0  # seconds between lines of progress
NAMED = 3  # tensors that are named


def sensitivity(
    name: StudyName,
    samples: Annotated[int, typer.Option(metavar="N", help="Training samples to measure on.", min=1)] = 256,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a heat map to look at in a browser, an .html file.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure anew what is kept with the study.")] = False,
    accept_change: AcceptChange = False,
    storage: Storage = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure what harm each width does by itself.

    All tensors are as wide as their menus allow, but one, which takes one width after another. The table has, for each,
    how far that moves the outputs: of class scores the Kullback-Leibler divergence from those of the wide model, in
    thousandths of a nat, else the squared difference in thousandths of the outputs' variance. The larger, the more it
    harms.

    Each row is kept with the study as soon as it is measured: what is cut off goes on where it stopped. The sampler
    auto begins with these numbers, and `mpsearch solve` selects widths by them.
    """
    from mpsearch.cli.output import print_json
    from mpsearch.study import open_study

    opened = open_study(name, storage)
    engine = open_engine(opened, quiet or as_json, accept_change)
    from mpsearch.probing import probe

    rows = probe(opened, engine, samples, again, measured_line(quiet or as_json))
    if figure is not None:
        from mpsearch.heatmap import write_heatmap

        write_heatmap(rows, f"{name}: sensitivity", figure)
        say(f"written: {figure}")
    if as_json:
        print_json([row.to_json() for row in rows])
    else:
        print_sensitivities(rows, f"{name}: sensitivity")


def measured_line(quiet: bool) -> "Any":
    """What tells a user how far measuring has come: a line every few seconds."""
    import time

    began, told = time.monotonic(), [time.monotonic()]

    def tell(row: "Sensitivity", number: int, count: int) -> None:
        now = time.monotonic()
        if quiet or (now - told[0] < PAUSE and number < count):
            return
        told[0] = now
        left = (now - began) * (count - number) / number
        say(f"sensitivity of {number}/{count} tensors" + (f", {left:.0f} s left" if number < count else ""))

    return tell


def probe_first(study: "Study", engine: "Engine", quiet: bool) -> None:
    """Measure what a study's sampler needs before its first trial, and tell a user what came of it."""
    from mpsearch.probing import prepare

    rows = prepare(study, engine, measured_line(quiet))
    if rows and not quiet:
        worst = sorted(rows, key=lambda row: -max(row.divergences))[:NAMED]
        say(
            f"sensitivities measured in {sum(row.seconds for row in rows):.0f} s; the largest: "
            + ", ".join(f"{row.choice} at {row.specs[row.divergences.index(max(row.divergences))]}" for row in worst)
        )


def print_sensitivities(rows: "Sequence[Sensitivity]", title: str) -> None:
    """Print them as a table, with their ranks, and which are the largest."""
    from mpsearch.cli.output import GAP, print_table

    widths = sorted({spec for row in rows for spec in row.specs}, key=_order)
    ranks = {row.choice: rank for rank, row in enumerate(sorted(rows, key=lambda r: -max(r.divergences)), 1)}
    table = []
    for row in rows:
        values = dict(zip(row.specs, row.divergences, strict=True))
        cells = {width: f"{1000 * values[width]:.3g}" if width in values else GAP for width in widths}
        table.append({"tensor": row.choice, **cells, "rank": ranks[row.choice]})
    print_table(table, title)
    print("in thousandths; rank 1: the tensor whose narrowest width harms most")
    print(f"measured in {sum(row.seconds for row in rows):.1f} s on {counted(rows[0].key['samples'], 'sample')}")


def _order(spec: str) -> tuple[int, str]:
    width, _, alpha = spec.partition(" ")
    return int(width), alpha


def solve(
    name: StudyName,
    limit: Annotated[
        list[str],
        typer.Option(metavar="NAME=VALUE", help="The budget: flash=300KB, bits=200000. May be repeated."),
    ],
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Select the least harmful widths within a budget.

    Harms are those of `mpsearch sensitivity`; their square roots, of kernels 0.4 times that, add up over tensors. For
    costs that are sums over tensors, such as bits and flash, no other selection harms less; for others it is one that
    none was found to be better than. Limits of the study hold as well.
    """
    from mpsearch.by_layer import rows_by_layer
    from mpsearch.changes import space_file_of
    from mpsearch.cli.output import print_json, print_table
    from mpsearch.cli.pareto import facts_of
    from mpsearch.costs.sizes import shown_size
    from mpsearch.solving import solved
    from mpsearch.study import open_study

    study = open_study(name, storage)
    file = space_file_of(study)
    space = file.space.resolve(facts_of(study, file))
    found = solved(study, file, space, limit)
    if as_json:
        print_json(
            {
                "config": found.config.to_json(),
                "costs": {cost.name: value for cost, value in zip(found.costs, found.values, strict=True)},
                "limits": {cost.name: most for cost, most in zip(found.costs, found.most, strict=True)},
                "believed": {"metric": found.metric, "deviation": found.deviation, "trainings": found.trainings},
                "seconds": found.seconds,
            }
        )
        return
    print_table(rows_by_layer(found.config), f"{name}: least harm within {', '.join(limit)}: bits")
    rows = [
        {
            "cost": cost.name,
            "selected": shown_size(value, cost.unit),
            "at most": shown_size(most, cost.unit),
        }
        for cost, value, most in zip(found.costs, found.values, found.most, strict=True)
    ]
    print_table(rows, "costs")
    more = f" and {counted(found.trainings, 'training')}" if found.trainings else " alone"
    by = f"the sensitivities{more}"
    print(f"{study.provenance.metric} after a trial's training, by {by}: {found.metric:.4f} ± {found.deviation:.4f}")
    options = " ".join(f"--limit {one}" for one in limit)
    print(
        f"selected in {found.seconds:.2f} s; to train it: mpsearch solve {name} {options} --json > next.json, then "
        f"mpsearch study enqueue {name} --config next.json"
    )


def importance(name: StudyName, storage: Storage = None, as_json: AsJson = False) -> None:
    """Show which tensors matter for metric and costs.

    For each tensor, how much metric its narrowest width is believed to take off against its widest, after a trial's
    training: by the sensitivities, corrected by the study's trials. Beside it, which part of what the widest config
    costs that width saves, and how much metric each percent of saving takes: those with little are the first to be
    narrowed.
    """
    from mpsearch.changes import space_file_of
    from mpsearch.cli.output import print_json, print_table
    from mpsearch.cli.pareto import facts_of
    from mpsearch.importance import importances
    from mpsearch.study import open_study

    study = open_study(name, storage)
    file = space_file_of(study)
    found = importances(study, file, file.space.resolve(facts_of(study, file)))
    if as_json:
        print_json({"trainings": found.trainings, "tensors": [row.to_json() for row in found.rows]})
        return
    metric, costs = study.provenance.metric, tuple(study.goal.costs)
    rows = [
        {
            "tensor": row.choice,
            "widths": f"{row.widest} → {row.narrowest}",
            f"{metric} lost": f"{row.loss:.4f} ± {row.deviation:.4f}",
            **{f"{cost} saved": f"{row.saved[cost]:.2%}" for cost in costs},
            **{f"lost / 1 % {cost}": _rate(row.loss, row.saved[cost]) for cost in costs},
        }
        for row in found.rows
    ]
    print_table(rows, f"{name}: importance", [f"lost / 1 % {cost}" for cost in costs])
    by = f"sensitivities and {counted(found.trainings, 'training')}" if found.trainings else "sensitivities alone"
    print(f"by {by}; lost: what the narrowest width takes off {metric}, after training, all else being equal")


def _rate(loss: float, saved: float) -> str:
    return f"{max(loss, 0.0) / (100 * saved):.5f}" if saved > 5e-5 else "–"
