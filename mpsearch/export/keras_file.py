"""Export to a `.keras` file of plain QKeras layers, verified before it is kept."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from qkeras.utils import load_qmodel

from mpsearch.batches import Ends
from mpsearch.config import Config
from mpsearch.data import Data
from mpsearch.errors import ExportError
from mpsearch.export.decisions import decisions, middle_of
from mpsearch.export.qkeras_model import activation_scale, exported_kernel, qkeras_model
from mpsearch.export.runtime import unreadable
from mpsearch.network.adapters import activation_name, adapter_of
from mpsearch.network.codes import Codes, weight_codes_of
from mpsearch.network.elastic import ElasticNetwork
from mpsearch.network.graph import functional, submodel
from mpsearch.split import Split

BATCH = 200
TOP1_AGREEMENT = 0.999
TOLERANCE = 1e-4  # of outputs, relative to their spread
CODE_TOLERANCE = 1e-3  # of a code, from the division by the scale
TIE = 1e-2  # distance from a rounding boundary, in steps, within which float32 may decide either way


@dataclass(frozen=True)
class Verification:
    """How an exported file compares with the searched model.

    Attributes:
        samples: compared, of the validation split.
        top1_agreement: share with the same largest output; None where the data `reconstructs`, which decides nothing.
        largest_difference: of an output, over the outputs' spread, among samples without a value on a rounding
            boundary.
        boundary_samples: samples whose outputs differ because a value sits on a rounding boundary.
        kernels: number of kernels whose codes were found identical.
    """

    samples: int
    top1_agreement: float | None
    largest_difference: float
    boundary_samples: int
    kernels: int


def write_keras(network: ElasticNetwork, config: Config, path: Path) -> None:
    """Write the network's present weights under `config` as a `.keras` file.

    It is loaded anywhere with `qkeras.utils.load_qmodel(file, compile=False)`.

    Args:
        network: with the config set.
        config: the specs.
        path: of the file.

    Raises:
        ExportError: plain QKeras can't express it.
    """
    with without_mask_warnings():
        qkeras_model(network, config).save(path)


class KerasRuntime:
    """A `.keras` file, loaded by QKeras.

    Args:
        path: of the file.

    Raises:
        ExportError: the file is missing, cut off or none of Keras.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.open("rb").close()
            with without_mask_warnings():
                self.model = load_qmodel(str(path), compile=False)
        except Exception as error:  # Keras and h5py have no exception in common
            raise unreadable(path, "Keras", error) from error
        self.inputs: Sequence[tuple[str, tuple[int, ...]]] = [
            (tensor.name, tuple(tensor.shape[1:])) for tensor in self.model.inputs
        ]

    def __call__(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The model's outputs for inputs, float32 of shape (batch, ...)."""
        found = self.model(self._given(self.model, inputs), training=False)
        return [np.asarray(output) for output in keras.tree.flatten(found)]

    def values(self, inputs: Sequence[np.ndarray], tensors: Sequence[str]) -> dict[str, np.ndarray]:
        """Values of feature maps by their sites, float32 (batch, ..., channels)."""
        outputs = [self.model.get_layer(site.replace("/", "__")).output for site in tensors]
        found = submodel(self.model, outputs)(self._given(self.model, inputs), training=False)
        return {site: np.asarray(value) for site, value in zip(tensors, keras.tree.flatten(found), strict=True)}

    def _given(self, model: keras.Model, inputs: Sequence[np.ndarray]) -> Any:
        return keras.tree.pack_sequence_as(functional(model)._inputs_struct, list(inputs))


@contextmanager
def without_mask_warnings() -> Iterator[None]:
    """Silence Keras where QKeras's activation layers don't hand masks on.

    In an exported file masks are arguments of the layers that read them, so that none is lost.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*does not support masking", category=UserWarning)
        yield


def verify(network: ElasticNetwork, config: Config, reloaded: keras.Model, data: Data, split: Split) -> Verification:
    """Compare a reloaded QKeras model with the network's present weights under `config`.

    Outputs are compared before a final softmax, where differences show best.

    Raises:
        ExportError: codes of a kernel differ, top-1 agrees on too few samples, or outputs differ for another reason
            than a value on a rounding boundary.
    """
    kernels = _compare_kernels(network, weight_codes_of(network, config), reloaded)
    ends = _ends(network)
    pair = [submodel(model, [_end(model, end) for end in ends]) for model in (network.model, reloaded)]
    differences, agreements = [], []
    spreads = [0.0] * len(ends)
    for start in range(0, len(split), BATCH):
        x = _inputs(network, data, split, np.arange(start, min(start + BATCH, len(split))))
        expected, found = (
            [np.asarray(output, np.float64) for output in keras.tree.flatten(model(x, training=False))]
            for model in pair
        )
        spreads = [max(spread, float(np.ptp(e))) for spread, e in zip(spreads, expected, strict=True)]
        differences.append(
            [np.abs(e - f).reshape(len(e), -1).max(axis=1) for e, f in zip(expected, found, strict=True)]
        )
        agreements.append(
            [decisions(e, middle_of(e)) == decisions(f, middle_of(e)) for e, f in zip(expected, found, strict=True)]
        )
    per_output = [np.concatenate(batches) for batches in zip(*differences, strict=True)]
    difference = np.max([d / (spread or 1.0) for d, spread in zip(per_output, spreads, strict=True)], axis=0)
    agreement = None
    if not data.reconstructs:
        agreement = min(float(np.mean(np.concatenate(batches))) for batches in zip(*agreements, strict=True))
    if agreement is not None and agreement < TOP1_AGREEMENT:
        raise ExportError(
            f"the exported file agrees with the searched model on {agreement:.2%} of {len(split)} samples, "
            f"below {TOP1_AGREEMENT:.1%}"
        )
    doubtful = np.flatnonzero(difference > TOLERANCE)
    for start in range(0, len(doubtful), BATCH):
        numbers = doubtful[start : start + BATCH]
        _check_boundaries(network, reloaded, _inputs(network, data, split, numbers), numbers)
    certain = np.delete(difference, doubtful)
    return Verification(len(split), agreement, float(certain.max(initial=0.0)), len(doubtful), kernels)


def _inputs(network: ElasticNetwork, data: Data, split: Split, numbers: np.ndarray) -> Any:
    """Some samples of a split as the network's and the file's models take them."""
    x = data.inputs(split.take(numbers).x)
    arranged = Ends.of(network.float_model).arrange_inputs(x)
    flat = list(arranged) if isinstance(arranged, tuple) else [arranged]
    return keras.tree.pack_sequence_as(functional(network.model)._inputs_struct, flat)


def _ends(network: ElasticNetwork) -> list[tuple[str, bool]]:
    """The network's outputs: (number of the output, or the layer of a final softmax, whether it is one)."""
    graph = network.placement.graph
    found = []
    for i, tensor in enumerate(graph.output_tensors):
        node = graph.by_name[tensor.node]
        softmax = isinstance(node.layer, keras.layers.Layer) and activation_name(node.layer) == "softmax"
        found.append((node.layer_name, True) if softmax else (str(i), False))
    return found


def _end(model: keras.Model, end: tuple[str, bool]) -> Any:
    name, softmax = end
    return model.get_layer(name).input if softmax else keras.tree.flatten(model.outputs)[int(name)]


def _compare_kernels(network: ElasticNetwork, codes: Mapping[str, Codes], reloaded: keras.Model) -> int:
    compared = set()
    for node in network.placement.graph.nodes:
        for weight in adapter_of(node.layer).kernels:
            site = f"{node.layer_name}/{weight.name}"
            if site not in codes or site in compared:
                continue
            values = exported_kernel(reloaded.get_layer(node.layer_name), weight)
            found, expected = values / codes[site].scale.astype(np.float64), codes[site].codes
            # float32 holds a value to 2^-24 of itself: codes of 22 bits and less are told apart for certain
            if np.any(np.abs(found - expected) > CODE_TOLERANCE + np.abs(expected) * 2.0**-22):
                raise ExportError(f"the codes of `{site}` differ in the exported file")
            compared.add(site)
    return len(compared)


def _check_boundaries(network: ElasticNetwork, reloaded: keras.Model, x: np.ndarray, numbers: np.ndarray) -> None:
    """Make sure that at the first site where codes differ the differing values sit on rounding boundaries."""
    sites = [site for site in network.space.sites if site in network.placement.tensors]
    layers: list[Any] = [network.quantizer(site) for site in sites]
    before = submodel(network.model, [layer.input for layer in layers])(x, training=False)
    ours = submodel(network.model, [layer.output for layer in layers])(x, training=False)
    outputs = [reloaded.get_layer(site.replace("/", "__")).output for site in sites]
    theirs = submodel(reloaded, outputs)(x, training=False)
    open_samples = np.ones(len(numbers), dtype=bool)
    for site, layer, raw, mine, other in zip(sites, layers, before, ours, theirs, strict=True):
        scale = activation_scale(layer)
        steps, mine, other = (
            np.asarray(tensor, np.float64).reshape(len(numbers), -1) / scale for tensor in (raw, mine, other)
        )
        differs = np.abs(mine - other) > 0.5
        on_tie = np.abs(np.abs(steps - np.floor(steps)) - 0.5) < TIE
        wrong = (differs & ~on_tie).any(axis=1) & open_samples
        if wrong.any():
            raise ExportError(
                f"the exported file differs from the searched model first at `{site}` (sample "
                f"{numbers[wrong.argmax()]})"
            )
        open_samples &= ~differs.any(axis=1)
    if open_samples.any():
        raise ExportError(
            f"outputs of the exported file differ, with equal feature maps (sample {numbers[open_samples.argmax()]})"
        )
