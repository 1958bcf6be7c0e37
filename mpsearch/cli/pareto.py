"""The command that shows a study's Pareto front: `mpsearch study pareto`; and what a study says to a new budget."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mpsearch.cli.options import AsJson, Storage, StudyName, examples
from mpsearch.cli.silence import import_tensorflow
from mpsearch.errors import ConfigError, StudyError

if TYPE_CHECKING:
    from mpsearch.facts import ModelFacts
    from mpsearch.records import TrialRecord
    from mpsearch.spacefile import SpaceFile
    from mpsearch.study import Study
    from mpsearch.surveying import Surveyed

EXAMPLES = examples(
    "study pareto digits",
    "study pareto digits --cost flash,ram",
    "study pareto digits --cost flash --csv front.csv",
    "study pareto digits --json",
)
UNIFORM = "uniform"  # with which origins of uniform configs begin


def pareto(
    name: StudyName,
    cost: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="May be repeated, or a list such as flash,ram.",
            show_default="those of the study's objective",
        ),
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write all trials to a CSV file as well.")] = None,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Show the Pareto front of metric and costs.

    On it are the configs that none surpasses in the metric and in each cost. Any study has a front, also one that
    was searched by score. Uniform configs that were trained stand beside it. The knee is the config nearest to the
    best of everything. The hypervolume is the part of the box between metric 1 at no cost and metric 0 at the
    reference's costs that the front dominates.
    """
    from mpsearch.changes import space_file_of
    from mpsearch.cli.output import print_json
    from mpsearch.study import open_study
    from mpsearch.surveying import survey

    study = open_study(name, storage)
    file = space_file_of(study)
    names = [part for text in cost or [] for part in text.split(",")]
    found = survey(study, file, facts_of(study, file), names)
    if csv is not None:
        try:
            csv.write_text(as_csv(found, study.provenance.metric), encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"can't write {csv}: {error}") from error
    if as_json:
        print_json(plain(found))
    else:
        print_found(found, study)


def print_front(study: "Study") -> None:
    """Print a study's front by the costs of its objective, as far as there is one."""
    from mpsearch.changes import space_file_of
    from mpsearch.surveying import survey

    file = space_file_of(study)
    try:
        print_found(survey(study, file, facts_of(study, file)), study)
    except StudyError as error:  # there is none yet
        print(error)


def print_found(found: "Surveyed", study: "Study") -> None:
    """Print a front, and what is to be said of it."""
    from mpsearch.cli.output import print_table

    metric, knee = study.provenance.metric, found.front.knee
    assert knee is not None
    print_table(front_rows(found, metric), f"{study.name}: front", ["bits", "origin"])
    costs = " and ".join(cost.name for cost in found.costs)
    print(
        f"{len(found.front.members)} of {len(found.records)} configs are on the front of {metric} and {costs}; "
        f"hypervolume {found.front.hypervolume:.4f}; knee: trial {found.records[knee].number}"
    )


def facts_of(study: "Study", file: "SpaceFile") -> "ModelFacts":
    """The study's site facts; of an older study that hasn't kept them, those of its model."""
    facts = study.facts
    if facts is None:
        import_tensorflow()
        from mpsearch.creation import resolve

        facts = resolve(file, file.task.data()).facts
    return facts


def front_rows(found: "Surveyed", metric: str) -> list[dict[str, Any]]:
    """The front's members, best metric first, and the uniform configs that aren't."""
    from mpsearch.costs.sizes import shown_size

    members = found.front.members
    beside = [n for n, r in enumerate(found.records) if r.origin.startswith(UNIFORM) and n not in members]
    rows = []
    for number in (*members, *beside):
        record = found.records[number]
        what = "knee" if number == found.front.knee else "front" if number in members else ""
        values = zip(found.costs, found.values[number], strict=True)
        rows.append(
            {
                "trial": record.number,
                "": what,
                metric: record.metric,
                **{cost.name: shown_size(float(value), cost.unit) for cost, value in values},
                "bits": record.costs.get("total_bits"),
                "score": record.score,
                "origin": record.origin,
            }
        )
    return rows


def plain(found: "Surveyed") -> dict[str, Any]:
    """All of it as plain data."""
    trials = [
        {
            "trial": record.number,
            "metric": record.metric,
            "score": record.score,
            "costs": {cost.name: float(value) for cost, value in zip(found.costs, values, strict=True)},
            "front": number in found.front.members,
            "origin": record.origin,
        }
        for number, (record, values) in enumerate(zip(found.records, found.values, strict=True))
    ]
    knee = found.front.knee
    return {
        "costs": {cost.name: cost.unit for cost in found.costs},
        "reference": {cost.name: value for cost, value in zip(found.costs, found.reference, strict=True)},
        "hypervolume": found.front.hypervolume,
        "knee": None if knee is None else found.records[knee].number,
        "front": [found.records[number].number for number in found.front.members],
        "trials": trials,
    }


def as_csv(found: "Surveyed", metric: str) -> str:
    """All trials as CSV, a row each."""
    import csv
    import io

    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        ["trial", metric, *(f"{cost.name} ({cost.unit})" for cost in found.costs), "score", "front", "origin"]
    )
    for row in plain(found)["trials"]:
        costs = row["costs"].values()
        writer.writerow([row["trial"], row["metric"], *costs, row["score"], int(row["front"]), row["origin"]])
    return stream.getvalue()


def print_answer(study: "Study", limits: Sequence[str], top: int, as_json: bool) -> None:
    """Print which trials meet limits, and what would be trained next to meet them better."""
    from mpsearch.by_layer import rows_by_layer
    from mpsearch.changes import space_file_of
    from mpsearch.cli.output import print_json, print_table
    from mpsearch.cli.tables import print_trials
    from mpsearch.surveying import answer

    file = space_file_of(study)
    space = file.space.resolve(facts_of(study, file))
    records: list[TrialRecord] = [record for record in study.best(None) if not record.before_change]
    said = answer(study, file, space, limits, records)
    if as_json:
        print_json(
            {
                "inside": [record.to_json() for record in said.inside[:top]],
                "beyond": said.beyond,
                "config": None if said.next is None else said.next.to_json(),
                "of": said.origin,
            }
        )
        return
    budget = ", ".join(limits)
    print_trials(said.inside[:top], study.provenance.metric, f"{study.name}: best within {budget}")
    print(f"{len(said.inside)} of {len(said.inside) + said.beyond} configs are within {budget}")
    if said.next is not None:
        print_table(rows_by_layer(said.next), f"to be trained next: trial {said.origin}, moved inside: bits")
        print(
            f"to train it: mpsearch study best {study.name} {' '.join(f'--limit {limit}' for limit in limits)} --json "
            f"> next.json, then mpsearch study enqueue {study.name} --config next.json"
        )
