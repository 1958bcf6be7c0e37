"""The curves of a report's fine-tunings, and the confusion matrix and noise of its best config."""

from typing import Any

from mpsearch.pages import BLUE, COLORS, ORANGE, SCALE, figure_of
from mpsearch.report.gathering import Report

FEW_CLASSES = 20
"""Up to which counts stand in a confusion matrix."""


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


def confusion_data(report: Report) -> dict[str, Any] | None:
    """Plain data: `counts` (true classes, decided classes), their `shares` of the true class, the `split` and the part
    of `right` decisions; None where there is no confusion matrix.
    """
    found = report.evaluated
    if found is None or found["confusion"] is None:
        return None
    counts = found["confusion"]
    totals = [max(sum(row), 1) for row in counts]
    return {
        "counts": counts,
        "shares": [[value / total for value in row] for row, total in zip(counts, totals, strict=True)],
        "split": found["split"],
        "right": sum(row[place] for place, row in enumerate(counts)) / max(sum(map(sum, counts)), 1),
    }


def draw_confusion(report: Report) -> Any:
    """The figure of `confusion_data`, which must be there."""
    import plotly.graph_objects as go

    data = confusion_data(report)
    assert data is not None
    names = [str(place) for place in range(len(data["counts"]))]
    heat = go.Heatmap(
        x=names,
        y=names,
        z=[[100 * share for share in row] for row in data["shares"]],
        text=[[f"{count:,}" for count in row] for row in data["counts"]],
        texttemplate="%{text}" if len(names) <= FEW_CLASSES else None,
        hovertemplate="class %{y} taken for %{x}: %{text}, %{z:.1f} % of it<extra></extra>",
        colorscale=SCALE,
        colorbar={"title": {"text": "% of the<br>true class"}},
        zmin=0,
        zmax=100,
    )
    return figure_of(
        [heat],
        120 + max(260, 28 * len(names)),
        xaxis={"type": "category", "title": {"text": "decided class"}, "showgrid": False},
        yaxis={"type": "category", "autorange": "reversed", "title": {"text": "true class"}, "showgrid": False},
    )


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
    return _by_tensor([dots], rows, "signal above quantization noise (dB)")


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
    return _by_tensor(bars, rows, "share of the values (%)", barmode="group")


def _by_tensor(traces: list[Any], rows: list[dict[str, Any]], axis: str, **layout: Any) -> Any:
    return figure_of(
        traces,
        140 + 18 * len(rows),
        axis,
        yaxis={"autorange": "reversed", "type": "category", "dtick": 1},
        **layout,
    )
