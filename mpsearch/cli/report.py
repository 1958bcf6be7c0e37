"""The command `mpsearch report`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mpsearch.cli.common import open_engine, say
from mpsearch.cli.options import AcceptChange, AsJson, Quiet, Storage, examples

if TYPE_CHECKING:
    from mpsearch.report.gathering import Report

EXAMPLES = examples(
    "report digits",
    "report digits --evaluate --out reports/digits.html",
    "report digits --trial 12 --others 8 --cost flash",
    "report digits --summary digits.md",
    "report digits --pictures figures --picture-format svg,png",
    "report digits --json > digits.json",
    "report digits.json",
)
NO_TRIAL = "--trial, --cost, --others and --evaluate choose what is gathered from a study"


def report(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the study, or a .json file that --json printed.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page, an .html file.", show_default="NAME.html")
    ] = None,
    trial: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Number of the trial to report on.", show_default="the best; of a front the knee"
        ),
    ] = None,
    cost: Annotated[
        str | None,
        typer.Option(metavar="COST", help="What the front is shown over.", show_default="the objective's first cost"),
    ] = None,
    others: Annotated[int, typer.Option(metavar="N", help="Other configs shown beside it.", min=0)] = 4,
    evaluate: Annotated[
        bool,
        typer.Option(
            "--evaluate",
            help="Load the network: confusion matrix, noise and zeros of each tensor. Kept with the study.",
        ),
    ] = False,
    summary: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a Markdown summary as well, for a pull request.")
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write each figure as a picture as well.")
    ] = None,
    picture_format: Annotated[str, typer.Option(metavar="FORMATS", help="Of the pictures: svg, png, or both.")] = "svg",
    accept_change: AcceptChange = False,
    storage: Storage = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Write a study as a page to look at and to send.

    One HTML file that needs no network: the best config and what it saves, the front, the bits of each layer, where
    bits and energy go, all trials, what widths harm, baselines, fine-tuning, exports, and where it all comes from. With
    --json the data of all of it is printed, and no page is written.
    """
    from mpsearch.errors import ConfigError
    from mpsearch.report.words import answer_sentence

    formats = [part for part in picture_format.split(",") if part]
    if name.endswith(".json"):
        if evaluate or trial is not None or cost is not None:
            raise ConfigError(f"{NO_TRIAL}, but {name} is gathered already: leave them out, or give a study")
        found, called = _read(Path(name)), Path(name).stem
    else:
        found, called = _gathered(name, storage, trial, cost, others, evaluate, accept_change, quiet or as_json), name
    if as_json:
        from mpsearch.cli.output import print_json

        print_json(found.to_json())
    else:
        from mpsearch.pages import write_page
        from mpsearch.report.document import document

        page = out or Path(f"{called.replace('/', '_')}.html")
        write_page(document(found), page)
        print(answer_sentence(found))
        print(f"written: {page} ({page.stat().st_size / 2**20:.1f} MB)")
    if summary is not None:
        from mpsearch.pages import write_text
        from mpsearch.report.summary import summary as in_markdown

        write_text(in_markdown(found), summary)
        say(f"written: {summary}")
    if pictures is not None:
        from mpsearch.report.pictures import write_pictures

        if not quiet:
            say("drawing the pictures …")
        files = write_pictures(found, pictures, formats)
        say(f"written: {len(files)} pictures in {pictures}")


def _read(file: Path) -> "Report":
    from mpsearch.errors import ConfigError
    from mpsearch.report.gathering import Report

    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"can't read {file}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"{file} isn't JSON: {error}") from error
    return Report.from_json(data)


def _gathered(
    name: str,
    storage: str | None,
    trial: int | None,
    cost: str | None,
    others: int,
    evaluate: bool,
    accept_change: bool,
    quiet: bool,
) -> "Report":
    from mpsearch.changes import space_file_of
    from mpsearch.cli.pareto import facts_of
    from mpsearch.report.gathering import gather
    from mpsearch.study import open_study

    study = open_study(name, storage)
    file = space_file_of(study)
    found = gather(study, file, facts_of(study, file), trial, cost, others)
    if evaluate:
        from mpsearch.cli.analyse import told
        from mpsearch.cli.silence import import_tensorflow

        import_tensorflow()
        from mpsearch.analysis.analysing import BOTH
        from mpsearch.report.evaluating import evaluate as evaluated

        record = study.record(found.best)
        evaluated(study, record, lambda: open_engine(study, quiet, accept_change, BOTH), told(quiet))
        found = gather(study, file, facts_of(study, file), trial, cost, others)
    return found
