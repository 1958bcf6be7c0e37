"""The commands `mpsearch study …`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpsearch.cli import diff, pareto, running, sensitivity
from mpsearch.cli.common import INTERRUPTED, counted, open_engine, say, say_loading
from mpsearch.cli.completion import among, spaces
from mpsearch.cli.options import ABOUT_SPACE, AcceptChange, AsJson, Quiet, Storage, StudyName, examples, nonempty_name
from mpsearch.cli.silence import import_tensorflow
from mpsearch.cli.tables import print_best, print_candidates
from mpsearch.errors import StudyError
from mpsearch.methods import AUTO, PRUNERS, SAMPLERS, check_method, describe, parse_options, usual_pruner

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpsearch.study import Study

app = typer.Typer(
    help="Create, run and look at studies.",
    epilog=examples(
        "study create --space digits.py --uniform 8",
        "study run digits --trials 20",
        "study show digits",
        "study best digits --top 3",
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command(
    epilog=examples(
        "study create --space digits.py",
        "study create --space digits.py --name second --seed 1 --uniform 8",
        "study create --space digits.py --name genetic \\\n      --sampler nsga2 --sampler-option population_size=20",
        "study create --space digits.py --name pruned --sampler tpe \\\n      "
        "--pruner percentile --pruner-option percentile=30",
        "study create --space digits.py --name fits \\\n      --limit flash=12KB --limit ram=2KB --limit accuracy=0.95",
        "study create --space digits.py --name front \\\n      --objective pareto --cost flash,ram --profile stm32l4r9",
        "study create --space digits.py --name timed --cost latency \\\n      --latency-table measured.csv",
    )
)
def create(
    space: Annotated[str, typer.Option(metavar="SPACE", help=ABOUT_SPACE, autocompletion=spaces)],
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Name of the study.",
            show_default="the file's name without .py",
            callback=nonempty_name,
        ),
    ] = None,
    sampler: Annotated[
        str,
        typer.Option(
            metavar="SAMPLER", help=f"What proposes configs. {describe(SAMPLERS)}.", autocompletion=among(SAMPLERS)
        ),
    ] = AUTO,
    sampler_option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="For instance n_startup_trials=20; may be repeated."),
    ] = None,
    pruner: Annotated[
        str | None,
        typer.Option(
            metavar="PRUNER",
            autocompletion=among(PRUNERS),
            help=f"What stops hopeless trials. {describe(PRUNERS)}.",
            show_default="believed with the sampler auto and the objective score, else none",
        ),
    ] = None,
    pruner_option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="For instance n_warmup_steps=1; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="All randomness derives from it.")] = 0,
    uniform: Annotated[
        list[int] | None,
        typer.Option(
            metavar="BITS",
            help="Try this width first, wherever menus have it, and the next wider elsewhere; may be repeated.",
        ),
    ] = None,
    objective: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="score: metric · (1 + δ), with δ of one cost; pareto: the whole front of the metric and the costs.",
        ),
    ] = "score",
    cost: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Of the objective; may be repeated, or a list such as flash,ram.",
            show_default="bits",
        ),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="No config beyond it is trained: flash=2MB, ram=500KB, latency=100ms; accuracy=0.8 is a least one. "
            "May be repeated.",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Hardware: its memory, speed and widths; a name or a .toml file."),
    ] = None,
    latency_table: Annotated[
        Path | None, typer.Option(metavar="FILE", help="CSV of measured layers, for the cost latency.")
    ] = None,
    storage: Storage = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make a study of a space file; nothing is trained yet.

    Costs: bits, parameter_bits, activation_bits, flash, ram, macs, bops, ebops, accumulator, rescaling, energy,
    latency, and those that the space file registers.

    Seeds derive from the study's seed and a trial's place, so a study that was stopped and resumed, or broken off by
    Ctrl-C or a crash, gives the same trials as one in one go, with every sampler and pruner.
    """
    from mpsearch.cli.output import print_json, print_table
    from mpsearch.cli.tables import limit_rows
    from mpsearch.spacefile import find_space_file, load_space_file

    options = parse_options(sampler_option or []), parse_options(pruner_option or [])
    check_method("sampler", sampler, SAMPLERS, options[0])
    pruner = pruner or usual_pruner(sampler, objective == "pareto")
    check_method("pruner", pruner, PRUNERS, options[1])
    path = find_space_file(space)
    file = load_space_file(path)
    say_loading(quiet or as_json)
    import_tensorflow()
    from mpsearch.aiming import make_goal, reachable, refuse_beyond
    from mpsearch.creation import provenance_of, resolve, uniform_config
    from mpsearch.study import create_study

    data = file.task.data()
    resolved = resolve(file, data)
    costs = [name for text in cost or [] for name in text.split(",")]
    table = None if latency_table is None else str(latency_table)
    goal = make_goal(file, resolved, objective, costs, limit or [], profile, table)
    file = file.narrowed(goal)
    resolved = file.space.resolve(resolved.facts)
    budget, feasible = reachable(file, resolved, goal)
    uniforms = [(uniform_config(resolved, width), f"uniform {width}") for width in uniform or []]
    for config, what in uniforms:
        refuse_beyond(budget, config, what)
    provenance = provenance_of(file, data, resolved, seed, sampler, pruner, *options, goal)
    study = create_study(name or path.stem, provenance, storage)
    study.keep_facts(resolved.facts)
    for config, origin in uniforms:
        study.enqueue(resolved, config, origin)
    if as_json:
        print_json({"name": study.name, **vars(study.provenance)})
        return
    print_table(study.provenance.sites, f"{study.name}: {path}")
    counts = {"site": len(resolved.sites), "choice": len(resolved.free), "config": resolved.size}
    print(", ".join(counted(number, noun) for noun, number in counts.items()))
    for note in resolved.notes:
        print(note)
    if feasible:
        print_table(limit_rows(feasible), "limits")
    print(f"next: mpsearch study run {study.name}")


