"""What foretells trainings: kinds of sensitivities, second-order ones among them, and pairs of neighbouring tensors.

    python benchmarks/foretelling.py benchmarks/autoqkeras_resnet8.py --trained \
        studies/search/trained_autoqkeras_resnet8.json
    python benchmarks/foretelling.py ds_cnn --trained studies/search/trained_ds_cnn.json --of loss

Each kind gives every spec of every choice a harm, and a config the sum. Kendall's τ between that sum and what the
configs had after their trainings, and the seconds that it takes to measure. The file is as for `recovery.py`.

* divergence: the Kullback-Leibler divergence of the outputs, all other choices wide (`mpsearch.probing`);
* root of the divergence: what `mpsearch sensitivity` shows and the sampler `auto` begins with; once with kernels taken
  for less harmful, as there, and once without that;
* loss: how much it rises, by the same forward passes;
* Fisher, diagonal: ½ Σ Fᵢ Δᵢ², roots as well, with Δ what quantization does to a tensor and F the mean square of the
  gradients of the log-likelihood, labels drawn from the model's own predictions (Z. Dong et al., *HAWQ-V2*,
  arXiv:1911.03852, section 3, with the Fisher information in the Hessian's place); of a feature map, sample by sample;
* Fisher, along Δ: ½ E (g · Δ)², which leaves out nothing between a tensor's elements;
* pairs: the root of the divergence, and for each two choices of which one follows the other, or the one after it, what
  both together do beyond that.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau

SAMPLES = 256
BATCH = 64


class Curvature:
    """The Fisher information that specs of tensors meet, by gradients of the float network.

    Args:
        engine: of a task with one output, class probabilities; its backend is TensorFlow.
        wide: config of which single choices are changed.
        seed: of the labels.
    """

    def __init__(self, engine: Any, wide: np.ndarray, seed: int) -> None:
        from mpsearch.network.codes import weight_sites
        from mpsearch.network.graph import submodel

        self.network, self.space, self.wide = engine.network, engine.network.space, wide
        placement = self.network.placement
        self.maps = [site for site in placement.tensors if site in self.space.menus]
        tensors = [placement.tensors[site] for site in self.maps]
        symbolic = [placement.graph.by_name[t.node].symbolic[t.output] for t in tensors]
        self.probe = submodel(self.network.float_model, [*symbolic, *self.network.float_model.outputs])
        self.layers = {site: at for site, at in weight_sites(self.network).items() if site in self.space.menus}
        by_layer = {node.layer_name: node.layer for node in placement.graph.nodes}
        self.weights = {site: weight.of(by_layer[site.rpartition("/")[0]]) for site, (_, weight) in self.layers.items()}
        split = engine.data.train.spread(SAMPLES)
        self.inputs = np.asarray(engine.data.inputs(split.x))
        self.rng = np.random.default_rng(seed)

    def harms(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Diagonal, and along Δ: for each choice, an array (specs,)."""
        changes = [self._changes(choice) for choice in self.space.choices]
        diagonal = [np.zeros(len(choice.specs)) for choice in self.space.choices]
        squares = dict.fromkeys(self.weights, 0.0)
        steps: list[list[np.ndarray]] = [[np.zeros(len(self.inputs)) for _ in array] for array in diagonal]
        labels = self._labels()
        for sample in range(len(self.inputs)):
            gradients = dict(zip(self.weights, self._of_weights(sample, labels[sample]), strict=True))
            squares = {site: square + np.square(gradients[site]) for site, square in squares.items()}
            for number, specs in enumerate(changes):
                for position, deltas in enumerate(specs):
                    steps[number][position][sample] += sum(np.sum(gradients[s] * delta) for s, delta in deltas.items())
        for number, specs in enumerate(changes):
            for position, deltas in enumerate(specs):
                diagonal[number][position] += sum(
                    np.sum(squares[s] * np.square(delta)) for s, delta in deltas.items()
                ) / len(self.inputs)
        for start in range(0, len(self.inputs), BATCH):
            part = slice(start, start + BATCH)
            values, gradients = self._of_maps(self.inputs[part], labels[part])
            for number, choice in enumerate(self.space.choices):
                sites = [site for site in choice.sites if site in values]
                for position in range(len(choice.specs)) if sites else ():
                    self._assign(number, position)
                    for site in sites:
                        met = gradients[site] * (self._quantized(site, values[site]) - values[site])
                        flat = met.reshape(len(met), -1)
                        diagonal[number][position] += np.square(flat).sum() / len(self.inputs)
                        steps[number][position][part] += flat.sum(axis=1)
        along = [np.array([np.mean(np.square(row)) for row in rows]) for rows in steps]
        return [0.5 * array for array in diagonal], [0.5 * array for array in along]

    def _assign(self, choice: int, position: int) -> None:
        positions = self.wide.copy()
        positions[choice] = position
        self.network.assign_specs(next(self.space.configs(positions[None])))

    def _quantized(self, site: str, values: np.ndarray) -> np.ndarray:
        return np.asarray(self.network.quantizer(site)(values, training=False))

    def _changes(self, choice: Any) -> list[dict[str, np.ndarray]]:
        """For each spec of a choice, what it does to its kernels and biases."""
        found = []
        for spec in choice.specs:
            deltas = {}
            for site in choice.sites:
                if site in self.layers:
                    layer, weight = self.layers[site]
                    codes, scale = layer.codes(weight.attribute, spec)
                    deltas[site] = np.asarray(codes) * np.asarray(scale) - np.asarray(self.weights[site])
            found.append(deltas)
        return found

    def _labels(self) -> np.ndarray:
        outputs = np.concatenate(
            [np.asarray(self.probe(self.inputs[s : s + BATCH], training=False)[-1]) for s in
             range(0, len(self.inputs), BATCH)]
        ).astype(np.float64)  # fmt: skip
        sums = np.cumsum(outputs, axis=-1)
        if not np.allclose(sums[:, -1], 1.0, atol=1e-3):
            raise SystemExit("the Fisher information is measured where the output has class probabilities")
        drawn: np.ndarray = (self.rng.random((len(sums), 1)) * sums[:, -1:] > sums).sum(axis=-1)
        return drawn

    def _of_maps(self, inputs: np.ndarray, labels: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Values of feature maps and the gradients of each sample's log-likelihood there."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            given = tf.constant(inputs)
            tape.watch(given)
            *maps, outputs = self.probe(given, training=False)
            likelihood = tf.reduce_sum(tf.math.log(tf.gather(outputs, labels, batch_dims=1) + 1e-12))
        gradients = tape.gradient(likelihood, maps)
        return (
            {site: np.asarray(value) for site, value in zip(self.maps, maps, strict=True)},
            {site: np.asarray(gradient) for site, gradient in zip(self.maps, gradients, strict=True)},
        )

    def _of_weights(self, sample: int, label: int) -> list[np.ndarray]:
        """Gradients of one sample's log-likelihood."""
        import tensorflow as tf

        if not hasattr(self, "_traced"):
            variables = [variable.value for variable in self.weights.values()]

            @tf.function
            def traced(inputs: Any, label: Any) -> Any:
                with tf.GradientTape() as tape:
                    likelihood = tf.math.log(self.probe(inputs, training=False)[-1][0, label] + 1e-12)
                return tape.gradient(likelihood, variables)

            self._traced = traced
        found = self._traced(tf.constant(self.inputs[sample : sample + 1]), tf.constant(label))
        return [np.asarray(gradient) for gradient in found]


Pair = tuple[tuple[int, int], tuple[int, int]]


def pairs(prober: Any, harms: Sequence[np.ndarray], wide: np.ndarray) -> dict[Pair, float]:
    """What two specs, (choice, position) each, do beyond the sum."""
    from mpsearch.probing import divergence

    reference, found = prober._reference[0], {}
    for choice, other in neighbours(len(wide)):
        for first in range(len(harms[choice])):
            for second in range(len(harms[other])):
                if first != wide[choice] and second != wide[other]:
                    positions = wide.copy()
                    positions[[choice, other]] = first, second
                    both = divergence(reference, prober._outputs(positions), prober._session.gives_classes)
                    alone = harms[choice][first] + harms[other][second]
                    found[(choice, first), (other, second)] = float(np.sqrt(max(both, 0.0)) - alone)
    return found


def neighbours(choices: int) -> list[tuple[int, int]]:
    """Choices of which one follows the other, or the one after it: a bias lies between a kernel and its feature map."""
    return [(n, n + step) for n in range(choices) for step in (1, 2) if n + step < choices]


def main() -> None:
    """Measure all of it and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("space")
    parser.add_argument("--trained", type=Path, required=True)
    parser.add_argument("--of", choices=("validation", "test", "loss"), default="test")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    from mpsearch.probing import Prober, wide_positions
    from mpsearch.searching.engine import Engine
    from mpsearch.sensitivities import KERNELS
    from mpsearch.spacefile import find_space_file, load_space_file

    path, rows = find_space_file(args.space).resolve(), json.loads(args.trained.read_text())
    os.chdir(tempfile.mkdtemp())
    engine = Engine(load_space_file(path))
    space = engine.network.space
    places = np.array([row["positions"] for row in rows])
    lost = np.array([row[args.of] for row in rows]) * (1.0 if args.of == "loss" else -1.0)
    prober, wide, shown = Prober(engine, SAMPLES), wide_positions(space), dict[str, dict[str, float]]()

    def add(name: str, sums: np.ndarray, seconds: float) -> None:
        shown[name] = {"tau": float(kendalltau(sums, lost).statistic), "seconds": seconds}

    def summed(harms: Sequence[np.ndarray], kernels: float) -> np.ndarray:
        weighted = [
            harm * (kernels if space.facts.by_name[choice.sites[0]].role == "kernel" else 1.0)
            for harm, choice in zip(harms, space.choices, strict=True)
        ]
        return np.array([sum(harm[p] for harm, p in zip(weighted, row, strict=True)) for row in places])

    began = time.perf_counter()
    prober._outputs(wide)  # traces
    began = time.perf_counter()
    probed = {number: prober.measure(number, {}) for number in prober.order}
    seconds = time.perf_counter() - began
    divergences = [np.maximum(probed[number].divergences, 0.0) for number in sorted(probed)]
    roots = [np.sqrt(array) for array in divergences]
    add("root of the divergence, kernels for less", summed(roots, KERNELS), seconds)
    add("root of the divergence", summed(roots, 1.0), seconds)
    add("divergence", summed(divergences, 1.0), seconds)
    add("loss", summed([np.array(probed[number].losses) for number in sorted(probed)], 1.0), seconds)
    began = time.perf_counter()
    diagonal, along = Curvature(engine, wide, args.seed).harms()
    seconds = time.perf_counter() - began
    add("root of Fisher, diagonal, kernels for less", summed([np.sqrt(a) for a in diagonal], KERNELS), seconds)
    add("Fisher, diagonal", summed(diagonal, 1.0), seconds)
    add("root of Fisher, along Δ, kernels for less", summed([np.sqrt(a) for a in along], KERNELS), seconds)
    add("Fisher, along Δ", summed(along, 1.0), seconds)
    began = time.perf_counter()
    both = pairs(prober, roots, wide)
    seconds = time.perf_counter() - began
    beyond = np.array(
        [sum(both.get(((n, row[n]), (m, row[m])), 0.0) for n, m in neighbours(len(row))) for row in places.tolist()]
    )
    add("the first, and what pairs do beyond it", summed(roots, KERNELS) + KERNELS * beyond, seconds)
    print(json.dumps({"space": path.name, "of": args.of, "trainings": len(rows), "kinds": shown}, indent=1))


if __name__ == "__main__":
    main()
