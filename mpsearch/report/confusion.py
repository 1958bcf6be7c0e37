"""The confusion matrix of a report's best config."""

from typing import Any

from mpsearch.pages import SCALE, figure_of
from mpsearch.report.gathering import Report

FEW_CLASSES = 20
"""Up to which counts stand in a confusion matrix."""


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
