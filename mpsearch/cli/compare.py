"""The command `mpsearch compare`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mpsearch.cli.common import counted, say
from mpsearch.cli.options import AsJson, Storage, examples

EXAMPLES = examples("compare digits second", "compare digits second third --cost flash --figure fronts.html")


def compare(
    names: Annotated[list[str], typer.Argument(metavar="NAMES", help="Names of two studies or more.")],
    cost: Annotated[
        str, typer.Option(metavar="COST", help="What the metric is shown over: a cost that all trials have.")
    ] = "total_bits",
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all trials and fronts, an .html file.")
    ] = None,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Show studies side by side.

    Their best trials, and the tensors whose quantizers differ between these; with --figure all trials. All studies are
    of one storage.
    """
    from mpsearch.cli.output import GAP, print_json, print_table
    from mpsearch.comparing import compare as compared
    from mpsearch.comparing import differing, write_fronts
    from mpsearch.errors import ConfigError
    from mpsearch.study import open_study

    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise ConfigError(f"compare needs two studies or more, each once, but got {', '.join(names)}")
    sides = compared([open_study(name, storage) for name in names], cost)
    if figure is not None:
        write_fronts(sides, cost, figure)
        say(f"written: {figure}")
    changed = differing(sides)
    if as_json:
        print_json(
            {
                "studies": [
                    {
                        "name": side.name,
                        "trials": side.trials,
                        "best": None if side.best is None else side.best.to_json(),
                        "front": [side.points[place] for place in side.front],
                    }
                    for side in sides
                ],
                "tensors": changed,
            }
        )
        return
    rows: list[dict[str, Any]] = []
    for side in sides:
        row: dict[str, Any] = {"study": side.name, "trials": side.trials, "best": GAP, side.metric: GAP, cost: GAP}
        if side.best is not None:
            row |= {
                "best": side.best.number,
                side.metric: f"{side.best.metric:.4f}",
                cost: f"{side.best.costs[cost]:,.10g}",
                "score": f"{side.best.score:.4f}",
            }
        rows.append({**row, "score": row.get("score", GAP), "on its front": len(side.front)})
    print_table(rows, f"studies compared; the front is of {sides[0].metric} and {cost}")
    if changed:
        print_table(
            [
                {"tensor": site, **{n: spec or GAP for n, spec in zip(names, specs, strict=True)}}
                for site, specs in changed.items()
            ],
            "tensors whose quantizers differ between the best trials",
        )
    print(f"{counted(len(changed), 'tensor')} of the best trials differ")
