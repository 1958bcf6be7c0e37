"""The treemaps of a report: where the best config's bits and energy go."""

from typing import Any

from mpsearch.costs.sizes import shown_size
from mpsearch.pages import SCALE, figure_of
from mpsearch.report.gathering import Report

MODEL = "model"


def bits_data(report: Report) -> list[dict[str, Any]]:
    """Plain data: `layer`, `site`, `width`, `elements` and `bits` of each tensor of the best config."""
    config = report.trial(report.best)["config"] or {}
    return [
        {
            "layer": site["layer"],
            "site": site["name"],
            "role": site["role"],
            "width": config[site["name"]]["bits"],
            "elements": site["elements"],
            "bits": config[site["name"]]["bits"] * site["elements"],
        }
        for site in report.sites
    ]


def energy_data(report: Report) -> list[dict[str, Any]]:
    """Plain data: `operation`, `energy` of the best config, and `flat` that with 8 bits everywhere, pJ."""
    return [
        {"operation": name, "energy": values["best"], "flat": values["flat 8"]}
        for name, values in report.energy.items()
        if values["best"] > 0
    ]


def draw_bits(report: Report) -> Any:
    """The treemap of `bits_data`: layers, and in them their tensors, coloured by width."""
    import plotly.graph_objects as go

    rows = bits_data(report)
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    totals = {layer: sum(row["bits"] for row in rows if row["layer"] == layer) for layer in layers}
    whole = sum(totals.values())
    elements = {layer: sum(row["elements"] for row in rows if row["layer"] == layer) for layer in layers}
    average = [totals[layer] / max(elements[layer], 1) for layer in layers]
    tree = go.Treemap(
        ids=[
            MODEL,
            *(f"{MODEL}/{layer}" for layer in layers),
            *(f"{MODEL}/{row['layer']}/{row['site']}" for row in rows),
        ],
        labels=[MODEL, *layers, *(f"{row['role']}, {row['width']} bits" for row in rows)],
        parents=["", *(MODEL for _ in layers), *(f"{MODEL}/{row['layer']}" for row in rows)],
        values=[whole, *totals.values(), *(row["bits"] for row in rows)],
        text=[f"{shown_size(value, 'bits')}" for value in (whole, *totals.values(), *(row["bits"] for row in rows))],
        branchvalues="total",
        marker={
            "colors": [whole / max(sum(elements.values()), 1), *average, *(row["width"] for row in rows)],
            "colorscale": SCALE,
            "colorbar": {"title": {"text": "bits a value"}},
            "showscale": True,
        },
        hovertemplate="%{label}: %{text}, %{percentRoot:.1%}<extra></extra>",
        textinfo="label+percent root",
    )
    return figure_of([tree], 420)


def draw_energy(report: Report) -> Any:
    """The treemap of `energy_data`: operations, coloured by what they save against flat 8 bits."""
    import plotly.graph_objects as go

    rows = energy_data(report)
    whole, flat = sum(row["energy"] for row in rows), sum(row["flat"] for row in rows)
    saved = [100 * (1 - row["energy"] / row["flat"]) if row["flat"] else 0.0 for row in rows]
    tree = go.Treemap(
        labels=[MODEL, *(row["operation"] for row in rows)],
        parents=["", *(MODEL for _ in rows)],
        values=[whole, *(row["energy"] for row in rows)],
        text=[shown_size(value, "pJ") for value in (whole, *(row["energy"] for row in rows))],
        customdata=[100 * (1 - whole / flat) if flat else 0.0, *saved],
        branchvalues="total",
        marker={
            "colors": [100 * (1 - whole / flat) if flat else 0.0, *saved],
            "colorscale": SCALE,
            "colorbar": {"title": {"text": "% less than<br>flat 8"}},
            "showscale": True,
        },
        hovertemplate="%{label}: %{text}, %{percentRoot:.1%}; %{customdata:.0f} % less than flat 8<extra></extra>",
        textinfo="label+percent root",
    )
    return figure_of([tree], 420)
