"""Options that several commands share."""

from typing import Annotated

import typer

Storage = Annotated[str | None, typer.Option(help="Optuna storage URL.", show_default="studies/mpsearch.db")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
StudyName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the study.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
AcceptChange = Annotated[
    bool,
    typer.Option(
        "--accept-change", help="Go on although the space file, data or float weights changed; see `study run --help`."
    ),
]
