"""The commands `mpsearch study …`."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpsearch.cli.options import AsJson, Quiet, Storage, StudyName
from mpsearch.cli.silence import import_tensorflow
from mpsearch.errors import ConfigError, StudyError

if TYPE_CHECKING:
    from mpsearch.config import Alpha
    from mpsearch.records import TrialRecord
    from mpsearch.search.engine import Engine
    from mpsearch.study import Study

app = typer.Typer(
    help="Create, run and look at studies.", no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None
)


@app.command(epilog="Example: mpsearch study create --space resnet8.py")
def create(
    space: Annotated[str, typer.Option(help="Space file: a path, or the name of a ready one.")],
    name: Annotated[str | None, typer.Option(help="Name of the study.", show_default="the file's stem")] = None,
    sampler: Annotated[str, typer.Option(help="tpe, random or grid.")] = "tpe",
    pruner: Annotated[str, typer.Option(help="none or median.")] = "none",
    seed: Annotated[int, typer.Option(help="All randomness derives from it.")] = 0,
    uniform: Annotated[
        list[int] | None, typer.Option(help="Try so many bits everywhere first; may be repeated.")
    ] = None,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Resolve a space file and make a study of it; nothing is trained yet."""
    from mpsearch.cli.output import print_json, print_table
    from mpsearch.spacefile import find_space_file, load_space_file

    path = find_space_file(space)
    file = load_space_file(path)
    import_tensorflow()
    from mpsearch.creation import provenance_of, resolve
    from mpsearch.study import create_study

    data = file.task.data()
    resolved = resolve(file, data)
    study = create_study(name or path.stem, provenance_of(file, data, resolved, seed, sampler, pruner), storage)
    for width in uniform or []:
        study.enqueue(resolved, resolved.uniform(width), f"uniform {width}")
    if as_json:
        print_json({"name": study.name, **vars(study.provenance)})
        return
    print_table(study.provenance.sites, f"{study.name}: {path}")
    print(f"{len(resolved.sites)} sites, {len(resolved.free)} choices, {resolved.size:,} configs")
    for note in resolved.notes:
        print(note)
    print(f"next: mpsearch study run {study.name}")


