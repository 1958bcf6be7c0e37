"""Export to a `.keras` file of plain QKeras layers, verified before it is kept."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import qkeras
from qkeras.utils import load_qmodel

from mpsearch.config import Config
from mpsearch.data import Data, Split
from mpsearch.errors import ExportError
from mpsearch.export.qkeras_model import Codes, activation_scale, qkeras_model, weight_codes_of
from mpsearch.network.canonical import graph
from mpsearch.network.elastic import ElasticNetwork
from mpsearch.quantizers.featuremap import QuantizedBitsFeatureMap

SAMPLES = 2000  # of the validation split, at most
BATCH = 200
TOP1_AGREEMENT = 0.999
TOLERANCE = 1e-4  # of outputs, relative to their spread
TIE = 1e-2  # distance from a rounding boundary, in steps, within which float32 may decide either way


@dataclass(frozen=True)
class Verification:
    """How an exported file compares with the searched model.

    Attributes:
        samples: compared, of the validation split.
        top1_agreement: share with the same largest output.
        largest_difference: of an output, over the outputs' spread, among samples without a value on a rounding
            boundary.
        boundary_samples: samples whose outputs differ because a value sits on a rounding boundary.
        kernels: number of kernels whose codes were found identical.
    """

    samples: int
    top1_agreement: float
    largest_difference: float
    boundary_samples: int
    kernels: int


def export_keras(
    network: ElasticNetwork, config: Config, data: Data, target: Path, about: dict[str, Any], force: bool = False
) -> Verification:
    """Write the network's present weights under `config` as `target/model.keras`, with `export.json` beside it.

    The file is reloaded with QKeras alone and compared before it gets its name; where it differs nothing is
    written. It is loaded anywhere with `qkeras.utils.load_qmodel(file, compile=False)`.

    Args:
        network: with the config set.
        config: the specs.
        data: its validation split is compared on.
        target: folder.
        about: more plain data for `export.json`.
        force: replace files that are there.

    Raises:
        ExportError: it can't be expressed, differs, or files are there already.
    """
    final = target / "model.keras"
    if final.exists() and not force:
        raise ExportError(f"{final} is there already: give --force to replace it, or another --out")
    target.mkdir(parents=True, exist_ok=True)
    partial = target / "partial.keras"
    try:
        qkeras_model(network, config).save(partial)
        reloaded = load_qmodel(str(partial), compile=False)
        verification = verify(network, config, reloaded, data, data.validation.head(SAMPLES))
        partial.replace(final)
    finally:
        partial.unlink(missing_ok=True)
    description = {
        **about,
        "format": "keras",
        "file": final.name,
        "bytes": final.stat().st_size,
        "sha256": hashlib.sha256(final.read_bytes()).hexdigest(),
        "config": config.to_json(),
        "fingerprint": config.fingerprint,
        "verification": vars(verification),
    }
    (target / "export.json").write_text(json.dumps(description, indent=1))
    return verification


def verify(network: ElasticNetwork, config: Config, reloaded: keras.Model, data: Data, split: Split) -> Verification:
    """Compare a reloaded QKeras model with the network's present weights under `config`.

    Raises:
        ExportError: codes of a kernel differ, top-1 agrees on too few samples, or outputs differ for another reason
            than a value on a rounding boundary.
    """
    kernels = _compare_kernels(weight_codes_of(network, config), reloaded)
    ours, theirs = [], []
    for start in range(0, len(split), BATCH):
        x = data.inputs(split.x[start : start + BATCH])
        ours.append(np.asarray(network.model(x, training=False)))
        theirs.append(np.asarray(reloaded(x, training=False)))
    expected, found = (np.concatenate(outputs).reshape(len(split), -1) for outputs in (ours, theirs))
    spread = float(np.ptp(expected)) or 1.0
    difference = np.abs(expected - found).max(axis=1) / spread
    agreement = float(np.mean(expected.argmax(axis=1) == found.argmax(axis=1)))
    if agreement < TOP1_AGREEMENT:
        raise ExportError(
            f"the exported file agrees with the searched model on {agreement:.2%} of {len(split)} samples, "
            f"below {TOP1_AGREEMENT:.1%}"
        )
    doubtful = np.flatnonzero(difference > TOLERANCE)
    for start in range(0, len(doubtful), BATCH):
        _check_boundaries(
            network, reloaded, data.inputs(split.x[doubtful[start : start + BATCH]]), doubtful[start : start + BATCH]
        )
    certain = np.delete(difference, doubtful)
    return Verification(len(split), agreement, float(certain.max(initial=0.0)), len(doubtful), kernels)


def _compare_kernels(codes: dict[str, Codes], reloaded: keras.Model) -> int:
    compared = 0
    for layer in reloaded.layers:
        site = f"{layer.name}/kernel"
        if site not in codes:
            continue
        depthwise = isinstance(layer, qkeras.QDepthwiseConv2D)
        quantizer = layer.depthwise_quantizer_internal if depthwise else layer.kernel_quantizer_internal
        kernel = keras.ops.convert_to_tensor(layer.depthwise_kernel if depthwise else layer.kernel)
        values = np.asarray(quantizer(kernel), np.float64)
        if not np.array_equal(np.rint(values / codes[site].scale.astype(np.float64)), codes[site].codes):
            raise ExportError(f"the codes of `{site}` differ in the exported file")
        compared += 1
    return compared


def _check_boundaries(network: ElasticNetwork, reloaded: keras.Model, x: np.ndarray, numbers: np.ndarray) -> None:
    """Make sure that at the first site where codes differ the differing values sit on rounding boundaries."""
    sites = [site for site in network.space.sites if isinstance(network.quantizer(site), QuantizedBitsFeatureMap)]
    layers: list[Any] = [network.quantizer(site) for site in sites]
    before = graph(network.model, [layer.input for layer in layers])(x, training=False)
    ours = graph(network.model, [layer.output for layer in layers])(x, training=False)
    outputs = [reloaded.get_layer(site.replace("/", "__")).output for site in sites]
    theirs = graph(reloaded, outputs)(x, training=False)
    open_samples = np.ones(len(x), dtype=bool)
    for site, layer, raw, mine, other in zip(sites, layers, before, ours, theirs, strict=True):
        scale = activation_scale(layer)
        steps, mine, other = (
            np.asarray(tensor, np.float64).reshape(len(x), -1) / scale for tensor in (raw, mine, other)
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
