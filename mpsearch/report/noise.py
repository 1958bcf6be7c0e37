"""Noise of a report's best config, tensor by tensor: signal above it, zero codes, clipped values."""

from typing import Any

from mpsearch.pages import BLUE, ORANGE, figure_of_tensors
from mpsearch.report.gathering import Report


def noise_data(report: Report) -> list[dict[str, Any]]:
    """Plain data: of each tensor `site`, `spec`, `snr_db`, and the parts of `zeros` and of `clipped` values."""
    return [] if report.evaluated is None else list(report.evaluated["sites"])


def draw_noise(report: Report) -> Any:
    """Signal above quantization noise of each tensor."""
    import plotly.graph_objects as go

    rows = noise_data(report)
    dots = go.Scatter(
        x=[row["snr_db"] for row in rows],
        y=[row["site"] for row in rows],
        mode="markers",
        marker={"color": BLUE, "size": 8},
        text=[row["spec"] for row in rows],
        hovertemplate="%{y}, %{text}: %{x:.1f} dB<extra></extra>",
    )
    return figure_of_tensors([dots], len(rows), "signal above quantization noise (dB)")


def draw_zeros(report: Report) -> Any:
    """Zero codes and clipped values of each tensor."""
    import plotly.graph_objects as go

    rows = noise_data(report)
    bars = [
        go.Bar(
            x=[100 * row[key] for row in rows],
            y=[row["site"] for row in rows],
            orientation="h",
            name=name,
            marker={"color": color},
            hovertemplate="%{y}: %{x:.2f} %<extra>" + name + "</extra>",
        )
        for key, name, color in (("zeros", "zero codes", BLUE), ("clipped", "clipped values", ORANGE))
    ]
    return figure_of_tensors(bars, len(rows), "share of the values (%)", barmode="group")
