"""The commands `mpsearch study …` that keep studies in order, and bring configs and studies in and out."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mpsearch.cli.common import counted, say, say_loading
from mpsearch.cli.options import AcceptChange, AsJson, Quiet, Storage, StudyName, examples, nonempty_name
from mpsearch.cli.silence import import_tensorflow
from mpsearch.cli.study import app as app
from mpsearch.errors import ConfigError, StudyError
from mpsearch.records import State

NewName = Annotated[str, typer.Argument(metavar="NEW", help="The new name.", callback=nonempty_name)]


@app.command(epilog=examples("study rename digits first"))
def rename(name: StudyName, new: NewName, storage: Storage = None) -> None:
    """Give a study another name."""
    from mpsearch.upkeep import rename_study

    rename_study(name, new, storage)
    print(f"{name} is called {new} now")


@app.command(epilog=examples("study delete first", "study delete first --yes"))
def delete(
    name: StudyName,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    storage: Storage = None,
) -> None:
    """Delete a study, its weights and its fine-tunings.

    It can't be undone; `study export` first keeps all but the weights.
    """
    from mpsearch.study import open_study
    from mpsearch.upkeep import delete_study

    study = open_study(name, storage)
    if not yes and not _confirmed(f"delete {name} with {counted(study.finished, 'trial')} and {study.folder}?"):
        raise StudyError(f"nothing was deleted; to delete {name} without a question give --yes")
    delete_study(name, storage)
    print(f"{name} is deleted")


@app.command(epilog=examples("study copy digits second"))
def copy(name: StudyName, new: NewName, storage: Storage = None) -> None:
    """Make a second study with the same trials and weights.

    Fine-tunings are copied as well. The two go on apart.
    """
    from mpsearch.upkeep import copy_study

    made = copy_study(name, new, storage)
    print(f"{new} has the {counted(made.finished, 'trial')} of {name}; go on with: mpsearch study run {new}")


@app.command(
    epilog=examples(
        'study note digits "kernels below 4 bits lose too much"',
        'study note digits "a late rise" --trial 12',
        "study note digits --trial 12",
    )
)
def note(
    name: StudyName,
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT", help="What to write; without it the note is shown.")
    ] = None,
    trial: Annotated[int | None, typer.Option(metavar="N", help="The note of this trial.")] = None,
    storage: Storage = None,
) -> None:
    """Write or show the note of a study or of a trial.

    A new note replaces the one there; an empty text removes it.
    """
    from mpsearch.study import open_study

    study = open_study(name, storage)
    if text is None:
        print(study.remark(trial) or "no note")
        return
    with study.exclusive():
        study.set_remark(text, trial)


@app.command(epilog=examples("study tag digits paper edge", "study tag digits paper --remove", "study tag digits"))
def tag(
    name: StudyName,
    words: Annotated[list[str] | None, typer.Argument(metavar="TAG", help="Tags; without any they are shown.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove these tags instead.")] = False,
    storage: Storage = None,
) -> None:
    """Add, remove or show a study's tags.

    `study list --tag` chooses by them.
    """
    from mpsearch.study import open_study

    if remove and not words:
        raise ConfigError(f"name the tags to remove: mpsearch study tag {name} TAG --remove")
    if not all(word.strip() for word in words or ()):
        raise ConfigError("a tag must not be empty")
    study = open_study(name, storage)
    if words:
        with study.exclusive():
            study.tag(words, remove)
    print(", ".join(study.tags) or "no tags")


@app.command(
    epilog=examples(
        "study export digits --format json --out digits.json", "study export digits --format csv --out digits.csv"
    )
)
def export(
    name: StudyName,
    format: Annotated[
        str, typer.Option(metavar="FORMAT", help="json: all but the weights, for `study import`; csv: a row a trial.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File to write.", show_default="standard output")
    ] = None,
    storage: Storage = None,
) -> None:
    """Write a study to a file, for use elsewhere."""
    import json

    from mpsearch.study import open_study
    from mpsearch.upkeep import to_csv, to_json

    if format not in ("json", "csv"):
        raise ConfigError(f"--format must be json or csv, but got {format!r}")
    study = open_study(name, storage)
    text = to_csv(study) if format == "csv" else json.dumps(to_json(study), indent=1) + "\n"
    if out is None:
        print(text, end="")
    else:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(text, encoding="utf-8")
        except OSError as error:
            raise StudyError(f"can't write {out}: {error.strerror}; give another file by --out") from error
        say(f"{out}: {counted(len(study.records()), 'trial')} of {name}")


@app.command("import", epilog=examples("study import digits.json", "study import digits.json --name second"))
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON of `mpsearch study export`.")],
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Name of the study.", show_default="as it was", callback=nonempty_name),
    ] = None,
    storage: Storage = None,
) -> None:
    """Make a study of an exported one, without its weights."""
    from mpsearch.upkeep import import_study

    study = import_study(file, name, storage)
    print(f"{study.name}: {counted(study.finished, 'trial')}; go on with: mpsearch study run {study.name}")


@app.command(
    epilog=examples(
        "study enqueue digits --uniform 8 --uniform 4",
        "study enqueue digits --config idea.json",
        "study enqueue digits --from second",
        "study enqueue digits --from second --trial 12",
    )
)
def enqueue(
    name: StudyName,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="JSON file of a config: site to spec or width; see `study show NAME --trial N --json`."
        ),
    ] = None,
    from_study: Annotated[
        str | None, typer.Option("--from", metavar="STUDY", help="Take the best config of this study.")
    ] = None,
    trial: Annotated[int | None, typer.Option(metavar="N", help="With --from: take this trial's config.")] = None,
    uniform: Annotated[
        list[int] | None,
        typer.Option(
            metavar="BITS",
            help="This width wherever menus have it, and the next wider elsewhere; may be repeated.",
        ),
    ] = None,
    accept_change: AcceptChange = False,
    storage: Storage = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Let configs be tried before the sampler's next one."""
    from mpsearch.changes import check_file, space_file_of
    from mpsearch.cli.output import print_json
    from mpsearch.study import open_study

    if config is None and from_study is None and not uniform:
        raise ConfigError("name what to try: --config FILE, --from STUDY or --uniform BITS")
    if trial is not None and from_study is None:
        raise ConfigError("--trial goes with --from: mpsearch study enqueue NAME --from STUDY --trial N")
    study = open_study(name, storage)
    other = None if from_study is None else open_study(from_study, storage)
    check_file(study, space_file_of(study), accept_change)
    say_loading(quiet or as_json)
    import_tensorflow()
    from mpsearch.aiming import refuse_beyond
    from mpsearch.creation import checked_inputs, uniform_config
    from mpsearch.queueing import config_from_file, config_from_study
    from mpsearch.searching.budgets import budget_of
    from mpsearch.searching.scoring import Scoring

    file, _, space = checked_inputs(study, accept_change, say)
    found = [(uniform_config(space, width), f"uniform {width}") for width in uniform or []]
    if config is not None:
        found.append((config_from_file(config, space), config.name))
    if other is not None:
        found.append(config_from_study(other, trial, space))
    budget = budget_of(space, Scoring.of(file, space.facts, study.goal))
    for chosen, origin in found:
        refuse_beyond(budget, chosen, origin)
    with study.exclusive():
        for chosen, origin in found:
            study.enqueue(space, chosen, origin)
    if as_json:
        print_json([{"origin": origin, "fingerprint": chosen.fingerprint} for chosen, origin in found])
        return
    for chosen, origin in found:
        earlier = study.earlier(chosen.fingerprint)
        print(f"queued: {origin}" + ("" if earlier is None else f" (trial {earlier.number} trained it already)"))
    queued = sum(record.state is State.WAITING for record in study.records())
    print(f"next: mpsearch study run {name} --trials {study.finished + queued}")


def _confirmed(question: str) -> bool:
    """Whether a user answers yes; without anybody to answer it is no."""
    try:
        return typer.confirm(question)
    except typer.Abort:
        print(file=sys.stderr)  # ends the line of the question
        return False