@app.command(epilog="Example: mpsearch study run resnet8 --trials 40")
def run(
    name: StudyName,
    trials: Annotated[int, typer.Option(help="Trials that the study shall have in the end.", min=1)] = 20,
    accept_change: Annotated[
        bool, typer.Option("--accept-change", help="Go on although the space file or data changed.")
    ] = False,
    storage: Storage = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run trials until the study has --trials of them; goes on where an earlier run stopped."""
    from mpsearch.cli.output import print_json
    from mpsearch.cli.progress import RunProgress
    from mpsearch.study import open_study

    study = open_study(name, storage)
    if study.finished >= trials:
        if as_json:
            print_json([record.to_json() for record in study.best()])
        else:
            print(f"{name} has {study.finished} trials already; for more give --trials {study.finished + 20}")
        return
    quiet = quiet or as_json
    engine = engine_of(study, quiet, accept_change=accept_change)
    from mpsearch.runners.inprocess import run as run_trials

    if not study.notes("float"):
        study.note("float", {"validation": engine.float_metric()})
    best = study.best()
    progress = RunProgress(
        trials, study.finished, best[0].score if best else None, engine.task.training.epochs, engine.task.metric, quiet
    )
    try:
        with progress:
            run_trials(study, engine, trials, progress)
    except KeyboardInterrupt:
        sys.exit(
            f"interrupted after {study.finished} of {trials} trials; go on with: mpsearch study run {name} "
            f"--trials {trials}"
        )
    if as_json:
        print_json([record.to_json() for record in study.best()])
    else:
        _print_best(study, 1)


@app.command("list", epilog="Example: mpsearch study list --json")
def list_studies(storage: Storage = None, as_json: AsJson = False) -> None:
    """List the studies of a storage."""
    from mpsearch.cli.output import print_json, print_table
    from mpsearch.study import open_study, study_names

    rows: list[dict[str, Any]] = []
    for name in study_names(storage):
        try:
            study = open_study(name, storage)
        except StudyError as error:
            rows.append({"study": name, "space file": str(error), "trials": None, "best score": None, "created": None})
            continue
        best = study.best()
        rows.append(
            {
                "study": name,
                "space file": study.provenance.space_path,
                "trials": study.finished,
                "best score": best[0].score if best else None,
                "created": study.provenance.created,
            }
        )
    print_json(rows) if as_json else print_table(rows, "studies")


@app.command(epilog="Example: mpsearch study show resnet8")
def show(name: StudyName, storage: Storage = None, as_json: AsJson = False) -> None:
    """Show a study: what it was made of, and all its trials."""
    from mpsearch.cli.output import print_json, print_table
    from mpsearch.study import open_study

    study = open_study(name, storage)
    records = study.records()
    if as_json:
        print_json(
            {
                "name": name,
                "provenance": vars(study.provenance),
                "trials": [record.to_json() for record in records],
                "float": study.notes("float").get("float"),
                "finetuned": study.notes("finetuned"),
            }
        )
        return
    was = study.provenance
    rows: list[dict[str, Any]] = [
        {"what": "space file", "value": f"{was.space_path} ({was.space_hash})"},
        {"what": "configs", "value": f"{int(was.space_size):,}"},
        {"what": "data", "value": was.data_fingerprint},
        {"what": "sampler, pruner, seed", "value": f"{was.sampler}, {was.pruner}, {was.seed}"},
        {"what": "reference", "value": f"{was.reference_costs['total_bits']:,} bits"},
        {"what": f"float {was.metric}", "value": _float_metric(study)},
        {"what": "versions", "value": ", ".join(f"{key} {value}" for key, value in was.versions.items())},
        {"what": "created", "value": was.created},
    ]
    print_table(rows, name)
    print_table([_trial_row(record, was.metric) for record in records], "trials")


@app.command(epilog="Example: mpsearch study best resnet8 --top 3")
def best(
    name: StudyName,
    top: Annotated[int, typer.Option(help="So many of the best.", min=1)] = 1,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Show the best trials and the widths that they chose."""
    from mpsearch.cli.output import print_json
    from mpsearch.study import open_study

    study = open_study(name, storage)
    if as_json:
        print_json([record.to_json() for record in study.best(top)])
    else:
        _print_best(study, top)


def chosen_trials(study: "Study", trial: str, top: int) -> "list[TrialRecord]":
    """The trials that `--trial` and `--top` name.

    Raises:
        ConfigError: both are given, or the trial is neither a number nor "best".
        StudyError: there are none.
    """
    if trial == "best":
        found = study.best(top)
        if not found:
            raise StudyError(f"`{study.name}` has no complete trial yet: mpsearch study run {study.name}")
        return found
    if top != 1:
        raise ConfigError("--top chooses among the best: give either --trial or --top")
    if not trial.isdigit():
        raise ConfigError(f"--trial must be a number or best, but got {trial!r}")
    return [study.record(int(trial))]


def engine_of(
    study: "Study", quiet: bool, accept_change: bool = False, extra_alphas: "Sequence[Alpha]" = ()
) -> "Engine":
    """The engine for a study's space file, if that hasn't changed."""
    from mpsearch.errors import DataMissingError
    from mpsearch.spacefile import find_space_file, load_space_file

    try:
        path = find_space_file(study.provenance.space_path)
    except DataMissingError as error:
        raise StudyError(
            f"the space file of `{study.name}` isn't where it was: put it back, or run from the folder in which the "
            f"study was created ({error})"
        ) from error
    file = load_space_file(path)
    if not quiet:
        print("loading the model and data …", flush=True)
    import_tensorflow()
    from mpsearch.cli.progress import EpochProgress
    from mpsearch.creation import check_unchanged
    from mpsearch.search.engine import Engine

    engine = Engine(file, EpochProgress("float", file.task.float_recipe.epochs, quiet), extra_alphas)
    check_unchanged(study, file, engine.data, engine.network.space, accept_change)
    return engine


def _float_metric(study: "Study") -> str:
    known = study.notes("float").get("float")
    return "–" if known is None else f"{known['validation']:.4f} (validation)"


def _trial_row(record: "TrialRecord", metric: str) -> dict[str, Any]:
    answered = "" if record.answered_from is None else f"as trial {record.answered_from}"
    return {
        "trial": record.number,
        "state": record.state.value,
        metric: record.metric,
        "bits": record.costs.get("total_bits"),
        "δ": "–" if record.delta is None else f"{record.delta:+.2%}",
        "score": record.score,
        "epochs": record.epochs,
        "seconds": round(record.seconds, 1),
        "origin": record.origin,
        "note": answered or record.cause,
    }


def _print_best(study: "Study", top: int) -> None:
    from mpsearch.cli.output import print_table

    records = study.best(top)
    print_table([_trial_row(record, study.provenance.metric) for record in records], f"{study.name}: best")
    for record in records:
        print_table(config_rows(record), f"trial {record.number}: bits")


def config_rows(record: "TrialRecord") -> list[dict[str, Any]]:
    """A trial's config, a row for each layer: kernel, bias, activation and, where there are some, merge inputs."""
    layers: dict[str, dict[str, str]] = {}
    tensors: dict[str, None] = dict.fromkeys(("kernel", "bias", "activation"))
    for site, spec in (record.config or {}).items():
        layer, _, tensor = site.partition("/")
        layers.setdefault(layer, {})[tensor] = str(spec)
        tensors.setdefault(tensor)
    return [
        {"layer": layer, **{tensor: specs.get(tensor, "") for tensor in tensors}} for layer, specs in layers.items()
    ]
