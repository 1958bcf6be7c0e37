"""What widths harm: the importance of tensors, and the heat map of sensitivities with the chosen widths marked."""

from typing import Any

from mpsearch.heatmap import draw_heatmap, heatmap_data
from mpsearch.pages import BLUE, ORANGE, figure_of_tensors
from mpsearch.report.gathering import Report
from mpsearch.sensitivities import Sensitivity

MOST = 25
"""Tensors of the figure of importance."""


def importance_data(report: Report) -> list[dict[str, Any]]:
    """Plain data: `tensor`, `widths`, `loss` and its `deviation` in points of the metric, and the part of the cost that
    it saves, by the objective's first cost; the tensors that matter most.
    """
    cost = next(iter(report.importance[0]["saved"]), "") if report.importance else ""
    return [
        {
            "tensor": row["choice"],
            "widths": f"{row['widest']} → {row['narrowest']}",
            "loss": 100 * row["loss"],
            "deviation": 100 * row["deviation"],
            "saved": row["saved"].get(cost, 0.0),
            "cost": cost,
        }
        for row in report.importance[:MOST]
    ]


def draw_importance(report: Report) -> Any:
    """The figure of `importance_data`."""
    import plotly.graph_objects as go

    rows = importance_data(report)
    bars = go.Bar(
        x=[row["loss"] for row in rows],
        y=[row["tensor"] for row in rows],
        orientation="h",
        marker={"color": BLUE},
        error_x={"type": "data", "array": [row["deviation"] for row in rows], "color": ORANGE, "thickness": 1.5},
        text=[f"saves {row['saved']:.1%}" for row in rows],
        textposition="none",
        customdata=[row["widths"] for row in rows],
        hovertemplate="%{y}, %{customdata}: %{x:.2f} points, %{text} of the cost<extra></extra>",
    )
    axis = f"points of {report.metric} that the narrowest width takes off"
    return figure_of_tensors([bars], len(rows), axis, 20)


def sensitivity_data(report: Report) -> dict[str, Any]:
    """Plain data: that of the heat map of sensitivities, and `chosen`: of each tensor the spec in the best config."""
    data = heatmap_data([Sensitivity.from_json(row) for row in report.sensitivities])
    config = report.trial(report.best)["config"] or {}
    chosen: list[str | None] = []
    for row in report.sensitivities:
        spec = next((config[site] for site in row["sites"] if site in config), None)
        name = None if spec is None else f"{spec['bits']} {spec['alpha']}"
        chosen.append(name if name in row["specs"] else None)
    return {**data, "chosen": chosen}


def draw_sensitivity(report: Report) -> Any:
    """The figure of `sensitivity_data`."""
    rows = [Sensitivity.from_json(row) for row in report.sensitivities]
    return draw_heatmap(rows, sensitivity_data(report)["chosen"])
