"""Studies side by side: their best configs, where these differ, and their fronts over one another."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mpsearch.costs.sizes import NAMED
from mpsearch.errors import ConfigError
from mpsearch.front import nondominated
from mpsearch.pages import COLORS, SYMBOLS, Figure, Section, axis_title, figure_of, page, write_page
from mpsearch.records import State, TrialRecord
from mpsearch.study import Study
from mpsearch.suggestions import suggestion

BITS = "total_bits"


@dataclass(frozen=True)
class Side:
    """A study beside others.

    Attributes:
        name: of the study.
        metric: its name.
        trials: complete ones.
        best: the first of the ranking; None where no trial is complete.
        points: cost, metric and number of each complete trial.
        front: places in `points` that no other one surpasses, from the cheapest.
    """

    name: str
    metric: str
    trials: int
    best: TrialRecord | None
    points: tuple[tuple[float, float, int], ...]
    front: tuple[int, ...]


def compare(studies: Sequence[Study], cost: str = BITS) -> list[Side]:
    """Studies side by side.

    Args:
        studies: two or more, of one metric.
        cost: name of a cost that all of them have.

    Raises:
        ConfigError: they have different metrics, or one lacks the cost.
    """
    metrics = dict.fromkeys(study.provenance.metric for study in studies)
    if len(metrics) > 1:
        raise ConfigError(
            "only studies of one metric can be compared, but these have "
            + ", ".join(f"{study.provenance.metric} (`{study.name}`)" for study in studies)
        )
    return [_side(study, cost) for study in studies]


def _side(study: Study, cost: str) -> Side:
    complete = [r for r in study.records() if r.state is State.COMPLETE and r.metric is not None]
    lacking = [record for record in complete if cost not in record.costs]
    if lacking:
        raise ConfigError(
            f"the trials of `{study.name}` have no cost {cost}; they have {', '.join(complete[0].costs)}: give another "
            f"--cost{suggestion(cost, complete[0].costs, before='; ')}"
        )
    points = tuple((record.costs[cost], float(record.metric or 0.0), record.number) for record in complete)
    values = np.array([(price, -metric) for price, metric, _ in points]).reshape(-1, 2)
    front = sorted(nondominated(values), key=lambda place: points[place])
    best = next(iter(study.best(1)), None)
    return Side(study.name, study.provenance.metric, len(complete), best, points, tuple(front))


def differing(sides: Sequence[Side]) -> dict[str, list[str | None]]:
    """Tensor to its quantizer in each study's best config, for those where they differ; None where it has none."""
    configs = [{} if side.best is None or side.best.config is None else side.best.config for side in sides]
    found = {}
    for site in dict.fromkeys(site for config in configs for site in config):
        specs = [str(config[site]) if site in config else None for config in configs]
        if len(set(specs)) > 1:
            found[site] = specs
    return found


def write_fronts(sides: Sequence[Side], cost: str, file: Path) -> None:
    """Write a page with the trials of all studies, metric over cost, and their fronts as steps.

    Raises:
        ConfigError: the file can't be written, or isn't an .html.
    """
    unit = NAMED.get(cost, "")
    figure = figure_of([], 560, axis_title(cost, unit), sides[0].metric)
    for number, side in enumerate(sides):
        color, symbol = COLORS[number % len(COLORS)], SYMBOLS[number % len(SYMBOLS)]
        figure.add_scatter(
            x=[point[0] for point in side.points],
            y=[point[1] for point in side.points],
            mode="markers",
            name=side.name,
            legendgroup=side.name,
            marker={"color": color, "symbol": symbol, "size": 8},
            text=[f"trial {point[2]}" for point in side.points],
            hovertemplate="%{text}: %{y:.4f} at %{x:,}<extra>" + side.name + "</extra>",
        )
        figure.add_scatter(
            x=[side.points[place][0] for place in side.front],
            y=[side.points[place][1] for place in side.front],
            mode="lines",
            name=f"{side.name}: front",
            legendgroup=side.name,
            line={"color": color, "shape": "hv"},
            hoverinfo="skip",
        )
    write_page(page("Studies compared", [Section("", [Figure("fronts", figure)])]), file)
