"""The figures of an analysis, a page to look at in a browser."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mpsearch.analysis.analysing import Analysis
from mpsearch.config import Role
from mpsearch.observing import Observed
from mpsearch.pages import BLUE, GREY, ORANGE, SCALE, Figure, Section, figure_of_tensors, page, write_page

SPAN = 31
"""Bins of the page's histograms on each side of zero."""
MOVES = "What auto_po2 on one tensor alone moves the outputs, all others auto: the longest gain most from staying auto"


def noise_data(analysis: Analysis) -> dict[str, Any]:
    """Plain data: sites, and decibels with their own scale mode, with auto and with auto_po2."""
    return {
        "sites": [row.site for row in analysis.sites],
        "own": [row.figures.snr_db for row in analysis.sites],
        "auto": [row.auto_db for row in analysis.sites],
        "auto_po2": [row.po2_db for row in analysis.sites],
    }


def shares_data(analysis: Analysis) -> dict[str, Any]:
    """Plain data: sites, and shares of zero codes and of clipped values."""
    return {
        "sites": [row.site for row in analysis.sites],
        "zeros": [row.figures.zeros for row in analysis.sites],
        "clipped": [row.figures.clipped for row in analysis.sites],
    }


def moves_data(analysis: Analysis) -> dict[str, Any]:
    """Plain data: sites that can have either scale mode, and how far auto_po2 on each alone moves the outputs."""
    rows = [row for row in analysis.sites if row.po2_moves is not None]
    return {"sites": [row.site for row in rows], "moves": [row.po2_moves for row in rows]}


def histogram_data(analysis: Analysis) -> dict[str, Any]:
    """Plain data: kernels and biases, positions of codes over their largest one, and shares of codes at these.

    Where there are fewer codes than positions, those between stay empty.
    """
    rows = [row for row in analysis.sites if row.role is not Role.ACTIVATION]
    positions = np.linspace(-1.0, 1.0, 2 * SPAN + 1)
    shares = []
    for row in rows:
        counts = np.array(row.figures.histogram, np.float64)
        own = np.linspace(-1.0, 1.0, len(counts))
        line: list[float | None] = [None] * len(positions)
        for place, share in zip(own, counts / max(counts.sum(), 1.0), strict=True):
            line[round((place + 1.0) * SPAN)] = float(share)
        shares.append(line)
    return {"sites": [row.site for row in rows], "positions": [float(p) for p in positions], "shares": shares}


def epochs_data(epochs: Sequence[Mapping[str, Observed]], name: str) -> dict[str, Any]:
    """Plain data: sites, epochs from 1, and what was seen under a name of `Observed`: (sites, epochs)."""
    sites = list(epochs[0]) if epochs else []
    return {
        "sites": sites,
        "epochs": list(range(1, len(epochs) + 1)),
        "values": [[getattr(epoch[site], name) for epoch in epochs] for site in sites],
    }


def write_figures(analysis: Analysis, title: str, file: Path) -> None:
    """Write the figures as a page that needs no network.

    Raises:
        ConfigError: the file can't be written.
    """
    parts: list[str | Figure] = []

    def add(name: str, heading: str, drawn: Any) -> None:
        parts.extend((f"<h3>{heading}</h3>", Figure(name, drawn)))

    add("noise", "Signal above quantization noise", _noise(analysis))
    add("moves", MOVES, _moves(analysis))
    add("shares", "Zeros and clipping", _shares(analysis))
    add("codes", "Codes of kernels and biases", _histograms(analysis))
    for name, what, logarithmic in (
        ("update", "Mean change of a weight in the epoch", True),
        ("gradient", "Norm of the loss's gradient", True),
        ("zeros", "Share of codes that are zero", False),
        ("returns", "Ways back of a scale in the epoch: oscillation", False),
    ):
        if analysis.epochs:
            add(name, what, _epochs(analysis, name, logarithmic))
    write_page(page(title, [Section("", parts)]), file)


def _noise(analysis: Analysis) -> Any:
    import plotly.graph_objects as go

    data = noise_data(analysis)
    traces = [
        go.Scatter(
            x=data[key],
            y=data["sites"],
            mode="markers",
            name=name,
            marker={"symbol": symbol, "size": size, "color": color},
            hovertemplate="%{y}: %{x:.1f} dB<extra>" + name + "</extra>",
        )
        for key, name, symbol, size, color in (
            ("own", "as searched", "circle-open", 12, GREY),
            ("auto", "auto", "circle", 7, BLUE),
            ("auto_po2", "auto_po2", "diamond", 7, ORANGE),
        )
    ]
    return figure_of_tensors(traces, len(data["sites"]), "decibels")


def _moves(analysis: Analysis) -> Any:
    import plotly.graph_objects as go

    data = moves_data(analysis)
    bars = go.Bar(
        x=[1000 * moved for moved in data["moves"]],
        y=data["sites"],
        orientation="h",
        marker={"color": ORANGE},
        hovertemplate="%{y}: %{x:.3g} thousandths<extra></extra>",
    )
    return figure_of_tensors([bars], len(data["sites"]), "thousandths")


def _shares(analysis: Analysis) -> Any:
    import plotly.graph_objects as go

    data = shares_data(analysis)
    traces = [
        go.Bar(
            x=[100 * share for share in data[key]],
            y=data["sites"],
            orientation="h",
            name=name,
            marker={"color": color},
            hovertemplate="%{y}: %{x:.2f} %<extra>" + name + "</extra>",
        )
        for key, name, color in (("zeros", "zero codes", BLUE), ("clipped", "clipped values", ORANGE))
    ]
    return figure_of_tensors(traces, len(data["sites"]), "per cent", each=24, barmode="group")


def _histograms(analysis: Analysis) -> Any:
    import plotly.graph_objects as go

    data = histogram_data(analysis)
    logs = [[None if not share else float(np.log10(share)) for share in line] for line in data["shares"]]
    heat = go.Heatmap(
        x=data["positions"],
        y=data["sites"],
        z=logs,
        text=[["" if share is None else f"{share:.2%}" for share in line] for line in data["shares"]],
        hovertemplate="%{y} at %{x:.2f} of the largest code: %{text}<extra></extra>",
        colorscale=SCALE,
        colorbar={"title": "share, 10^"},
        ygap=1,
    )
    return figure_of_tensors([heat], len(data["sites"]), "code / largest code")


def _epochs(analysis: Analysis, name: str, logarithmic: bool) -> Any:
    import plotly.graph_objects as go

    data = epochs_data(analysis.epochs, name)
    values = data["values"]
    shown = [[float(np.log10(v)) if v > 0 else None for v in line] for line in values] if logarithmic else values
    heat = go.Heatmap(
        x=[str(epoch) for epoch in data["epochs"]],
        y=data["sites"],
        z=shown,
        text=[[f"{value:.3g}" for value in line] for line in values],
        hovertemplate="%{y}, epoch %{x}: %{text}<extra></extra>",
        colorscale=SCALE,
        colorbar={"title": "10^" if logarithmic else ""},
        zmin=None if logarithmic else 0.0,
        zmax=None if logarithmic else max([1.0, *(value for line in values for value in line)]),
        ygap=1,
    )
    return figure_of_tensors([heat], len(data["sites"]), "epoch")
