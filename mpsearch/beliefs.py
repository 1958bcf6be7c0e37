"""Beliefs: what a study's sensitivities and trainings together say of configs' metrics.

The best of many scores is likely a lucky one. What is believed of a config draws on all trainings, as far as they have
widths in common with it, and so comes closer to what further trainings and other data will give.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpsearch.config import Config
from mpsearch.searching.guesses import Tried
from mpsearch.searching.guided import learnt
from mpsearch.searching.surrogate import Prior, Surrogate
from mpsearch.sensitivities import Sensitivity, kept, known, prior_of
from mpsearch.space import ResolvedSpace
from mpsearch.study import Study


@dataclass(frozen=True)
class Trained:
    """A training.

    Attributes:
        config: that was trained.
        metric: what it reached; None where it was stopped early.
        curve: training and validation metric of each epoch, (epochs, 2).
    """

    config: Config
    metric: float | None
    curve: np.ndarray


@dataclass(frozen=True)
class Beliefs:
    """What is believed.

    Attributes:
        rows: sensitivities of a study's choices.
        surrogate: of the metrics.
        trainings: by how many trainings, besides the sensitivities.
    """

    rows: tuple[Sensitivity, ...]
    surrogate: Surrogate
    trainings: int

    def metrics(self, configs: Sequence[Config]) -> np.ndarray:
        """What is believed of configs' metrics, float64 (configs,)."""
        return self.surrogate.believed(places(self.rows, configs))

    def lost(self, wide: Config, configs: Sequence[Config]) -> tuple[np.ndarray, np.ndarray]:
        """How much less the sums over choices say of configs' metrics than of a wide one's, float64 (configs,).

        Returns:
            The losses, and their standard deviations.
        """
        ones = places(self.rows, [wide]).repeat(len(configs), axis=0)
        others, mean = places(self.rows, configs), self.surrogate.mean()
        return mean.predict(ones) - mean.predict(others), self.surrogate.deviation_between(ones, others)


def beliefs_of(study: Study, trained: Sequence[Trained]) -> Beliefs | None:
    """What is believed after trainings; None where the study's sensitivities aren't known.

    Args:
        study: with the sensitivities.
        trained: its trainings; those of configs with specs outside the menus teach nothing.
    """
    rows = list(kept(study).values())
    prior = prior_of(study, rows) if rows else None
    return None if prior is None else _beliefs(rows, prior, trained)


def beliefs_in(study: Study, space: ResolvedSpace, trained: Sequence[Trained]) -> Beliefs:
    """The same, with the rows in the order of a space's choices.

    Raises:
        StudyError: the sensitivities aren't known, or the space isn't the study's.
    """
    return _beliefs(*known(study, space), trained)


def _beliefs(rows: Sequence[Sensitivity], prior: Prior, trained: Sequence[Trained]) -> Beliefs:
    usable = [t for t in trained if is_on_menus(rows, t.config)]
    positions = places(rows, [t.config for t in usable])
    tried = [Tried(place, t.metric, t.curve) for place, t in zip(positions, usable, strict=True)]
    learnt_from, metrics = learnt(tried)
    surrogate = Surrogate([row.damages for row in rows], prior, learnt_from, metrics)
    return Beliefs(tuple(rows), surrogate, len(metrics))


def is_on_menus(rows: Sequence[Sensitivity], config: Config) -> bool:
    """Whether a config's specs are among those whose sensitivities are known."""
    return all(config.get(site) is not None and str(config[site]) in row.specs for row in rows for site in row.sites)


def places(rows: Sequence[Sensitivity], configs: Sequence[Config]) -> np.ndarray:
    """Positions of configs on the menus, int64 (configs, choices)."""
    found = [[row.specs.index(str(config[row.sites[0]])) for row in rows] for config in configs]
    return np.array(found, dtype=np.int64).reshape(len(configs), len(rows))
