"""The command `mpsearch convert-autoqkeras`."""

from pathlib import Path
from typing import Annotated

import typer

from mpsearch.cli.common import say
from mpsearch.cli.options import examples

EXAMPLES = examples(
    "convert-autoqkeras run_config.json",
    "convert-autoqkeras run_config.json --out mine.py",
    "convert-autoqkeras run_config.json --out mine.py --force",
)


def convert_autoqkeras(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="JSON object with quantization_config, limit and goal, as AutoQKeras takes them."
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the space file there; default: print it.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Turn an AutoQKeras configuration into a space file.

    Model and data are for you to fill in. What has no counterpart is left out, and said.
    """
    import json

    from mpsearch.autoqkeras import convert
    from mpsearch.errors import ConfigError

    try:
        given = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} must be a JSON file, as json.dump(run_config, …) writes it: {error}") from error
    found = convert(given, file.name)
    if out is None:
        print(found.text, end="")
    else:
        if out.exists() and not force:
            raise ConfigError(f"{out} is there already: give --force to replace it, or another --out")
        try:
            out.write_text(found.text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"can't write {out}: {error.strerror or error}") from error
    for note in found.notes:
        say(f"note: {note}")
    if out is not None:
        say(f"written: {out}; fill in model and data, then: mpsearch space check {out}")
