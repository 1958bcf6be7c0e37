"""Calibration: what values the feature maps of a float model take on samples."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from mpsearch.network.compute import states_of
from mpsearch.network.graph import Tensor, submodel
from mpsearch.network.sites import Placement

CALIBRATION_SAMPLES = 256
CALIBRATION_BATCH = 32
OBSERVED_VALUES = 200_000  # values of a feature map that are kept, at most


@dataclass(frozen=True)
class Observed:
    """The values of a feature map.

    Attributes:
        low, high: the smallest and the largest of all.
        values: some of them, float32 (n,), drawn at random where there are more than `OBSERVED_VALUES`.
    """

    low: float
    high: float
    values: np.ndarray


def observe(model: keras.Model, placement: Placement, sites: Collection[str], samples: Any) -> dict[str, Observed]:
    """The values that feature maps, and states of recurrent layers, take on samples.

    Args:
        model: canonical, with the weights that count.
        placement: of that model.
        sites: activation sites.
        samples: model inputs, each of shape (n, ...), in the structure that the model takes.
    """
    maps = [site for site in sites if site in placement.tensors]
    states = {layer: site for layer, site in placement.states.items() if site in sites}
    if not maps and not states:
        return {}
    # of a recurrent layer what it reads is needed, to run it step by step
    recurrent = [node for node in placement.graph.nodes if node.layer_name in states]
    by_name = placement.graph.by_name
    read = [placement.tensors[site] for site in maps] + [t for node in recurrent for t in node.inputs]
    probe = submodel(model, [by_name[tensor.node].symbolic[tensor.output] for tensor in read])
    kept: dict[str, list[np.ndarray]] = {site: [] for site in sites}
    extremes = dict.fromkeys(sites, (np.inf, -np.inf))
    rng = np.random.default_rng(0)
    count = len(keras.tree.flatten(samples)[0])
    batches = -(-count // CALIBRATION_BATCH)

    def keep(site: str, tensor: Any) -> None:
        flat = np.asarray(tensor).ravel()
        low, high = extremes[site]
        extremes[site] = (min(low, float(flat.min())), max(high, float(flat.max())))
        share = OBSERVED_VALUES // batches
        kept[site].append(flat if len(flat) <= share else rng.choice(flat, share, replace=False, shuffle=False))

    for start in range(0, count, CALIBRATION_BATCH):
        batch = keras.tree.map_structure(lambda x, at=start: x[at : at + CALIBRATION_BATCH], samples)
        inputs = keras.tree.pack_sequence_as(probe._inputs_struct, keras.tree.flatten(batch))
        values = iter(keras.tree.flatten(probe(inputs, training=False)))
        for site in maps:
            keep(site, next(values))
        for node in recurrent:
            args, kwargs = keras.tree.map_structure(
                lambda leaf, of=values: next(of) if isinstance(leaf, Tensor) else leaf, node.arguments
            )
            for state in states_of(node.layer, *args, **kwargs):
                keep(states[node.layer_name], state)
    return {site: Observed(*extremes[site], np.concatenate(kept[site])) for site in sites if kept[site]}
