"""What is believed of configs' metrics: an additive model with a prior from the sensitivities.

The total variation distance between class probabilities is at most √(KL / 2) (Pinsker), and such distances add up along
a chain of changes. So the loss of metric is taken as a sum over choices, of terms about proportional to the roots of
their divergences:

    metric = m₀ - a · Σ s - Σ u,    s = √divergence of the choice's spec, of kernels a part of it

m₀ is what a config without any damage reaches, `a` how much of the damage training leaves, and each `u`, small against
a · s, what a choice's spec does otherwise than its sensitivity says; training recovers from some damages better than
from others. Trainings differ from that by noise, a part of which (`OWN`) is the config's own and comes again when it is
trained again: what no sum over choices can say. All of them are Gaussian, so that what trials teach is in closed form
(C. E. Rasmussen and C. K. I. Williams, *Gaussian Processes for Machine Learning*, 2006, chapter 2).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve

SPREADS = (0.3, 0.6, 1.0)
NOISES = (0.0015, 0.003, 0.006, 0.012, 0.024)
OWN = 0.5  # of the noise's variance, what is the config's own
ENOUGH = 4  # trials, before spread and noise are estimated


@dataclass(frozen=True)
class Prior:
    """What is believed before the first trial.

    Attributes:
        metric: mean of m₀.
        metric_deviation: standard deviation of m₀.
        slope: mean of a, and its standard deviation.
        spread: standard deviation of u, in parts of slope · s.
        noise: standard deviation of a training's metric.
    """

    metric: float
    slope: float
    metric_deviation: float = 0.02
    spread: float = 0.6
    noise: float = 0.006


@dataclass(frozen=True)
class Belief:
    """Parameters of the model, drawn or as a mean.

    Attributes:
        metric: of a config without any damage.
        losses: of each choice, what each spec takes off the metric.
    """

    metric: float
    losses: tuple[np.ndarray, ...]

    def towards(self, other: "Belief", part: float) -> "Belief":
        """Parameters that go so much of the way to other ones."""
        losses = (a + part * (b - a) for a, b in zip(self.losses, other.losses, strict=True))
        return Belief(self.metric + part * (other.metric - self.metric), tuple(losses))

    def predict(self, positions: np.ndarray) -> np.ndarray:
        """Metrics of configs, float64 (configs,), by positions on the menus (configs, choices)."""
        return self.metric - sum(losses[positions[:, choice]] for choice, losses in enumerate(self.losses))


class Surrogate:
    """What is believed after some trials.

    Args:
        damages: of each choice, for each spec, s.
        prior: of the parameters; with `ENOUGH` trials its spread and noise give way to those that explain them best.
        positions: of the trainings' configs, integers (trainings, choices).
        metrics: of the trainings.
    """

    def __init__(
        self, damages: Sequence[np.ndarray], prior: Prior, positions: np.ndarray, metrics: Sequence[float]
    ) -> None:
        self._sizes = [len(array) for array in damages]
        self._damage = np.concatenate([np.asarray(array, dtype=np.float64) for array in damages])
        self._metrics = np.asarray(metrics, dtype=np.float64)
        shape = len(self._metrics), len(self._sizes)
        rows = np.ascontiguousarray(positions, dtype=np.int64).reshape(shape)
        self._features = self._features_of(rows)
        self._numbers = {row.tobytes(): number for number, row in enumerate(rows)}  # of each config its last training's
        self._which = np.array([self._numbers[row.tobytes()] for row in rows], dtype=np.int64)
        self.prior = prior if len(self._metrics) < ENOUGH else self._likeliest(prior)

    def mean(self) -> Belief:
        """The most likely parameters."""
        return self._belief(self._after(self._prior_mean(), np.zeros(len(self._metrics))))

    def draw(self, rng: np.random.Generator) -> Belief:
        """Parameters drawn from the posterior, by Matheron's rule: a draw of the prior, corrected by the trials."""
        drawn = self._prior_mean() + np.sqrt(self._variances()) * rng.standard_normal(len(self._damage) + 2)
        count = len(self._metrics)
        own = rng.standard_normal(count)[self._which]
        noise = self.prior.noise * (OWN**0.5 * own + (1 - OWN) ** 0.5 * rng.standard_normal(count))
        return self._belief(self._after(drawn, noise))

    def believed(self, positions: np.ndarray) -> np.ndarray:
        """What is believed of configs' metrics, with what is their own where they were trained; float64 (configs,)."""
        metrics = self.mean().predict(positions)
        if len(self._metrics):
            missed = self._metrics - self._features @ self._prior_mean()
            rows = np.ascontiguousarray(positions, dtype=np.int64)
            same = np.array([self._numbers.get(row.tobytes(), -1) for row in rows])[:, None] == self._which[None]
            metrics = metrics + OWN * self.prior.noise**2 * same @ cho_solve(self._factor(self.prior), missed)
        return np.asarray(metrics)

    def deviation(self, positions: np.ndarray) -> np.ndarray:
        """Standard deviations of the sums over choices that are believed of configs' metrics; float64 (configs,)."""
        return self._deviations(self._features_of(positions))

    def deviation_between(self, positions: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Standard deviations of what is believed of the differences between configs' metrics, float64 (configs,)."""
        return self._deviations(self._features_of(positions) - self._features_of(others))

    def _deviations(self, features: np.ndarray) -> np.ndarray:
        """Standard deviations of linear combinations of the parameters, (combinations, parameters)."""
        variances = self._variances()
        own = np.square(features) @ variances
        if len(self._metrics):
            across = features * variances @ self._features.T
            own = own - np.einsum("ij,ji->i", across, cho_solve(self._factor(self.prior), across.T))
        return np.sqrt(np.maximum(own, 0.0))

    def _features_of(self, positions: np.ndarray) -> np.ndarray:
        """What the parameters (m₀, a, u of each spec) are multiplied with, float64 (configs, parameters)."""
        chosen = np.zeros((len(positions), len(self._damage)))
        starts = np.cumsum([0, *self._sizes[:-1]])
        for choice, start in enumerate(starts):
            chosen[np.arange(len(positions)), start + positions[:, choice]] = 1.0
        return np.column_stack([np.ones(len(positions)), -chosen @ self._damage, -chosen])

    def _prior_mean(self) -> np.ndarray:
        return np.concatenate([[self.prior.metric, self.prior.slope], np.zeros(len(self._damage))])

    def _variances(self, prior: Prior | None = None) -> np.ndarray:
        prior = prior or self.prior
        own = np.square(prior.spread * prior.slope * self._damage)
        return np.concatenate([[prior.metric_deviation**2, prior.slope**2], own])

    def _factor(self, prior: Prior) -> tuple[np.ndarray, bool]:
        covariance = self._features * self._variances(prior) @ self._features.T
        same = self._which[:, None] == self._which[None]
        noise = prior.noise**2 * (OWN * same + (1 - OWN) * np.eye(len(covariance)))
        factor: tuple[np.ndarray, bool] = cho_factor(covariance + noise, lower=True)
        return factor

    def _after(self, parameters: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Parameters, corrected by what they and the noise say of the trials in place of their metrics."""
        if not len(self._metrics):
            return parameters
        missed = self._metrics - self._features @ parameters - noise
        weights = cho_solve(self._factor(self.prior), missed)
        return np.asarray(parameters + self._variances() * (self._features.T @ weights))

    def _likeliest(self, prior: Prior) -> Prior:
        """The spread and noise under which the trials' metrics are most likely."""
        found = [replace(prior, spread=spread, noise=noise) for spread in SPREADS for noise in NOISES]
        return max(found, key=self._evidence)

    def _evidence(self, prior: Prior) -> float:
        """Logarithm of the metrics' likelihood, but for a constant."""
        factor = self._factor(prior)
        missed = self._metrics - self._features[:, 0] * prior.metric - self._features[:, 1] * prior.slope
        return float(-0.5 * missed @ cho_solve(factor, missed) - np.log(np.diag(factor[0])).sum())

    def _belief(self, parameters: np.ndarray) -> Belief:
        losses = parameters[1] * self._damage + parameters[2:]
        return Belief(float(parameters[0]), tuple(np.split(losses, np.cumsum(self._sizes)[:-1])))
