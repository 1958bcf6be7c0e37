"""Compare an exported file, run in its own runtime, with the searched model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from mpsearch.batches import Ends
from mpsearch.data import Data
from mpsearch.export.decisions import decisions, middle_of
from mpsearch.export.runtime import Runtime
from mpsearch.measuring import Measured, losses_of, whole_metrics
from mpsearch.metrics import WHOLE
from mpsearch.network.adapters import activation_name
from mpsearch.network.elastic import ElasticNetwork
from mpsearch.network.graph import functional, submodel
from mpsearch.network.sites import Placement
from mpsearch.quantizers.featuremap import QuantizedBitsFeatureMap
from mpsearch.split import Split
from mpsearch.task import Task

SAMPLES = 512
BATCH = 64
LAYER_SAMPLES = 32
"""Samples of which every feature map is compared."""
LEAST_AGREEMENT = 0.995
MOST_POINTS = 0.2
"""By which the metric may differ, in points of a hundred."""


@dataclass(frozen=True)
class Comparison:
    """How an exported file compares with the searched model, on samples of the validation split.

    Attributes:
        samples: how many.
        top1_agreement: share for which both decide the same; None where the data `reconstructs`, which decides nothing.
        worst_steps: the largest difference of an output, before a last softmax, in steps of its codes; None where an
            output has no codes.
        metric: its name.
        searched, exported: the metric of both.
    """

    samples: int
    top1_agreement: float | None
    worst_steps: float | None
    metric: str
    searched: float
    exported: float

    def fault(self, least: float = LEAST_AGREEMENT) -> str | None:
        """What is wrong with the file; None where it is good.

        One sample may always differ: where a value lies on a rounding boundary float32 decides either way.

        Args:
            least: share of samples for which both must decide the same. The metric may differ by `MOST_POINTS`, and by
                more in proportion where a smaller share than `LEAST_AGREEMENT` is accepted.
        """
        one = 1.0 / self.samples
        if self.top1_agreement is not None and self.top1_agreement < min(least, 1.0 - one) - 1e-9:
            return (
                f"agrees with the searched model on {self.top1_agreement:.2%} of {self.samples} samples, below "
                f"{least:.1%}"
            )
        points = 100.0 * abs(self.searched - self.exported)
        most = MOST_POINTS * max(1.0, (1.0 - least) / (1.0 - LEAST_AGREEMENT))
        if not points <= max(most, 100.0 * one) + 1e-9:
            return (
                f"has {_article(self.metric)} {self.metric} of {self.exported:.4f}, {points:.2f} points off the "
                f"searched model's {self.searched:.4f}; at most {most:.1f} are allowed"
            )
        return None


@dataclass(frozen=True)
class Layer:
    """How a feature map in a file compares with the searched model's.

    Attributes:
        site: whose codes are compared.
        differing: share of values with another code.
        worst_steps: the largest difference, in steps of the codes.
    """

    site: str
    differing: float
    worst_steps: float


class Searched:
    """The searched model's side of a comparison, the same samples for all formats.

    Args:
        network: with config and weights set.
        task: its loss and metric.
        data: whose validation split is used.
        ends: of the task's model.
        samples: at most so many.
    """

    def __init__(self, network: ElasticNetwork, task: Task, data: Data, ends: Ends, samples: int = SAMPLES) -> None:
        self.network, self.task, self.data, self.ends = network, task, data, ends
        self.split: Split = data.validation.spread(samples)
        self._last = output_sites(network.placement)
        self._judge: keras.Model | None = None
        self._suspects = np.zeros(0, np.int64)  # samples that were decided otherwise in the latest comparison
        self._sites = [site for site in network.space.sites if site in network.placement.tensors]

    def compare(self, runtime: Runtime, tensors: Mapping[str, str]) -> Comparison:
        """Compare a file.

        Args:
            runtime: of the file.
            tensors: sites to the names by which the runtime knows them.
        """
        known = self._last is not None and all(site in tensors for site in self._last)
        last = list(dict.fromkeys(self._last)) if known and self._last else []
        steps = {site: self._step(site) for site in last}
        expected: list[list[np.ndarray]] = []
        found: list[list[np.ndarray]] = []
        worst = 0.0
        for start in range(0, len(self.split), BATCH):
            x = self.inputs(np.arange(start, min(start + BATCH, len(self.split))))
            ours, maps = self._outputs(x, last)
            expected.append(ours)
            found.append(runtime(x))
            if last:
                theirs = runtime.values(x, [tensors[site] for site in last])
                for site in last:
                    difference = np.abs(maps[site].astype(np.float64) - theirs[tensors[site]]).max()
                    found_worst = float(difference) / steps[site]
                    worst = worst if found_worst <= worst else found_worst  # NaN as well
        mine, other = ([np.concatenate(batches) for batches in zip(*side, strict=True)] for side in (expected, found))
        agreement = None
        if not self.data.reconstructs:
            alike = [
                (decisions(a, middle_of(a)) == decisions(b, middle_of(a))).reshape(len(a), -1)
                for a, b in zip(mine, other, strict=True)
            ]
            agreement = min(float(same.mean()) for same in alike)
            self._suspects = np.flatnonzero(~np.all([same.all(axis=1) for same in alike], axis=0))
        return Comparison(
            len(self.split),
            agreement,
            worst if last else None,
            self.task.metric,
            self.metric(mine),
            self.metric(other),
        )

    def layers(self, runtime: Runtime, tensors: Mapping[str, str]) -> list[Layer]:
        """Compare every feature map, in network order, on the samples that were decided otherwise first, and others.

        Arguments as of `compare`, which is called before.
        """
        sites = [site for site in self._sites if site in tensors]
        first = [*self._suspects, *np.delete(np.arange(len(self.split)), self._suspects)]
        x = self.inputs(np.array(first[:LAYER_SAMPLES]))
        _, maps = self._outputs(x, sites)
        theirs = runtime.values(x, [tensors[site] for site in sites])
        found = []
        for site in sites:
            steps = np.abs(maps[site].astype(np.float64) - theirs[tensors[site]]) / self._step(site)
            found.append(Layer(site, float((steps > 0.5).mean()), float(steps.max())))
        return found

    def inputs(self, numbers: np.ndarray) -> list[np.ndarray]:
        """Model inputs of some samples, in the model's order."""
        arranged = self.ends.arrange_inputs(self.data.inputs(self.split.take(numbers).x))
        return list(arranged) if isinstance(arranged, tuple) else [arranged]

    def metric(self, outputs: Sequence[np.ndarray]) -> float:
        """The task's metric of model outputs for all samples."""
        if self.task.metric in WHOLE:
            samples = iter(outputs[0])

            def known(x: np.ndarray) -> np.ndarray:
                return np.stack([next(samples) for _ in x])

            return whole_metrics([self.task.metric], known, self.data, self.split, self.ends)[self.task.metric]
        measured = Measured.of([self.task.metric], self.ends.outputs)
        if self._judge is None:
            self._judge = self._metric_alone(outputs, measured)
        targets = self._targets()
        given = list(targets) if isinstance(targets, tuple) else targets
        logs = self._judge.evaluate(list(outputs), given, verbose=0, return_dict=True, batch_size=len(self.split))
        return measured.named({name: float(np.mean(value)) for name, value in logs.items()})[self.task.metric]

    def _metric_alone(self, outputs: Sequence[np.ndarray], measured: Measured) -> keras.Model:
        """A model that hands on what it is given, so that Keras takes the task's metric of outputs that are there."""
        inputs = [keras.Input(output.shape[1:]) for output in outputs]
        model = keras.Model(inputs, [keras.layers.Identity()(x) for x in inputs])
        model.output_names = list(self.ends.outputs)
        losses = losses_of(self.task.loss, self.ends.outputs)
        several = len(losses) > 1
        metrics = measured.metrics if several else measured.metrics[0]
        model.compile("sgd", losses if several else losses[0], metrics=metrics, run_eagerly=True)
        return model

    def _targets(self) -> Any:
        inputs = self.ends.arrange_inputs(self.data.inputs(self.split.x))
        return self.ends.arrange_targets(self.data.targets(self.split, inputs))

    def _outputs(self, x: Sequence[np.ndarray], sites: Sequence[str]) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
        """Outputs of the network, and values of feature maps, for a batch."""
        model = self.network.model
        layers: list[Any] = [self.network.quantizer(site) for site in sites]
        both = submodel(model, [*model.outputs, *(layer.output for layer in layers)])
        given = keras.tree.pack_sequence_as(functional(model)._inputs_struct, list(x))
        found = [np.asarray(value) for value in keras.tree.flatten(both(given, training=False))]
        count = len(model.outputs)
        return found[:count], dict(zip(sites, found[count:], strict=True))

    def _step(self, site: str) -> float:
        quantizer = self.network.quantizer(site)
        assert isinstance(quantizer, QuantizedBitsFeatureMap)
        return float(quantizer.grid().scale)


def output_sites(placement: Placement) -> list[str] | None:
    """Sites of the model's outputs, of those of a last softmax its input's; None where one has none."""
    found = []
    for end in placement.graph.output_tensors:
        tensor = end
        while tensor not in placement.outputs:
            node = placement.graph.by_name[tensor.node]
            passes = len(node.inputs) == 1 and (tensor == end or activation_name(node.layer) == "linear")
            if not passes:
                return None
            tensor = node.inputs[0]
        found.append(placement.outputs[tensor])
    return found


def _article(noun: str) -> str:
    return "an" if noun[:1] in "aeiou" else "a"
