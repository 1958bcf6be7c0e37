"""The history of a report: all trials over epochs and over wall time, with those that were pruned or failed."""

from typing import Any

from mpsearch.pages import BLUE, GREY, ORANGE, PINK, figure_of
from mpsearch.report.gathering import Report, hours_between
from mpsearch.report.words import config_lines, flat_name

MARKS = {
    "complete": ("circle", BLUE, "complete"),
    "pruned": ("x", GREY, "pruned, its best epoch"),
    "failed": ("triangle-down", ORANGE, "failed"),
    "broken": ("triangle-left", PINK, "cut off, tried again"),
}
"""State to symbol, colour and words."""


def history_data(report: Report) -> list[dict[str, Any]]:
    """Plain data, a row a trial that has ended: `trial`, `state`, `value` (the score, or the metric where the objective
    is a front), `flat`, `cause`, `epochs` that were trained until its end, `hours` since the first began, and `best` so
    far; value None where it failed.

    A pruned trial's value is that of its best epoch.
    """
    scored = report.objective == "score"
    ended = [trial for trial in report.trials if trial.get("ended") and trial["state"] in MARKS]
    begun = [trial["began"] for trial in report.trials if trial.get("began")]
    rows, epochs, best = [], 0, None
    for trial in sorted(ended, key=lambda t: (t["ended"], t["number"])):
        epochs += trial["epochs"]
        value = trial["score"] if scored else trial["metric"]
        if trial["state"] == "pruned":
            metrics = [logs[f"val_{report.metric}"] for logs in trial["curve"] if f"val_{report.metric}" in logs]
            value = max(metrics) * (1.0 + (trial["delta"] or 0.0) if scored else 1.0) if metrics else None
        elif value is not None and trial["state"] == "complete":
            best = value if best is None else max(best, value)
        rows.append(
            {
                "trial": trial["number"],
                "state": trial["state"],
                "value": value,
                "flat": flat_name(trial["origin"]),
                "cause": trial["cause"],
                "epochs": epochs,
                "hours": hours_between(min(begun), trial["ended"]),
                "best": best,
            }
        )
    return rows


def draw_history(report: Report, over: str) -> Any:
    """The figure of `history_data` over "epochs" or "hours"."""
    import plotly.graph_objects as go

    rows = history_data(report)
    scale, unit = 1.0, "h"
    if over == "hours" and rows and rows[-1]["hours"] < 2.0:
        scale, unit = 60.0, "min"
    low = min((row["value"] for row in rows if row["value"] is not None), default=0.0)
    what = "score" if report.objective == "score" else report.metric
    traces = [
        go.Scatter(
            x=[scale * row[over] for row in rows],
            y=[row["best"] for row in rows],
            mode="lines",
            name="best so far",
            line={"color": BLUE, "shape": "hv", "width": 1.5},
            hoverinfo="skip",
        )
    ]
    for state, (symbol, color, words) in MARKS.items():
        for flat in (False, True):
            chosen = [row for row in rows if row["state"] == state and bool(row["flat"]) is flat]
            if chosen:
                traces.append(
                    go.Scatter(
                        x=[scale * row[over] for row in chosen],
                        y=[low if row["value"] is None else row["value"] for row in chosen],
                        mode="markers",
                        name=f"{words}, flat" if flat else words,
                        marker={"symbol": "square" if flat and state == "complete" else symbol,
                                "color": ORANGE if flat else color, "size": 9},
                        text=[_hover(report, row, what) for row in chosen],
                        hovertemplate="%{text}<extra></extra>",
                    )
                )  # fmt: skip
    axis = "trained epochs of all trials" if over == "epochs" else f"wall time ({unit})"
    return figure_of(traces, 380, axis, what)


def _hover(report: Report, row: dict[str, Any], what: str) -> str:
    value = "no value" if row["value"] is None else f"{what} {row['value']:.4f}"
    cause = f"<br>{row['cause'][:120]}" if row["cause"] else ""
    return f"trial {row['trial']}: {value}{cause}<br>{config_lines(report.trial(row['trial'])['config'])}"
