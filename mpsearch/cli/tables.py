"""What tables show of trials and configs."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mpsearch.by_layer import rows_by_layer
from mpsearch.cli.common import counted
from mpsearch.cli.output import print_table
from mpsearch.costs.sizes import shown_costs
from mpsearch.records import TrialRecord

if TYPE_CHECKING:
    from mpsearch.finetuning import FineTuned
    from mpsearch.ranking import Candidate
    from mpsearch.searching.budgets import Feasible
    from mpsearch.study import Study

ARROWS = {"rises": "↑", "falls": "↓"}
BLOCKS = "▁▂▃▄▅▆▇█"

SPARE = ("epochs", "seconds", "origin")
"""Columns of `trial_rows` that a narrow terminal leaves out, the first one first."""


def print_trials(records: Sequence[TrialRecord], metric: str, title: str) -> None:
    """Print trials as a table, and below it what is to be said of single ones."""
    print_table(trial_rows(records, metric), title, SPARE)
    for line in remarks(records):
        print(line)


def print_candidates(candidates: "Sequence[Candidate]", metric: str, title: str) -> None:
    """Print configs with the statistics of their trainings, and below it the gaps of the fine-tuned ones."""
    from mpsearch.ranking import gap

    rows = trial_rows([candidate.record for candidate in candidates], metric)
    for row in rows:
        del row["state"]  # all are complete
    if any(len(candidate.scores) > 1 or candidate.failed for candidate in candidates):
        for row, candidate in zip(rows, candidates, strict=True):
            half, row["first"] = candidate.half_width, row.pop("score")
            row["mean score"] = f"{candidate.mean:.4f}" + ("" if half is None else f" ± {half:.4f}")
            row["n"] = len(candidate.scores)
    if any(candidate.believed is not None for candidate in candidates):
        for row, candidate in zip(rows, candidates, strict=True):
            row["believed"] = candidate.believed
    print_table(rows, title, SPARE)
    if any(candidate.believed is not None for candidate in candidates):
        print("ranked by the score that is believed, after all trainings of configs with widths in common")
    for line in remarks([candidate.record for candidate in candidates]):
        print(line)
    for candidate in candidates:
        if candidate.failed:
            failed = counted(candidate.failed, "repeat")
            print(f"trial {candidate.record.number}: {failed} failed; the mean is of the others")
        for tuned in candidate.finetuned:
            changed = "" if tuned["changed_alpha"] is None else f" with {tuned['changed_alpha']}"
            further = "".join(f", {name} {value:.4f}" for name, value in tuned.get("further", {}).items())
            print(
                f"trial {candidate.record.number}, fine-tuned{changed}: {metric} {tuned['validation']:.4f} on "
                f"validation, {tuned['test']:.4f} on test, gap {gap(tuned):+.4f}{further}"
            )


def print_best(study: "Study", top: int) -> None:
    """Print a study's best configs, what is to be said of their order, and the widths of each."""
    from mpsearch.ranking import doubts, ranked

    candidates = ranked(study, top)
    print_candidates(candidates, study.provenance.metric, f"{study.name}: best")
    for line in doubts(candidates, study.name):
        print(line)
    for candidate in candidates:
        print_table(config_rows(candidate.record), f"trial {candidate.record.number}: bits")


def print_trial(record: TrialRecord, metric: str, note: str = "") -> None:
    """Print one trial: what is known of it, its config, its learning curve."""
    print_trials([record], metric, f"trial {record.number}")
    if note:
        print(f"note: {note}")
    if record.proposed is not None:
        known = record.proposed
        print(f"proposed as {known['why']}: {metric} {known['metric']:.4f} ± {known['deviation']:.4f} was believed")
    if record.config is not None:
        print_table(config_rows(record), "bits")
    for name in sorted({name for logs in record.curve for name in logs}):
        values = [logs[name] for logs in record.curve if name in logs]
        print(f"{name:>20}  {sparkline(values)}  {values[0]:.4f} → {values[-1]:.4f}")


