"""How a report words configs, savings and commands."""

import shlex
from collections.abc import Mapping
from typing import Any

from mpsearch.by_layer import rows_by_layer
from mpsearch.config import Config, Role
from mpsearch.costs.profile import load_profile, profile_names
from mpsearch.costs.sizes import shown_size
from mpsearch.report.gathering import Report

UNIFORM = "uniform "
ROLES = tuple(role.value for role in Role)
MOST_LINES = 20
"""Of a config in a hover."""


def flat_name(origin: str) -> str:
    """What a trial with one width everywhere is called, by who proposed it; empty of others.

    >>> flat_name("uniform 8"), flat_name("tpe")
    ('flat 8', '')
    """
    return f"flat {origin.removeprefix(UNIFORM)}" if origin.startswith(UNIFORM) else ""


def config_lines(config: Mapping[str, Mapping[str, Any]] | None) -> str:
    """A config's widths in a hover, a line a layer: kernel / bias / activation, a dot where it has none."""
    if not config:
        return ""
    rows = rows_by_layer(Config.from_json(config))
    lines = [f"{row['layer']} {' / '.join((row[role] or '·').split()[0] for role in ROLES)}" for row in rows]
    more = f"<br>… and {len(lines) - MOST_LINES} layers more" if len(lines) > MOST_LINES else ""
    return "<br>".join(lines[:MOST_LINES]) + more


def answer_sentence(report: Report) -> str:
    """The answer in one sentence: the best config, its metric, what it costs and saves.

    Metrics are those on the test split where that is known of both sides, else on the validation split.
    """
    rows = {row["name"]: row for row in report.rows}
    best = rows.get("best, fine-tuned", report.answer)
    cost, unit = report.axis, report.units.get(report.axis, "")
    value = best["costs"][cost]
    split = "validation" if best["test"] is None else "test"
    tuned = "" if best is report.answer else ", fine-tuned,"
    size = shown_size(value, unit) + ("" if unit == "bits" else f" of {cost}")
    said = f"Trial {report.best}{tuned} has {report.metric} {best[split]:.4f} on the {split} split at {size}"
    compared = [
        f"{_times(rows[name]['costs'][cost], value)} {words}{_lost(rows[name], best)}"
        for name, words in (("float", "the float model"), ("flat 8", "flat 8 bits"))
        if rows[name]["costs"].get(cost) and rows[name]["costs"][cost] != value
    ]
    return said + (f": {', and '.join(compared)}" if compared else "") + "."


def _times(other: float, own: float) -> str:
    """How a cost compares with another one.

    >>> _times(8.0, 2.0), _times(8.0, 7.0), _times(8.0, 9.0)
    ('4.0 times less than', '12 % less than', '12 % more than')
    """
    if own and other / own >= 2.0:
        return f"{other / own:.1f} times less than"
    part = 100 * abs(1 - own / other)
    return f"{part:.0f} % {'less' if own <= other else 'more'} than"


def _lost(row: Mapping[str, Any], best: Mapping[str, Any]) -> str:
    """What is lost against a row, in points of the metric, on the test split where both are known there."""
    split = "validation" if row["test"] is None or best["test"] is None else "test"
    if row[split] is None or best[split] is None:
        return ""
    points = 100 * (best[split] - row[split])
    if abs(points) < 0.005:
        return " with the same metric"
    return f" with {abs(points):.2f} points {'more' if points > 0 else 'less'}"


def answer_rows(report: Report) -> list[dict[str, Any]]:
    """The table of the answer."""
    first = report.rows[0]["costs"]
    names = list(dict.fromkeys(name for row in report.rows for name in row["costs"]))
    tests = any(row["test"] is not None for row in report.rows)
    scores = any(row["score"] is not None for row in report.rows)

    def number(value: float | None) -> str:
        return "–" if value is None else f"{value:.4f}"

    found = []
    for row in report.rows:
        trial = "" if row["trial"] is None else f" (trial {row['trial']})"
        shown = {"config": row["name"] + trial, f"{report.metric}, validation": number(row["validation"])}
        if tests:
            shown["test"] = number(row["test"])
        for name in names:
            value = row["costs"].get(name)
            shown[name] = "–" if value is None else shown_size(value, report.units.get(name, ""))
        if report.axis in first and row["costs"].get(report.axis):
            shown[f"{report.axis}, float = 1"] = f"{row['costs'][report.axis] / first[report.axis]:.3f}"
        if scores:
            shown["score"] = number(row["score"])
        found.append(shown)
    return found


