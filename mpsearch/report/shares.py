"""The treemaps of a report: where the best config's bits and energy go."""

from collections.abc import Sequence
from dataclasses import dataclass
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
    rows = bits_data(report)
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    bits = {layer: sum(row["bits"] for row in rows if row["layer"] == layer) for layer in layers}
    elements = {layer: sum(row["elements"] for row in rows if row["layer"] == layer) for layer in layers}
    boxes = [Box(layer, "", layer, bits[layer], bits[layer] / max(elements[layer], 1)) for layer in layers]
    boxes += [
        Box(
            f"{row['layer']}/{row['site']}",
            row["layer"],
            f"{row['role']}, {row['width']} bits",
            row["bits"],
            row["width"],
        )
        for row in rows
    ]
    average = sum(bits.values()) / max(sum(elements.values()), 1)
    return _treemap(boxes, sum(bits.values()), average, "bits", "bits a value", "")


def draw_energy(report: Report) -> Any:
    """The treemap of `energy_data`: operations, coloured by what they save against flat 8 bits."""

    def saved(energy: float, flat: float) -> float:
        return 100 * (1 - energy / flat) if flat else 0.0

    rows = energy_data(report)
    boxes = [
        Box(row["operation"], "", row["operation"], row["energy"], saved(row["energy"], row["flat"])) for row in rows
    ]
    whole, flat = sum(row["energy"] for row in rows), sum(row["flat"] for row in rows)
    return _treemap(
        boxes, whole, saved(whole, flat), "pJ", "% less than<br>flat 8", "; %{color:.0f} % less than flat 8"
    )


@dataclass(frozen=True)
class Box:
    """A part of a treemap.

    Attributes:
        key: unique.
        parent: key of the box around it; empty of those of the whole model.
        label: that stands in it.
        value: its area.
        shade: number that its colour says.
    """

    key: str
    parent: str
    label: str
    value: float
    shade: float


def _treemap(boxes: Sequence[Box], whole: float, shade: float, unit: str, scale: str, more: str) -> Any:
    """Boxes of a model, whose own value and shade are given; `more` ends what hovering says."""
    import plotly.graph_objects as go

    every = [Box(MODEL, "", MODEL, whole, shade), *boxes]
    tree = go.Treemap(
        ids=[MODEL, *(f"{MODEL}/{box.key}" for box in boxes)],
        labels=[box.label for box in every],
        parents=["", *(f"{MODEL}/{box.parent}" if box.parent else MODEL for box in boxes)],
        values=[box.value for box in every],
        text=[shown_size(box.value, unit) for box in every],
        branchvalues="total",
        marker={
            "colors": [box.shade for box in every],
            "colorscale": SCALE,
            "colorbar": {"title": {"text": scale}},
            "showscale": True,
        },
        hovertemplate=f"%{{label}}: %{{text}}, %{{percentRoot:.1%}}{more}<extra></extra>",
        textinfo="label+percent root",
    )
    return figure_of([tree], 420)
