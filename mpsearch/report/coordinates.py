"""The parallel coordinates of a report: widths of the tensors that matter most, cost and metric, a line a trial."""

from typing import Any

import numpy as np

from mpsearch.pages import SCALE, axis_title, figure_of
from mpsearch.report.gathering import Report

MOST = 8
"""Tensors that are shown."""


def coordinates_data(report: Report) -> dict[str, Any]:
    """Plain data: `sites` with their bits in each trial, `cost`, `metric` and `score` of these, and their numbers.

    The sites are those whose narrowest width costs most metric, as far as that is known, else those of which trials
    have most different widths; in network order.
    """
    trials = [t for t in report.trials if t["state"] == "complete" and t["config"] and t["metric"] is not None]
    varied = {
        site["name"]: len({t["config"][site["name"]]["bits"] for t in trials if site["name"] in t["config"]})
        for site in report.sites
    }
    chosen = [row["choice"] for row in report.importance if varied.get(row["choice"], 0) > 1]
    if not chosen:
        chosen = [name for name, count in sorted(varied.items(), key=lambda pair: -pair[1]) if count > 1]
    kept = set(chosen[:MOST])
    sites = [site["name"] for site in report.sites if site["name"] in kept]
    costs = {point["trial"]: point["cost"] for point in report.front["points"]}
    trials = [t for t in trials if t["number"] in costs]
    return {
        "sites": {name: [t["config"][name]["bits"] for t in trials] for name in sites},
        "cost": [costs[t["number"]] for t in trials],
        "metric": [t["metric"] for t in trials],
        "score": [t["score"] for t in trials],
        "trials": [t["number"] for t in trials],
        "by importance": bool(report.importance),
    }


def draw_coordinates(report: Report) -> Any:
    """The figure of `coordinates_data`; a range on an axis keeps the lines within it."""
    import plotly.graph_objects as go

    data = coordinates_data(report)
    dimensions = []
    for site, widths in data["sites"].items():
        given = sorted(set(widths))
        dimensions.append(
            {
                "label": site.replace("/", "<br>", 1),
                "values": [float(np.log2(width)) for width in widths],
                "tickvals": [float(np.log2(width)) for width in given],
                "ticktext": [str(width) for width in given],
            }
        )
    cost = axis_title(report.axis, report.units.get(report.axis, "")).replace(" (", "<br>(")
    dimensions.append({"label": cost, "values": data["cost"]})
    dimensions.append({"label": report.metric, "values": data["metric"]})
    lines = go.Parcoords(
        dimensions=dimensions,
        line={"color": data["metric"], "colorscale": SCALE, "showscale": False},
        labelside="bottom",
    )
    return figure_of([lines], 420, margin={"l": 60, "r": 60, "t": 30, "b": 60})