def config_rows(report: Report, number: int) -> list[dict[str, str]]:
    """A trial's config, as of `rows_by_layer`."""
    return rows_by_layer(Config.from_json(report.trial(number)["config"] or {}))


def export_rows(report: Report) -> list[dict[str, Any]]:
    """What was exported and verified, a row a file."""
    rows = []
    for file in report.exports:
        found = file["comparison"]
        agreement = found["top1_agreement"]
        rows.append(
            {
                "file": file["path"],
                "trial": file["trial"],
                "weights": file["weights"],
                "size": shown_size(file["bytes"], "bytes"),
                "flash, predicted": shown_size(file["flash"], "bytes"),
                "agreement": "–" if agreement is None else f"{agreement:.2%}",
                "samples": found["samples"],
                f"{report.metric}, searched": f"{found['searched']:.4f}",
                "in the file": f"{found['exported']:.4f}",
                "SHA-256": file["sha256"][:12],
            }
        )
    return rows


def provenance_rows(report: Report) -> list[dict[str, Any]]:
    """What the study was made of."""
    was = report.provenance
    states = dict.fromkeys(trial["state"] for trial in report.trials)
    counts = ", ".join(f"{sum(t['state'] == s for t in report.trials)} {s}" for s in states)
    seconds = sum(trial["seconds"] for trial in report.trials)
    rows = {
        "space file": f"{was['space_path']} ({was['space_hash']})",
        "configs in the space": f"{int(was['space_size']):,}",
        "data": was["data_fingerprint"],
        "float weights": was["float_weights"] or "–",
        "sampler, pruner, seed": f"{was['sampler']}, {was['pruner']}, {was['seed']}",
        "trials": f"{counts}; {seconds / 60:,.0f} minutes of training",
        "created": was["created"],
        "versions": ", ".join(f"{name} {value}" for name, value in was["versions"].items()),
    }
    if report.remark:
        rows["note"] = report.remark
    return [{"what": what, "value": value} for what, value in rows.items()]


def commands(report: Report) -> list[str]:
    """The commands that make a study as this one is; files of its user's are named `FILE`."""
    was, name = report.provenance, shlex.quote(report.name)
    flat = [t["origin"].removeprefix(UNIFORM) for t in report.trials if flat_name(t["origin"])]
    create = [f"mpsearch study create --space {shlex.quote(was['space_path'])} --name {name} --seed {was['seed']}"]
    for method in ("sampler", "pruner"):
        create.append(f"--{method} {was[method]}")
        create += [f"--{method}-option {option}={value}" for option, value in was[f"{method}_options"].items()]
    create += [f"--uniform {width}" for width in dict.fromkeys(flat)]
    goal = was["goal"]
    if goal:
        create += [f"--objective {goal['objective']}", f"--cost {','.join(goal['costs'])}"]
        create += [f"--limit {cost}={most:.10g}" for cost, most in goal["limits"].items()]
        create += [] if goal["floor"] is None else [f"--limit {report.metric}={goal['floor']:g}"]
        create += [f"--profile {_profile(goal['profile']['name'])}"] if goal.get("profile") else []
        create += ["--latency-table FILE.csv"] if goal.get("latencies") else []
    lines = [" ".join(create), f"mpsearch study run {name} --trials {len(report.trials)}"]
    if report.baselines:
        lines.append(f"mpsearch baselines {name}")
    for tuned in report.finetuned:
        alpha = "" if tuned["changed_alpha"] is None else f" --alpha {tuned['changed_alpha']}"
        lines.append(f"mpsearch finetune {name} --trial {tuned['trial']}{alpha}")
    return [*lines, f"mpsearch report {name}"]


def _profile(device: str) -> str:
    """By which name a profile is asked for; `FILE.toml` of one of a user's own."""
    return next((name for name in profile_names() if load_profile(name).name == device), "FILE.toml")
