"""The strips of a report: bits of each layer in network order, of the best config and of others."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mpsearch.pages import SCALE, figure_of
from mpsearch.report.gathering import Report
from mpsearch.report.words import ROLES

FEW_LAYERS = 32
"""Up to which widths stand in the strips as numbers."""


def widths_data(report: Report) -> dict[str, Any]:
    """Plain data: `layers` in network order, and `strips` (trial, role, bits), bits None where a layer has no such
    tensor; of several tensors of a role in a layer, the widest.
    """
    layers = list(dict.fromkeys(site["layer"] for site in report.sites))
    strips = []
    for number in (report.best, *report.others):
        config: Mapping[str, Any] = report.trial(number)["config"] or {}
        for role in ROLES:
            bits: dict[str, int] = {}
            for site in report.sites:
                if site["role"] == role and site["name"] in config:
                    bits[site["layer"]] = max(bits.get(site["layer"], 0), config[site["name"]]["bits"])
            if bits:
                strips.append({"trial": number, "role": role, "bits": [bits.get(layer) for layer in layers]})
    return {"layers": layers, "strips": strips}


def draw_widths(report: Report) -> Any:
    """The figure of `widths_data`: a group of strips for each trial, the best on top."""
    import plotly.graph_objects as go

    data = widths_data(report)
    names, rows = [], []
    previous = None
    for strip in data["strips"]:
        if previous is not None and strip["trial"] != previous:
            names.append(" " * len(names))  # a gap between trials: a category of its own
            rows.append([None] * len(data["layers"]))
        names.append(f"trial {strip['trial']} {strip['role']}")
        rows.append(strip["bits"])
        previous = strip["trial"]
    given = sorted({bits for row in rows for bits in row if bits is not None})
    few = len(data["layers"]) <= FEW_LAYERS
    heat = go.Heatmap(
        x=data["layers"],
        y=names,
        z=[[None if bits is None else float(np.log2(bits)) for bits in row] for row in rows],
        text=[["" if bits is None else str(bits) for bits in row] for row in rows],
        texttemplate="%{text}" if few else None,
        hovertemplate="%{x}, %{y}: %{text} bits<extra></extra>",
        hoverongaps=False,
        colorscale=SCALE,
        colorbar={"title": {"text": "bits"}, "tickvals": [float(np.log2(b)) for b in given], "ticktext": given},
        xgap=1,
        ygap=1,
    )
    return figure_of(
        [heat],
        120 + 22 * len(names) + 60,
        xaxis={"type": "category", "title": {"text": "layer, in network order"}, "showgrid": False},
        yaxis={"autorange": "reversed", "type": "category", "showgrid": False, "dtick": 1, "ticks": ""},
    )