app.command(cls=running.RunCommand, epilog=running.RUN_EXAMPLES)(running.run)


@app.command(
    "list", epilog=examples("study list", "study list --tag paper", "study list --storage sqlite:///other.db --json")
)
def list_studies(
    tag: Annotated[str | None, typer.Option(metavar="TAG", help="Only studies with this tag.")] = None,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """List the studies of a storage."""
    from mpsearch.cli.output import print_json, print_table
    from mpsearch.study import open_study, study_names

    rows: list[dict[str, Any]] = []
    for name in study_names(storage):
        try:
            study = open_study(name, storage)
        except StudyError as error:
            if tag is None:
                row = {"study": name, "space file": str(error), "trials": None, "best score": None}
                rows.append({**row, "tags": "", "note": "", "created": ""})
            continue
        if tag is not None and tag not in study.tags:
            continue
        best = study.best()
        rows.append(
            {
                "study": name,
                "space file": study.provenance.space_path,
                "trials": study.finished,
                "best score": best[0].score if best else None,
                "tags": ", ".join(study.tags),
                "note": study.remark(),
                "created": study.provenance.created,
            }
        )
    print_json(rows) if as_json else print_table(
        rows, "studies" if tag is None else f"studies with the tag {tag}", spare=["created", "note", "tags"]
    )


@app.command(
    epilog=examples(
        "study show digits", "study show digits --trial 12", "study show digits --trial 12 --json > idea.json"
    )
)
def show(
    name: StudyName,
    trial: Annotated[
        int | None, typer.Option(metavar="N", help="Show this trial: its config and learning curve.")
    ] = None,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Show a study with all its trials, or one trial.

    δ is what a trial's saving of bits against the reference is worth; score = metric · (1 + δ).
    """
    from mpsearch.baselines.record import RECIPES, kept
    from mpsearch.cli.output import print_json, print_table
    from mpsearch.cli.tables import goal_in_words, print_trial, print_trials
    from mpsearch.study import open_study

    study = open_study(name, storage)
    if trial is not None:
        record = study.record(trial)
        if as_json:
            print_json({**record.to_json(), "note": study.remark(trial)})
        else:
            print_trial(record, study.provenance.metric, study.remark(trial))
        return
    records = study.records()
    if as_json:
        print_json(
            {
                "name": name,
                "provenance": vars(study.provenance),
                "trials": [record.to_json() for record in records],
                "float": study.kept("float").get("float"),
                "finetuned": study.kept("finetuned"),
                "baselines": [row.to_json() for recipe in RECIPES for row in kept(study, recipe).values()],
                "repeats": study.kept("repeat "),
                "tags": study.tags,
                "note": study.remark(),
            }
        )
        return
    was = study.provenance
    rows: list[dict[str, Any]] = [
        {"what": "space file", "value": f"{was.space_path} ({was.space_hash})"},
        {"what": "configs", "value": f"{int(was.space_size):,}"},
        {"what": "data", "value": was.data_fingerprint},
        {
            "what": "sampler, pruner, seed",
            "value": f"{_method(was.sampler, was.sampler_options)}, {_method(was.pruner, was.pruner_options)}, "
            f"{was.seed}",
        },
        {"what": "reference", "value": f"{was.reference_costs['total_bits']:,} bits"},
        *({"what": what, "value": value} for what, value in goal_in_words(study).items()),
        {"what": f"float {was.metric}", "value": _float_metric(study)},
        {"what": "versions", "value": ", ".join(f"{key} {value}" for key, value in was.versions.items())},
        {"what": "created", "value": was.created},
        {"what": "files", "value": str(study.folder)},
    ]
    rows += [
        {"what": "changed", "value": f"{c.get('changed', '')} ({', '.join(sorted(set(c) - {'changed'}))})"}
        for c in study.history
    ]
    written = {"tags": ", ".join(study.tags), "note": study.remark()}
    rows += [{"what": what, "value": text} for what, text in written.items() if text]
    print_table(rows, name)
    print_trials(records, was.metric, "trials")
    for record in records:
        if study.remark(record.number):
            print(f"trial {record.number}: {study.remark(record.number)}")


app.command(epilog=diff.EXAMPLES)(diff.diff)
app.command(epilog=pareto.EXAMPLES)(pareto.pareto)
app.command(epilog=sensitivity.IMPORTANCE_EXAMPLES)(sensitivity.importance)


@app.command(
    epilog=examples(
        "study best digits", "study best digits --top 5", "study best digits --limit flash=10KB --limit accuracy=0.9"
    )
)
def best(
    name: StudyName,
    top: Annotated[int, typer.Option(metavar="N", help="Show the N best.", min=1)] = 1,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="Of those within a budget: flash=300KB, accuracy=0.9. May be repeated."
        ),
    ] = None,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Show the best configs and their widths.

    δ is what a trial's saving of bits against the reference is worth; score = metric · (1 + δ).

    Configs are ranked by the score that is believed: by what the sensitivities and all trainings, of configs with
    widths in common, together lead one to expect. Where sensitivities aren't known, mean scores rank.

    A config is trained once in a search, and again by `study repeat`; the mean then has a confidence interval (95 %,
    Student's t). Where a config was fine-tuned, the gap between its metric on the validation split and on the test
    split is shown: the search never touches the latter.

    With --limit the trials that are there answer a budget that the study wasn't made for, and a config is named that
    would be trained next for it.
    """
    from mpsearch.cli.output import print_json
    from mpsearch.ranking import ranked
    from mpsearch.study import open_study

    study = open_study(name, storage)
    if limit:
        pareto.print_answer(study, limit, top, as_json)
        return
    if as_json:
        print_json([candidate.to_json() for candidate in ranked(study, top)])
    else:
        print_best(study, top)


@app.command(epilog=examples("study repeat digits --top 3 --repeats 4", "study repeat digits --trial 12"))
def repeat(
    name: StudyName,
    top: Annotated[int, typer.Option(metavar="N", help="Repeat the N best configs.", min=1)] = 3,
    repeats: Annotated[
        int, typer.Option(metavar="N", help="Trainings that each shall have besides its trial.", min=1)
    ] = 3,
    trial: Annotated[int | None, typer.Option(metavar="N", help="Only this trial's config.")] = None,
    accept_change: AcceptChange = False,
    storage: Storage = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train the best configs again with other seeds.

    `study best` then has more to rank them by. Repeats are no trials: samplers never see them, and the search goes on
    as if there were none.
    """
    from mpsearch.cli.output import print_json
    from mpsearch.progress import RunProgress
    from mpsearch.study import open_study

    study = open_study(name, storage)
    chosen = None if trial is None else study.trained(study.record(trial))
    engine = open_engine(study, quiet or as_json, accept_change)
    from mpsearch.runners.repeats import candidates_of, missing_repeats, to_repeat
    from mpsearch.runners.repeats import repeat as repeat_trials

    records = to_repeat(study, top) if chosen is None else [chosen]
    missing = missing_repeats(study, records, repeats)
    progress = RunProgress(missing, 0, None, engine.task.training.epochs, engine.task.metric, quiet or as_json)
    try:
        with progress:
            repeat_trials(study, engine, records, repeats, progress)
    except KeyboardInterrupt:
        say("interrupted; the same command goes on with the repeats that are missing")
        raise typer.Exit(INTERRUPTED) from None
    candidates = candidates_of(study, records)
    if as_json:
        print_json([candidate.to_json() for candidate in candidates])
    else:
        print_candidates(candidates, study.provenance.metric, f"{name}: repeated")


def _float_metric(study: "Study") -> str:
    known = study.kept("float").get("float")
    return "–" if known is None else f"{known['validation']:.4f} (validation)"


def _method(name: str, options: "Mapping[str, object]") -> str:
    return name + "".join(f" {key}={value}" for key, value in options.items())
