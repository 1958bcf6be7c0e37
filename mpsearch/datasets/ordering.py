"""The order of samples in which every prefix is balanced."""

import numpy as np


def alternating(labels: np.ndarray) -> np.ndarray:
    """Indices in the order first of each class, second of each class, and so on.

    >>> alternating(np.array([0, 0, 0, 1, 1])).tolist()
    [0, 3, 1, 4, 2]

    Args:
        labels: classes, shape (n,).
    """
    rank = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rank[labels == label] = np.arange((labels == label).sum())
    return np.lexsort((labels, rank))
