"""Draw `front.svg` of a study's folder from its `front.json`.

    mpsearch study pareto limits --json > studies/resnet8/front.json
    python studies/make_front.py studies/resnet8

The metric over the first cost; the second cost, where there is one, is the area of a point.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

BLUE, GREY, ORANGE = "#0072B2", "#999999", "#D55E00"  # Okabe and Ito's, told apart by all eyes


def draw(front: dict[str, Any], target: Path) -> None:
    """Draw a front."""
    plt.rcParams["svg.hashsalt"] = "front"
    names = list(front["costs"])
    figure, axes = plt.subplots(figsize=(7, 4.2))
    sizes = [trial["costs"][names[-1]] for trial in front["trials"]]
    for trial in front["trials"]:
        uniform, member = trial["origin"].startswith("uniform"), trial["front"]
        area = 30 + 120 * trial["costs"][names[-1]] / max(sizes) if len(names) > 1 else 60
        axes.scatter(
            trial["costs"][names[0]] / _unit(front, names[0])[0],
            trial["metric"],
            area,
            color=ORANGE if uniform else BLUE if member else GREY,
            marker="s" if uniform else "o",
            alpha=0.9 if member or uniform else 0.6,
            zorder=3 if member else 2,
        )
        if member or uniform:
            place = (trial["costs"][names[0]] / _unit(front, names[0])[0], trial["metric"])
            axes.annotate(str(trial["trial"]), place, textcoords="offset points", xytext=(7, 4), fontsize=8)
    for label, color, marker in (("front", BLUE, "o"), ("others", GREY, "o"), ("uniform", ORANGE, "s")):
        axes.scatter([], [], 60, color=color, marker=marker, label=label)
    axes.set_xlabel(f"{names[0]}, {_unit(front, names[0])[1]}")
    axes.set_ylabel("validation metric")
    if len(names) > 1:
        axes.set_title(f"area of a point: {names[-1]}", fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


def _unit(front: dict[str, Any], name: str) -> tuple[float, str]:
    """Divisor and unit of an axis."""
    unit = front["costs"][name]
    return {"bytes": (1024.0, "KB"), "pJ": (1e6, "µJ")}.get(unit, (1.0, unit))


def main() -> None:
    """Read the front, draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    draw(json.loads((folder / "front.json").read_text()), folder / "front.svg")


if __name__ == "__main__":
    main()