def sparkline(values: Sequence[float]) -> str:
    """A curve as one line of blocks, its lowest value the lowest block; values that are no numbers as a dot."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    top = len(BLOCKS) - 1
    return "".join(
        (BLOCKS[round((value - low) / (high - low) * top)] if high > low else BLOCKS[0])
        if math.isfinite(value)
        else "·"
        for value in values
    )


def trial_rows(records: Sequence[TrialRecord], metric: str) -> list[dict[str, Any]]:
    """A row for each trial."""
    changed = any(record.before_change for record in records)
    others = dict.fromkeys(name for record in records for name in shown_costs(record.costs))
    return [
        {
            "trial": record.number,
            "state": record.state.value,
            **({"change": "before" if record.before_change else ""} if changed else {}),
            metric: record.metric,
            "bits": record.costs.get("total_bits"),
            **{name: shown_costs(record.costs).get(name) for name in others},
            "δ": "–" if record.delta is None else f"{record.delta:+.2%}",
            "score": record.score,
            "epochs": record.epochs,
            "seconds": round(record.seconds),
            "origin": record.origin,
        }
        for record in records
    ]


def finetuned_rows(results: "Sequence[FineTuned]", directions: Mapping[str, str]) -> list[dict[str, Any]]:
    """A row for each fine-tuning.

    Args:
        results: of one task.
        directions: what each of its further metrics does as a model gets better, "rises" or "falls", by name.
    """
    return [
        {
            "trial": result.trial,
            "before": result.before,
            "validation": result.validation,
            "test": result.test,
            **{f"{name} {ARROWS[directions[name]]}": value for name, value in result.further.items()},
            "bits": result.total_bits,
            "δ": f"{result.delta:+.2%}",
            "score": result.score,
            "best epoch": result.best_epoch + 1,
            "seconds": round(result.seconds),
        }
        for result in results
    ]


def remarks(records: Sequence[TrialRecord]) -> list[str]:
    """What is to be said of trials that don't speak for themselves."""
    lines = []
    for record in records:
        if record.answered_from is not None:
            lines.append(f"trial {record.number}: same config as trial {record.answered_from}, answered from it")
        elif record.cause:
            lines.append(f"trial {record.number}: {record.cause}")
    if any(record.before_change for record in records):
        lines.append(
            "change before: trained before an accepted change of the space file, data or float weights; "
            "scores compare with care"
        )
    return lines


def goal_in_words(study: "Study") -> dict[str, str]:
    """What a study looks for, as far as it isn't the score over bits."""
    from mpsearch.costs.sizes import NAMED, shown_size
    from mpsearch.goal import Goal

    goal, words = study.goal, {}
    if (goal.objective, goal.costs) != (Goal().objective, Goal().costs):
        words["objective"] = f"{goal.objective} of {', '.join(goal.costs)}"
    limits = [f"{name} ≤ {shown_size(most, NAMED.get(name, ''))}" for name, most in goal.limits.items()]
    if goal.floor is not None:
        limits.append(f"{study.provenance.metric} ≥ {goal.floor:g}")
    words |= {"limits": ", ".join(limits)} if limits else {}
    if goal.profile is not None:
        words["hardware"] = goal.profile.name
    return words | ({"measured layers": str(len(goal.latencies))} if goal.latencies else {})


def limit_rows(feasible: "Sequence[Feasible]") -> list[dict[str, str]]:
    """How far limits can be met, a row each."""
    from mpsearch.costs.sizes import shown_size

    return [
        {
            "limit": row.cost,
            "at most": shown_size(row.most, row.unit),
            "cheapest config": shown_size(row.least, row.unit),
            "most of it": ", ".join(f"{name} ({shown_size(part, row.unit)})" for name, part in row.by),
        }
        for row in feasible
    ]


def config_rows(record: TrialRecord) -> list[dict[str, str]]:
    """A trial's config, as of `rows_by_layer`."""
    return rows_by_layer(record.config or {})
