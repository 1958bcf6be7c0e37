"""The commands `mpsearch space …`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpsearch.cli.common import say_loading
from mpsearch.cli.completion import spaces
from mpsearch.cli.options import ABOUT_SPACE, AsJson, Quiet, examples
from mpsearch.cli.silence import import_tensorflow

if TYPE_CHECKING:
    from mpsearch.config import Config
    from mpsearch.costs.bits import BitCost
    from mpsearch.space import ResolvedSpace
    from mpsearch.spacefile import SpaceFile

app = typer.Typer(
    help="Look at space files.",
    epilog=examples("space check digits.py"),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command(epilog=examples("space check digits.py", "space check digits.py --json"))
def check(
    space: Annotated[str, typer.Argument(metavar="SPACE", help=ABOUT_SPACE, autocompletion=spaces)],
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Show what a space file means, without training.

    That is: its menus, its size, what its configs cost, and what to know of it. Builds the model and loads the data.
    A space file that contradicts itself or its model is an error, with exit code 1.
    """
    from mpsearch.cli.output import print_json, print_table
    from mpsearch.spacefile import find_space_file, load_space_file

    path = find_space_file(space)
    file = load_space_file(path)
    say_loading(quiet or as_json)
    import_tensorflow()
    resolved, warnings = _resolved(file)
    described = resolved.describe()
    notes = [*described.notes, *warnings]
    costs = _costs(file, resolved)
    if as_json:
        print_json({"file": str(path), **described.to_json(), "notes": notes, "costs": costs})
        return
    print_table(described.rows, f"{path}: {described.model}")
    for line in (*described.limits, described.summary):
        print(line)
    shown = ("config", "parameter_bits", "activation_bits", "total_bits")
    rows = [{**{key.replace("_", " "): row[key] for key in shown}, "δ": f"{row['delta']:+.2%}"} for row in costs]
    print_table(rows, "costs")
    for note in notes:
        print(f"note: {note}")


def _resolved(file: "SpaceFile") -> "tuple[ResolvedSpace, list[str]]":
    """The resolved space, and what hindered."""
    from mpsearch.creation import resolve
    from mpsearch.errors import DataMissingError
    from mpsearch.floatmodel import find_weights

    warnings, data = [], None
    try:
        data = file.task.data()
    except DataMissingError as error:
        warnings.append(f"the data is missing, so inputs are taken to have values below zero: {error}")
    if file.task.weights is not None:
        try:
            find_weights(file.task.weights, file.path.parent)
        except DataMissingError as error:
            warnings.append(f"a study can't run yet: {error}")
    return resolve(file, data), warnings


def _costs(file: "SpaceFile", space: "ResolvedSpace") -> list[dict[str, Any]]:
    """Costs and δ of the reference, and of the dearest and the cheapest config."""
    from mpsearch.costs.bits import BitCost

    cost = BitCost(space.facts, file.reference)
    ends = {"dearest": space.dearest(cost.price), "cheapest": space.cheapest(cost.price)}
    return [_row("reference", cost, file, None), *(_row(name, cost, file, config) for name, config in ends.items())]


def _row(name: str, cost: "BitCost", file: "SpaceFile", config: "Config | None") -> dict[str, Any]:
    bits = cost.reference_cost if config is None else cost(config)
    return {
        "config": name,
        "parameter_bits": bits.parameter_bits,
        "activation_bits": bits.activation_bits,
        "total_bits": bits.total_bits,
        "delta": file.forgiving.delta(bits.total_bits, cost.reference_cost.total_bits),
        "fingerprint": None if config is None else config.fingerprint,
    }
