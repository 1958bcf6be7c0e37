"""The commands `mpsearch study …`."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpsearch.cli.common import accept_early, open_engine
from mpsearch.cli.options import AcceptChange, AsJson, Quiet, Storage, StudyName
from mpsearch.cli.silence import import_tensorflow
from mpsearch.errors import StudyError

if TYPE_CHECKING:
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
        list[int] | None,
        typer.Option(
            help="Try so many bits first, wherever menus have them, and the next wider elsewhere; may be repeated."
        ),
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
    from mpsearch.creation import provenance_of, resolve, uniform_config
    from mpsearch.study import create_study

    data = file.task.data()
    resolved = resolve(file, data)
    uniforms = [(uniform_config(resolved, width), f"uniform {width}") for width in uniform or []]
    study = create_study(name or path.stem, provenance_of(file, data, resolved, seed, sampler, pruner), storage)
    for config, origin in uniforms:
        study.enqueue(resolved, config, origin)
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
    accept_change: AcceptChange = False,
    storage: Storage = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run trials until the study has --trials of them; goes on where an earlier run stopped.

    A study whose space file, data or float weights changed is refused, with the difference. --accept-change takes over
    a change that leaves the choices and the scores' meaning as they are (a recipe, data, float weights): earlier
    trials stay, marked as trained before the change, and answer no later one. A change of choices, metric, forgiving
    factor or reference needs a new study.
    """
    from mpsearch.cli.output import print_json
    from mpsearch.cli.progress import RunProgress
    from mpsearch.study import open_study

    study = open_study(name, storage)
    if study.finished >= trials:
        accept_early(study, accept_change)
        if as_json:
            print_json([record.to_json() for record in study.best()])
        else:
            print(f"{name} has {study.finished} trials already; for more give --trials {study.finished + 20}")
        return
    quiet = quiet or as_json
    engine = open_engine(study, quiet, accept_change)
    from mpsearch.runners.inprocess import run as run_trials

    if not study.notes("float"):
        study.note("float", {"validation": engine.float_metric()})
    best = study.best()
    progress = RunProgress(
        trials, study.finished, best[0].score if best else None, engine.task.training.epochs, engine.task.metric, quiet
    )
    try:
        with progress:
            ended = run_trials(study, engine, trials, progress)
    except KeyboardInterrupt:
        sys.exit(
            f"interrupted after {study.finished} of {trials} trials; go on with: mpsearch study run {name} "
            f"--trials {trials}"
        )
    if as_json:
        print_json([record.to_json() for record in study.best()])
        return
    _print_best(study, 1)
    if ended:
        print(f"ended after {study.finished} trials: {ended}")


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
            rows.append({"study": name, "space file": str(error), "trials": None, "best score": None, "created": ""})
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
    print_json(rows) if as_json else print_table(rows, "studies", spare=["created"])


@app.command(epilog="Example: mpsearch study show resnet8")
def show(name: StudyName, storage: Storage = None, as_json: AsJson = False) -> None:
    """Show a study: what it was made of, and all its trials."""
    from mpsearch.cli.output import print_json, print_table
    from mpsearch.cli.tables import print_trials
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
        {"what": "files", "value": str(study.folder)},
    ]
    rows += [
        {"what": "changed", "value": f"{c.get('changed', '')} ({', '.join(sorted(set(c) - {'changed'}))})"}
        for c in study.history
    ]
    print_table(rows, name)
    print_trials(records, was.metric, "trials")


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


def _float_metric(study: "Study") -> str:
    known = study.notes("float").get("float")
    return "–" if known is None else f"{known['validation']:.4f} (validation)"


def _print_best(study: "Study", top: int) -> None:
    from mpsearch.cli.output import print_table
    from mpsearch.cli.tables import config_rows, print_trials

    records = study.best(top)
    print_trials(records, study.provenance.metric, f"{study.name}: best")
    for record in records:
        print_table(config_rows(record), f"trial {record.number}: bits")
