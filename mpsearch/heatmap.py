"""The heat map of sensitivities, a page to look at in a browser."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mpsearch.pages import ORANGE, SCALE, Figure, Section, figure_of, page, write_page
from mpsearch.sensitivities import Sensitivity

LEAST = 1e-9  # a divergence that counts as none
LEAST_PIXELS = 560  # of the heat map's width, below which it is scrolled


def heatmap_data(rows: Sequence[Sensitivity]) -> dict[str, Any]:
    """Plain data of the heat map: tensors, specs, and divergences (tensors, specs), None where a menu hasn't one."""
    specs = sorted({spec for row in rows for spec in row.specs}, key=lambda s: (int(s.split()[0]), s))
    by_row = [dict(zip(row.specs, row.divergences, strict=True)) for row in rows]
    return {
        "tensors": [row.choice for row in rows],
        "specs": specs,
        "divergences": [[values.get(spec) for spec in specs] for values in by_row],
    }


def draw_heatmap(rows: Sequence[Sensitivity], chosen: Sequence[str | None] = ()) -> Any:
    """The heat map: tensors in network order downwards, specs across, divergences as colours in powers of ten.

    Args:
        rows: the sensitivities.
        chosen: of each tensor the spec to be framed, as text; None: none.
    """
    import plotly.graph_objects as go

    data = heatmap_data(rows)
    logs = [[None if d is None else float(np.log10(max(d, LEAST))) for d in row] for row in data["divergences"]]
    texts = [["" if d is None else f"{d:.1e}" if d > LEAST else "0" for d in row] for row in data["divergences"]]
    heat = go.Heatmap(
        x=data["specs"],
        y=data["tensors"],
        z=logs,
        text=texts,
        texttemplate="%{text}",
        hovertemplate="%{y} at %{x}: %{text}<extra></extra>",
        hoverongaps=False,
        colorscale=SCALE,
        colorbar={"title": {"text": "divergence,<br>10^"}},
        xgap=3,
        ygap=1,
    )
    drawn = figure_of(
        [heat],
        160 + 22 * len(rows),
        xaxis={"type": "category", "title": {"text": "width in bits, and scale mode"}, "showgrid": False},
        yaxis={"autorange": "reversed", "type": "category", "dtick": 1, "showgrid": False},
    )
    for row, spec in enumerate(chosen):
        if spec is not None:
            column = data["specs"].index(spec)
            frame = {"color": ORANGE, "width": 3}
            drawn.add_shape(x0=column - 0.48, x1=column + 0.48, y0=row - 0.46, y1=row + 0.46, line=frame)
    return drawn


def write_heatmap(rows: Sequence[Sensitivity], title: str, file: Path) -> None:
    """Write the heat map as a page.

    Raises:
        ConfigError: the file can't be written, or isn't an .html.
    """
    caption = "How far each width of each tensor alone moves the outputs, all others being wide."
    figure = Figure("sensitivity", draw_heatmap(rows), caption, LEAST_PIXELS)
    write_page(page(title, [Section("", [figure])]), file)
