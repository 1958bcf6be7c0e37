"""Measure sensitivities by forward passes, and keep each with its study as soon as it is known.

All choices have the widest spec of their menus, but one, which takes one spec after another. What its codes do to the
outputs is the choice's own share of the damage. Shares of different choices nearly add up, which makes an exact
selection of widths possible before anything is trained (Z. Dong et al., *HAWQ-V2: Hessian Aware trace-Weighted
Quantization of Neural Networks*, arXiv:1911.03852, section 3, which has Hessian traces in their place).
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from mpsearch.config import Alpha
from mpsearch.errors import ConfigError
from mpsearch.methods import AUTO
from mpsearch.network.tails import Cuts, Tail
from mpsearch.searching.engine import Engine
from mpsearch.sensitivities import FLOAT, SAMPLES, UNTRAINED, Sensitivity, are_known, keep, kept, key_of, narrowest
from mpsearch.space import ResolvedSpace
from mpsearch.space.choices import Choice
from mpsearch.study import Study

_LEAST = 1e-7  # of a class probability
Measured = Callable[[Sensitivity, int, int], None]
"""Is told a sensitivity, its number from 1 and how many there are."""


def probe(
    study: Study, engine: Engine, samples: int = SAMPLES, again: bool = False, measured: Measured | None = None
) -> list[Sensitivity]:
    """The sensitivities of a study's choices; those that are kept with it aren't measured again.

    The metrics of the float network, and of the narrowest config before training, are kept as well.

    Args:
        study: of the engine's space.
        engine: its network is left with another config.
        samples: of the training split.
        again: measure also what is kept.
        measured: is told each as soon as it is known.

    Returns:
        One for each choice of the space, in its order.

    Raises:
        ConfigError: fewer than one sample.
    """
    space, key = engine.network.space, key_of(study, samples)
    prober = Prober(engine, samples)
    known = {} if again else kept(study, samples)
    found: dict[int, Sensitivity] = {}
    for number in prober.order:
        row = known.get(space.choices[number].name)
        if row is None:
            row = prober.measure(number, key)
            keep(study, row)
        found[number] = row
        if measured is not None:
            measured(row, len(found), len(space.choices))
    session = engine.session(engine.task.training)
    narrow, full = narrowest(space), engine.float_metric()
    study.keep(FLOAT, {"validation": full})
    engine.network.set_config(narrow)
    untrained = session.evaluate(engine.data, engine.data.validation, further=False)[engine.task.metric]
    specs = {choice.name: str(narrow[choice.name]) for choice in space.choices}
    study.keep(UNTRAINED, {"validation": untrained, "float": full, "specs": specs, "key": key})
    return [found[number] for number in range(len(space.choices))]


def prepare(study: Study, engine: Engine, measured: Measured | None = None) -> list[Sensitivity] | None:
    """Measure what the study's sampler needs; None where that is known, or nothing."""
    if study.provenance.sampler != AUTO or are_known(study, engine.network.space):
        return None
    return probe(study, engine, measured=measured)


def wide_positions(space: ResolvedSpace) -> np.ndarray:
    """The widest spec of each choice, with any numbers for scales where the menu has them: integers (choices,)."""

    def widest(choice: Choice) -> int:
        return max(range(len(choice.specs)), key=lambda p: (choice.specs[p].bits, choice.specs[p].alpha is Alpha.AUTO))

    return np.array([widest(choice) for choice in space.choices], dtype=np.int64)


