"""Codes and scales of an elastic network's weights."""

from dataclasses import dataclass

import numpy as np

from mpsearch.config import Config
from mpsearch.network.adapters import Weight, adapter_of
from mpsearch.network.compute import QuantizedCompute
from mpsearch.network.elastic import ElasticNetwork
from mpsearch.network.graph import Node


@dataclass(frozen=True)
class Codes:
    """A quantized weight tensor: value = codes · scale. Codes are integers in float64, scale broadcasts."""

    codes: np.ndarray
    scale: np.ndarray

    @property
    def values(self) -> np.ndarray:
        """The tensor, float32."""
        return np.asarray(self.codes * self.scale, np.float32)


def weight_codes_of(network: ElasticNetwork, config: Config) -> dict[str, Codes]:
    """Codes and scales of all kernels and biases, for the network's present weights."""
    found = {}
    for site, (layer, weight) in weight_sites(network).items():
        if site in config:
            codes, scale = layer.codes(weight.attribute, config[site])
            largest = 2.0 ** (config[site].bits - 1) - 1.0  # which float32 may round up
            codes = np.clip(np.asarray(codes, np.float64), -largest, largest)
            found[site] = Codes(codes, np.asarray(scale, np.float32))
    return found


def weight_sites(network: ElasticNetwork) -> dict[str, tuple[QuantizedCompute, Weight]]:
    """Site of each quantized kernel and bias to the layer that computes with it, and what it is there."""
    return {
        f"{node.layer_name}/{weight.name}": (network.model.get_layer(node.layer_name), weight)
        for node in network.placement.graph.nodes
        for weight in weights_of(node)
    }


def weights_of(node: Node) -> tuple[Weight, ...]:
    """The weights of a node's layer that can be quantized."""
    return tuple(weight for weight in adapter_of(node.layer).weights if weight.of(node.layer) is not None)
