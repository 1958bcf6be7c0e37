"""The front of a report: metric over a cost, with flat configs, baselines and limits."""

from typing import Any

from mpsearch.costs.sizes import shown_size
from mpsearch.pages import BLUE, GREY, ORANGE, YELLOW, axis_title, figure_of
from mpsearch.report.gathering import Report
from mpsearch.report.words import config_lines, flat_name


def front_data(report: Report) -> dict[str, Any]:
    """Plain data: `points` (trial, metric, cost, flat, member, knee), the `steps` of the front from the cheapest,
    `baselines` (name, metric, cost) where the cost is one of theirs, `limits` on cost and metric, `unit`.
    """
    points = [
        {**point, "knee": point["trial"] == report.front["knee"], "flat": flat_name(point["origin"])}
        for point in report.front["points"]
    ]
    members = sorted((p["cost"], p["metric"]) for p in points if p["member"])
    baselines = []
    for row in report.baselines:
        cost = row["costs"].get(report.axis)
        if report.axis == "bits":
            cost = row["parameter_bits"] + row["activation_bits"]
        mixed = row["name"].startswith("best")
        if cost is not None and row["validation"] is not None and row["recipe"] == "trial" and not mixed:
            baselines.append({"name": row["name"], "metric": row["validation"], "cost": float(cost)})
    return {
        "points": points,
        "steps": [list(pair) for pair in members],
        "baselines": baselines,
        "limit": report.limits.get(report.axis),
        "floor": report.floor,
        "axis": report.axis,
        "unit": report.units.get(report.axis, ""),
        "metric": report.metric,
    }


def draw_front(report: Report) -> Any:
    """The figure of `front_data`; hovering a point shows its config."""
    import plotly.graph_objects as go

    data = front_data(report)
    unit, metric = data["unit"], data["metric"]

    def dots(points: list[dict[str, Any]], name: str, **marker: Any) -> Any:
        return go.Scatter(
            x=[p["cost"] for p in points],
            y=[p["metric"] for p in points],
            mode="markers",
            name=name,
            marker=marker,
            text=[
                f"trial {p['trial']}{', the knee' if p['knee'] else ''}: {metric} {p['metric']:.4f}, "
                f"{shown_size(p['cost'], unit)}<br>{config_lines(report.trial(p['trial'])['config'])}"
                for p in points
            ],
            hovertemplate="%{text}<extra></extra>",
        )

    steps = data["steps"]
    traces = [
        go.Scatter(
            x=[cost for cost, _ in steps],
            y=[value for _, value in steps],
            mode="lines",
            name="front",
            line={"color": BLUE, "shape": "hv", "width": 2},
            hoverinfo="skip",
        )
    ]
    mixed, flat = ([p for p in data["points"] if bool(p["flat"]) is kind] for kind in (False, True))
    traces.append(dots([p for p in mixed if not p["member"]], "mixed", color=GREY, size=8))
    traces.append(dots([p for p in mixed if p["member"]], "mixed, on the front", color=BLUE, size=10))
    traces.append(dots(flat, "flat", color=ORANGE, size=11, symbol="square"))
    if data["baselines"]:
        traces.append(
            go.Scatter(
                x=[b["cost"] for b in data["baselines"]],
                y=[b["metric"] for b in data["baselines"]],
                mode="markers",
                name="baselines",
                marker={"color": YELLOW, "size": 9, "symbol": "diamond-open", "line": {"width": 2}},
                text=[f"{b['name']}: {b['metric']:.4f}, {shown_size(b['cost'], unit)}" for b in data["baselines"]],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    drawn = figure_of(traces, 460, axis_title(report.axis, unit), metric)
    answer = report.trial(report.best)
    place = next((p for p in data["points"] if p["trial"] == report.best), None)
    if place is not None:
        drawn.add_annotation(
            x=place["cost"], y=place["metric"], text=f"trial {answer['number']}", showarrow=True, arrowhead=0, ay=-28
        )
    if data["limit"] is not None:
        drawn.add_vline(x=data["limit"], line={"color": ORANGE, "dash": "dash"}, annotation_text="at most")
    if data["floor"] is not None:
        drawn.add_hline(y=data["floor"], line={"color": ORANGE, "dash": "dash"}, annotation_text="at least")
    return drawn
