"""The curves of a report's fine-tunings."""

from typing import Any

from mpsearch.pages import COLORS, figure_of
from mpsearch.report.gathering import Report


def tuning_data(report: Report) -> list[dict[str, Any]]:
    """Plain data: of each fine-tuning `name`, `before`, the metric on validation and training split by epoch, from 1,
    and the epoch that was `kept`, 0 where none was better than before; those whose logs are there.
    """
    rows = []
    for tuned in report.finetuned:
        if tuned["curve"]:
            alpha = "" if tuned["changed_alpha"] is None else f", {tuned['changed_alpha']}"
            rows.append(
                {
                    "name": f"trial {tuned['trial']}{alpha}",
                    "before": tuned["before"],
                    "validation": [logs.get(f"val_{report.metric}") for logs in tuned["curve"]],
                    "training": [logs.get(report.metric) for logs in tuned["curve"]],
                    "kept": tuned["best_epoch"] + 1,
                }
            )
    return rows


def draw_tuning(report: Report) -> Any:
    """The figure of `tuning_data`."""
    import plotly.graph_objects as go

    traces = []
    for number, row in enumerate(tuning_data(report)):
        color, epochs = COLORS[number % len(COLORS)], list(range(len(row["validation"]) + 1))
        values = [row["before"], *row["validation"]]
        traces.append(
            go.Scatter(
                x=epochs,
                y=values,
                mode="lines",
                name=f"{row['name']}, validation",
                line={"color": color},
                legendgroup=row["name"],
                hovertemplate=f"{row['name']}, epoch %{{x}}: %{{y:.4f}}<extra></extra>",
            )
        )
        traces.append(
            go.Scatter(
                x=epochs[1:],
                y=row["training"],
                mode="lines",
                name="training",
                line={"color": color, "dash": "dot"},
                legendgroup=row["name"],
                hovertemplate=f"{row['name']}, training, epoch %{{x}}: %{{y:.4f}}<extra></extra>",
            )
        )
        traces.append(
            go.Scatter(
                x=[row["kept"]],
                y=[values[row["kept"]]],
                mode="markers",
                name="kept",
                marker={"color": color, "size": 11, "symbol": "circle-open", "line": {"width": 2}},
                legendgroup=row["name"],
                hoverinfo="skip",
            )
        )
    return figure_of(traces, 360, "epoch of fine-tuning; 0: before", report.metric)