class Prober:
    """Measures sensitivities on one engine, whose network is left with float weights and some config.

    Args:
        engine: of the task.
        samples: of the training split, evenly spaced.

    Raises:
        ConfigError: fewer than one sample.
    """

    def __init__(self, engine: Engine, samples: int = SAMPLES) -> None:
        if samples < 1:
            raise ConfigError(f"sensitivity needs at least 1 sample, but got {samples}")
        self._network = engine.network
        self._space = engine.network.space
        self._session = engine.session(engine.task.training)
        chosen = engine.data.train.spread(samples)
        self._batches = self._session.prepared(engine.data, chosen)
        self._wide = wide_positions(self._space)
        self._cuts = Cuts(self._network.model)
        self._firsts = [
            min(self._cuts.first_nodes.get(id(self._network.quantizer(site)), 0) for site in choice.sites)
            for choice in self._space.choices
        ]
        changes = Counter[int]()
        for first, choice in zip(self._firsts, self._space.choices, strict=True):
            changes[first] += len(choice.specs) - 1
        self._places = self._cuts.chosen(changes, len(chosen))
        self._tail = self._whole = Tail(0, self._session.model, [x for x, _ in self._batches])

    @property
    def order(self) -> list[int]:
        """The numbers of the choices, as the network comes to them."""
        return sorted(range(len(self._firsts)), key=self._firsts.__getitem__)

    def measure(self, choice: int, key: Mapping[str, Any]) -> Sensitivity:
        """The sensitivity of a choice; fastest in `order`.

        Args:
            choice: its number in the space.
            key: to be kept with it.
        """
        reference, loss = self._reference
        started = time.perf_counter()
        tail = self._behind(self._firsts[choice])
        sites, specs = self._space.choices[choice].sites, self._space.choices[choice].specs
        divergences, losses = [0.0] * len(specs), [0.0] * len(specs)
        for position in range(len(specs)):
            if position != self._wide[choice]:
                positions = self._wide.copy()
                positions[choice] = position
                outputs = self._outputs(positions, tail)
                divergences[position] = divergence(reference, outputs, self._session.gives_classes)
                losses[position] = self._session.loss(self._batches, outputs) - loss
        return Sensitivity(
            self._space.choices[choice].name,
            sites,
            tuple(str(spec) for spec in specs),
            tuple(divergences),
            tuple(losses),
            time.perf_counter() - started,
            key,
            self._space.facts.by_name[sites[0]].role,
        )

    @cached_property
    def _reference(self) -> tuple[list[np.ndarray], float]:
        """Outputs and loss of the wide config."""
        self._network.set_config(next(self._space.configs(self._wide[None])))
        outputs = self._outputs(self._wide)
        return outputs, self._session.loss(self._batches, outputs)

    def _behind(self, first: int) -> Tail:
        """The network from the last cut before a node on; all of it where cuts change its outputs."""
        cut = max(place for place in self._places if place <= first)
        if cut != self._tail.start:
            reference, _ = self._reference
            self._assign(self._wide)
            before = self._tail if self._tail.start < cut else self._whole
            self._tail = self._cuts.behind(cut, before) if cut else self._whole
            if not all(map(np.array_equal, self._tail.outputs(), reference)):  # a user's layer may know of others
                self._places, self._tail = [0], self._whole
        return self._tail

    def _outputs(self, positions: np.ndarray, tail: Tail | None = None) -> list[np.ndarray]:
        self._assign(positions)
        return (tail or self._whole).outputs()

    def _assign(self, positions: np.ndarray) -> None:
        self._network.assign_specs(next(self._space.configs(positions[None])))


def divergence(reference: Sequence[np.ndarray], outputs: Sequence[np.ndarray], classes: Sequence[bool]) -> float:
    """How far outputs are from reference outputs, summed over outputs; see `Sensitivity`.

    Args:
        reference, outputs: for each output an array (n, ...).
        classes: of each output, whether it gives class scores on its last axis.
    """
    return sum(
        _of_classes(old, new) if scores else _of_values(old, new)
        for old, new, scores in zip(reference, outputs, classes, strict=True)
    )


def _of_classes(old: np.ndarray, new: np.ndarray) -> float:
    old, new = old.astype(np.float64), new.astype(np.float64)
    are_probabilities = bool((old >= 0).all() and np.allclose(old.sum(axis=-1), 1.0, atol=1e-3))
    p, q = (_log_probabilities(scores, are_probabilities) for scores in (old, new))
    return float(np.mean(np.sum(np.exp(p) * (p - q), axis=-1)))


def _log_probabilities(scores: np.ndarray, are_probabilities: bool) -> np.ndarray:
    logits = np.log(np.maximum(scores, _LEAST)) if are_probabilities else scores
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def _of_values(old: np.ndarray, new: np.ndarray) -> float:
    old, new = old.astype(np.float64), new.astype(np.float64)
    return float(np.mean(np.square(new - old)) / max(float(np.var(old)), 1e-12))
