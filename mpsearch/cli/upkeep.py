"""The commands `mpsearch study …` that keep studies in order, and bring configs and studies in and out."""

from pathlib import Path
from typing import Annotated

import typer

from mpsearch.cli.common import say
from mpsearch.cli.options import AcceptChange, AsJson, Storage, StudyName
from mpsearch.cli.silence import import_tensorflow
from mpsearch.cli.study import app as app
from mpsearch.errors import ConfigError, StudyError

NewName = Annotated[str, typer.Argument(metavar="NEW", help="The new name.")]


@app.command(epilog="Example: mpsearch study rename resnet8 resnet8-first")
def rename(name: StudyName, new: NewName, storage: Storage = None) -> None:
    """Give a study another name."""
    from mpsearch.upkeep import rename_study

    rename_study(name, new, storage)
    print(f"{name} is called {new} now")


@app.command(epilog="Example: mpsearch study delete resnet8-first --yes")
def delete(
    name: StudyName,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    storage: Storage = None,
) -> None:
    """Delete a study, its weights and its fine-tunings. There is no way back but an export."""
    from mpsearch.study import open_study
    from mpsearch.upkeep import delete_study

    study = open_study(name, storage)
    if not yes and not typer.confirm(f"delete {name} with {study.finished} trials and {study.folder}?"):
        raise StudyError(f"nothing was deleted; to delete {name} without a question give --yes")
    delete_study(name, storage)
    print(f"{name} is deleted")


@app.command(epilog="Example: mpsearch study copy resnet8 resnet8-more")
def copy(name: StudyName, new: NewName, storage: Storage = None) -> None:
    """Make a second study with the same trials, weights and fine-tunings, to go on with in another way."""
    from mpsearch.upkeep import copy_study

    made = copy_study(name, new, storage)
    print(f"{new} has the {made.finished} trials of {name}; go on with: mpsearch study run {new}")


@app.command(epilog='Example: mpsearch study note resnet8 "kernels below 4 bits lose too much" --trial 12')
def note(
    name: StudyName,
    text: Annotated[str | None, typer.Argument(help="What to write; without it, what is written is shown.")] = None,
    trial: Annotated[int | None, typer.Option(help="Write on this trial.")] = None,
    storage: Storage = None,
) -> None:
    """Write a note on a study or on one of its trials, in place of the one there; an empty text removes it."""
    from mpsearch.study import open_study

    study = open_study(name, storage)
    if text is None:
        print(study.remark(trial) or "no note")
        return
    with study.exclusive():
        study.set_remark(text, trial)


@app.command(epilog="Example: mpsearch study tag resnet8 paper cifar10")
def tag(
    name: StudyName,
    words: Annotated[list[str] | None, typer.Argument(metavar="[TAG]...", help="Tags.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove these tags instead.")] = False,
    storage: Storage = None,
) -> None:
    """Add or remove tags, by which `study list --tag` chooses; without tags, show them."""
    from mpsearch.study import open_study

    study = open_study(name, storage)
    if words:
        with study.exclusive():
            study.tag(words, remove)
    print(", ".join(study.tags) or "no tags")


@app.command(epilog="Example: mpsearch study export resnet8 --format json --out resnet8.json")
def export(
    name: StudyName,
    format: Annotated[str, typer.Option(help="json: all but the weights, for `study import`; csv: a row a trial.")],
    out: Annotated[Path | None, typer.Option(help="File to write.", show_default="standard output")] = None,
    storage: Storage = None,
) -> None:
    """Write a study to a file, for other programs or another machine."""
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
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
        say(f"{out}: {len(study.records())} trials of {name}")


@app.command("import", epilog="Example: mpsearch study import resnet8.json --name resnet8-copy")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON of `mpsearch study export`.")],
    name: Annotated[str | None, typer.Option(help="Name of the study.", show_default="as it was")] = None,
    storage: Storage = None,
) -> None:
    """Make a study of an exported one; its weights don't come with it."""
    from mpsearch.upkeep import import_study

    study = import_study(file, name, storage)
    print(f"{study.name}: {study.finished} trials; go on with: mpsearch study run {study.name}")


@app.command(
    epilog="Example: mpsearch study enqueue resnet8 --from resnet8-first --trial 12 --config idea.json --uniform 8"
)
def enqueue(
    name: StudyName,
    config: Annotated[
        Path | None, typer.Option(help="JSON file of a config: site to spec or width; see `study show --trial --json`.")
    ] = None,
    from_study: Annotated[str | None, typer.Option("--from", help="Take the best config of this study.")] = None,
    trial: Annotated[int | None, typer.Option(help="With --from: take this trial's config.")] = None,
    uniform: Annotated[
        list[int] | None, typer.Option(help="So many bits wherever menus have them; may be repeated.")
    ] = None,
    accept_change: AcceptChange = False,
    storage: Storage = None,
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
    import_tensorflow()
    from mpsearch.creation import checked_inputs, uniform_config
    from mpsearch.queueing import config_from_file, config_from_study

    _, _, space = checked_inputs(study, accept_change, say)
    found = [(uniform_config(space, width), f"uniform {width}") for width in uniform or []]
    if config is not None:
        found.append((config_from_file(config, space), config.name))
    if other is not None:
        found.append(config_from_study(other, trial, space))
    with study.exclusive():
        for chosen, origin in found:
            study.enqueue(space, chosen, origin)
    if as_json:
        print_json([{"origin": origin, "fingerprint": chosen.fingerprint} for chosen, origin in found])
        return
    for chosen, origin in found:
        earlier = study.earlier(chosen.fingerprint)
        print(f"queued: {origin}" + ("" if earlier is None else f" (trial {earlier.number} trained it already)"))
    print(f"next: mpsearch study run {name} --trials {study.finished + len(found)}")
