"""Notes on a study and on its trials, in Markdown: what the user wrote, and below a line what is known."""

from collections.abc import Mapping, Sequence

from mpsearch.by_layer import rows_by_layer
from mpsearch.costs.sizes import NAMED, shown_size
from mpsearch.goal import Goal
from mpsearch.markdown import markdown_table
from mpsearch.records import TrialRecord
from mpsearch.study import Study

LINE = "*Yours is what stands above this line: it is kept with the study. What is below is written by mpsearch.*"


def remark_in(note: str) -> str:
    """What the user wrote in a note; all of it where the line was deleted, so that nothing is lost."""
    return note.partition(LINE)[0].strip()


def trial_note(record: TrialRecord, metric: str, remark: str) -> str:
    """The note on a trial: the user's, its result, why it was proposed, its config."""
    lines = [f"**Trial {record.number}**: {record.state.value}" + (f", {record.cause}" if record.cause else "")]
    if record.origin:
        lines.append(f"Proposed by {record.origin}")
    if record.proposed is not None:
        was = record.proposed
        lines.append(f"Proposed as {was['why']}: {metric} {was['metric']:.4f} ± {was['deviation']:.4f} was believed")
    if record.answered_from is not None:
        lines.append(f"Same config as trial {record.answered_from}, answered from it")
    if record.before_change:
        lines.append("Trained before an accepted change of the space file, data or float weights")
    results = {metric: record.metric, "score": record.score}
    known = {name: f"{value:.4f}" for name, value in results.items() if value is not None}
    known |= {name: shown_size(value, NAMED.get(name, "")) for name, value in record.costs.items()}
    if record.delta is not None:
        known["δ"] = f"{record.delta:+.2%}"
    parts = [*lines, *([_values(known)] if known else [])]
    if record.config is not None:
        parts += ["**Config**", markdown_table(rows_by_layer(record.config))]
    return _note(remark, parts)


def study_note(study: Study, storage: str | None, remark: str) -> str:
    """The note on a study: the user's, what it was made of, what to type to go on.

    Args:
        study: that is shown.
        storage: where it is kept, as it may be printed; None: the usual place.
        remark: the user's.
    """
    known = {what: value for what, value in facts(study).items() if value}
    where = "" if storage is None else f" --storage {storage}"
    commands = ("study run {} --trials N", "study best {} --top 3", "study show {}", "export {} --out exports/{}")
    typed = "\n".join(f"mpsearch {command.replace('{}', study.name)}{where}" for command in commands)
    return _note(remark, [f"**{study.name}**", _values(known), f"```\n{typed}\n```"])


def facts(study: Study) -> dict[str, str]:
    """What a study was made of, by names that people read."""
    was = study.provenance
    known = study.kept("float").get("float")
    goal = study.goal
    limits = [f"{name} ≤ {shown_size(most, NAMED.get(name, ''))}" for name, most in goal.limits.items()]
    if goal.floor is not None:
        limits.append(f"{was.metric} ≥ {goal.floor:g}")
    sites = [row for row in was.sites if row["menu"] != "float"]
    return {
        "space file": f"{was.space_path} ({was.space_hash})",
        "sites": f"{len(sites):,}",
        "configs": f"{int(was.space_size):,}",
        "objective": _objective(goal, was.metric),
        "limits": ", ".join(limits),
        "hardware": "" if goal.profile is None else goal.profile.name,
        "sampler": _method(was.sampler, was.sampler_options),
        "pruner": _method(was.pruner, was.pruner_options),
        "seed": str(was.seed),
        "reference": f"{was.reference_costs['total_bits']:,} bits",
        f"float {was.metric}": "" if known is None else f"{known['validation']:.4f}",
        "data": was.data_fingerprint,
        "versions": ", ".join(f"{name} {version}" for name, version in was.versions.items()),
        "created": was.created,
        "tags": ", ".join(study.tags),
    }


def _objective(goal: Goal, metric: str) -> str:
    return f"{goal.objective.value} of {metric} and {', '.join(goal.costs)}"


def _method(name: str, options: Mapping[str, object]) -> str:
    return name + "".join(f", {key}={value}" for key, value in options.items())


def _note(remark: str, parts: Sequence[str]) -> str:
    return "\n\n".join([*([remark] if remark else []), LINE, *parts])


def _values(known: Mapping[str, str]) -> str:
    return markdown_table([{"": what, "value": value} for what, value in known.items()])
