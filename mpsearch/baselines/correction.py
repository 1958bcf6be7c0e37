"""Bias correction: biases that undo the shift which quantization brings to the mean of each output channel.

Source: M. Nagel et al., *Data-Free Quantization Through Weight Equalization and Bias Correction*, ICCV 2019,
section 4.2 and appendix D (empirical bias correction).
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from mpsearch.config import Config
from mpsearch.network.adapters import adapter_of
from mpsearch.network.calibration import CALIBRATION_BATCH
from mpsearch.network.compute import QuantizedCompute
from mpsearch.network.elastic import ElasticNetwork

CORRECTION_SAMPLES = 128


def correctable(network: ElasticNetwork) -> list[str]:
    """Layers whose bias can be corrected, in network order: those that are applied once and add it last."""
    applied: dict[str, int] = {}
    for node in network.placement.graph.nodes:
        applied[node.layer_name] = applied.get(node.layer_name, 0) + 1
    return [
        node.layer_name
        for node in network.placement.graph.nodes
        if applied[node.layer_name] == 1
        and isinstance(node.layer, keras.layers.Layer)
        and adapter_of(node.layer).channels is not None
        and getattr(node.layer, "bias", None) is not None
        and tuple(node.layer.bias.shape) == node.shape[-1:]
    ]


class BiasCorrection:
    """Corrects the biases of a network, whatever its weights and ranges are.

    One layer after another, with all before it corrected, gets the mean that its outputs have without quantization, at
    the network's own weights.

    Args:
        network: with layers that can be corrected.
        samples: model inputs.
    """

    def __init__(self, network: ElasticNetwork, samples: Any) -> None:
        self._network = network
        self._layers = correctable(network)
        self._samples = samples
        self._means = _means_of(network.model, self._layers)

    def __call__(self, config: Config | None) -> int:
        """Correct the biases for a config, which is set then; how many layers'."""
        self._network.assign_specs(None)
        wanted = self._means(self._samples)
        self._network.assign_specs(config)
        for i, name in enumerate(self._layers):
            bias = _bias(self._network.model.get_layer(name))
            shift = wanted[i] - self._means(self._samples)[i]
            bias.assign(np.asarray(keras.ops.convert_to_numpy(bias)) + shift)
        return len(self._layers)


def _bias(layer: Any) -> Any:
    return (layer.inner if isinstance(layer, QuantizedCompute) else layer).bias


def _means_of(model: keras.Model, names: list[str]) -> Callable[[Any], list[np.ndarray]]:
    """A function from model inputs to the mean of each output channel of some layers, each of shape (channels,)."""
    outputs = [model.get_layer(name).output for name in names]
    means = [keras.ops.mean(y, axis=tuple(range(1, len(y.shape) - 1))) if len(y.shape) > 2 else y for y in outputs]
    probe = keras.Model(model._inputs_struct, means)

    def measure(samples: Any) -> list[np.ndarray]:
        count = len(keras.tree.flatten(samples)[0])
        sums = [np.zeros(mean.shape[-1]) for mean in means]
        for start in range(0, count, CALIBRATION_BATCH):
            batch = keras.tree.map_structure(lambda x, at=start: x[at : at + CALIBRATION_BATCH], samples)
            for total, found in zip(sums, keras.tree.flatten(probe.predict_on_batch(batch)), strict=True):
                total += np.asarray(found, dtype=np.float64).sum(axis=0)
        return [total / count for total in sums]

    return measure
