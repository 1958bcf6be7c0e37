"""The heat map of sensitivities, a page to look at in a browser."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mpsearch.errors import ConfigError
from mpsearch.sensitivities import Sensitivity

LEAST = 1e-9  # a divergence that counts as none


def heatmap_data(rows: Sequence[Sensitivity]) -> dict[str, Any]:
    """Plain data of the heat map: tensors, specs, and divergences (tensors, specs), None where a menu hasn't one."""
    specs = sorted({spec for row in rows for spec in row.specs}, key=lambda s: (int(s.split()[0]), s))
    by_row = [dict(zip(row.specs, row.divergences, strict=True)) for row in rows]
    return {
        "tensors": [row.choice for row in rows],
        "specs": specs,
        "divergences": [[values.get(spec) for spec in specs] for values in by_row],
    }


def write_heatmap(rows: Sequence[Sensitivity], title: str, file: Path) -> None:
    """Write the heat map: tensors in network order downwards, specs across, divergences as colours in powers of ten.

    Raises:
        ConfigError: the file can't be written, or isn't an .html.
    """
    import plotly.graph_objects as go

    if file.suffix != ".html":
        raise ConfigError(f"the figure is written as an .html file, but got {file}")
    data = heatmap_data(rows)
    logs = [[None if d is None else float(np.log10(max(d, LEAST))) for d in row] for row in data["divergences"]]
    texts = [["" if d is None else f"{d:.1e}" if d > LEAST else "0" for d in row] for row in data["divergences"]]
    figure = go.Figure(
        go.Heatmap(
            x=data["specs"],
            y=data["tensors"],
            z=logs,
            text=texts,
            texttemplate="%{text}",
            hovertemplate="%{y} at %{x}: %{text}<extra></extra>",
            colorscale="Cividis",
            colorbar={"title": "divergence, 10^"},
            xgap=2,
            ygap=1,
        )
    )
    figure.update_layout(
        title=title,
        xaxis={"title": "width in bits, and scale mode", "side": "top", "type": "category"},
        yaxis={"title": "tensor, in network order", "autorange": "reversed", "automargin": True},
        height=max(360, 140 + 20 * len(rows)),
        template="plotly_white",
    )
    try:
        figure.write_html(file, include_plotlyjs=True, full_html=True)
    except OSError as error:
        raise ConfigError(f"can't write {file}: {error.strerror or error}") from error
