"""The Pareto front: configs that none surpasses in the metric and in each cost."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Front:
    """Which of some points are on the front, and what is to be said of it.

    Attributes:
        members: numbers of the points that none surpasses, best metric first; equal points are all members.
        hypervolume: part of the box between (metric 1, costs 0) and the reference that members dominate, 0 to 1; a cost
            that is the reference's in each member is left out.
        knee: number of the member that is nearest to the best of everything, each axis over the members' range; None
            where there is no member.
    """

    members: tuple[int, ...]
    hypervolume: float
    knee: int | None


def front_of(metrics: Sequence[float], costs: np.ndarray, reference: Sequence[float]) -> Front:
    """The front of points.

    Args:
        metrics: of the points, from 0 (bad) to 1 (good), (n,).
        costs: of the points, the less the better, (n, k).
        reference: costs beyond which nothing counts for the hypervolume, (k,); above 0.
    """
    values = np.column_stack([1.0 - np.asarray(metrics, dtype=np.float64), np.asarray(costs, dtype=np.float64)])
    members = sorted(nondominated(values), key=lambda n: (values[n, 0], n))
    box = values[members] / np.array([1.0, *reference])
    differ = [True, *(box[:, 1:] != 1.0).any(axis=0)]  # a cost that is the same for all would make the volume 0
    return Front(tuple(members), dominated_volume(box[:, differ]), knee_of(values, members))


def nondominated(values: np.ndarray) -> list[int]:
    """Numbers of the rows that no other row surpasses: nowhere larger and somewhere smaller. (n, k)."""
    found = []
    for number, row in enumerate(values):
        surpassing = (values <= row).all(axis=1) & (values < row).any(axis=1)
        if not surpassing.any():
            found.append(number)
    return found


def knee_of(values: np.ndarray, members: Sequence[int]) -> int | None:
    """The member nearest to the least of each column, each over the members' range; the first of equal ones."""
    if not members:
        return None
    own = values[list(members)]
    low, span = own.min(axis=0), np.ptp(own, axis=0)
    distances = np.square((own - low) / np.where(span > 0, span, 1.0)).sum(axis=1)
    return members[int(distances.argmin())]


def dominated_volume(points: np.ndarray) -> float:
    """The volume of the unit box that lies above one of the points, (n, k); points beyond it count for nothing.

    By slices along the last axis, each of which has one dimension less.
    """
    inside = points[(points < 1.0).all(axis=1)]
    if len(inside) == 0:
        return 0.0
    if inside.shape[1] == 1:
        return float(1.0 - max(inside.min(), 0.0))
    levels = np.unique(np.maximum(inside[:, -1], 0.0))
    total = 0.0
    for level, following in zip(levels, [*levels[1:], 1.0], strict=True):
        slab = inside[np.maximum(inside[:, -1], 0.0) <= level][:, :-1]
        total += (following - level) * dominated_volume(slab[nondominated(slab)])
    return float(total)
