"""Convert the models of keras.applications, and say for each how well it went.

    python benchmarks/convert.py MobileNetV2 ResNet50     # these; JSON lines
    python benchmarks/convert.py --all --write studies/coverage   # all, kept as records.json and RESULTS.md

For each model (weights=None, 96×96 inputs, 10 classes; biases, BatchNorm statistics, gammas and betas drawn at random)
are measured: seconds to convert; the largest difference of its outputs from the float model's with every site left
float, over their spread; how many sites change the outputs when lowered to 2 bits, all others at 16 or float; whether a
training step is finite and moves the weights; and the largest difference of the exported, reloaded file.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from mpsearch import Data, QuantizerSpec, Space, Split, bits
from mpsearch.export.keras_file import KerasRuntime, verify, write_keras
from mpsearch.network.elastic import ElasticNetwork
from mpsearch.quantizers.weights import encode

SIZE = 96
CLASSES = 10
MODELS = (
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "MobileNetV3Large",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "ResNet50",
    "ResNet50V2",
    "VGG16",
    "DenseNet121",
    "Xception",
    "InceptionV3",
    "InceptionResNetV2",
    "NASNetMobile",
    "ConvNeXtTiny",
)


def build(name: str, samples: int, size: int = SIZE) -> tuple[keras.Model, np.ndarray]:
    """A model of keras.applications without its softmax, BatchNorm randomised, and inputs of the range it takes."""
    options = {"classifier_activation": None, "classes": CLASSES, "input_shape": (size, size, 3), "weights": None}
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(**options)
    rescales = any(isinstance(layer, keras.layers.Rescaling) for layer in model.layers)
    low, high = (0, 255) if rescales else (-1, 1)
    x = np.random.default_rng(1).uniform(low, high, (samples, size, size, 3)).astype(np.float32)
    randomise_batch_norm(model, x)
    return model, x


def randomise_batch_norm(model: keras.Model, x: np.ndarray, seed: int = 0) -> None:
    """Draw biases, gammas and betas, and move BatchNorms' statistics away from those of `x`, (n, ...).

    Fresh ones are near the identity and would prove nothing; any others would let the signal die on its way.
    """
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(rng.uniform(-0.3, 0.3, layer.bias.shape))
        if type(layer).__name__ == "LayerScale":  # starts at 1e-6, which hides the whole branch before it
            layer.gamma.assign(rng.uniform(0.3, 0.7, layer.gamma.shape))
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0  # the next pass sets the statistics to the batch's
        for variable, low, high in ((norm.gamma, 0.7, 1.4), (norm.beta, -0.3, 0.3)):
            if variable is not None:
                variable.assign(rng.uniform(low, high, variable.shape))
    if norms:
        model(x, training=True)
    for norm in norms:
        deviation = np.sqrt(np.asarray(norm.moving_variance))
        norm.moving_mean.assign(np.asarray(norm.moving_mean) + deviation * rng.normal(0, 0.1, deviation.shape))
        norm.moving_variance.assign(np.asarray(norm.moving_variance) * rng.uniform(0.7, 1.4, deviation.shape))


def converted(name: str, samples: int = 8, size: int = SIZE) -> dict[str, Any]:
    """One row of the table."""
    model, x = build(name, samples, size)
    space = Space(
        kernel=bits(2, 8, 16, alpha="auto"),
        bias=bits(2, 16, alpha="auto_po2"),
        activation=bits(2, 8, 16, alpha="auto_po2"),
    )
    started = time.perf_counter()
    network = ElasticNetwork(model, space, x)
    network.set_config(None)
    seconds = time.perf_counter() - started
    expected = np.asarray(model(x, training=False))  # once: not worth a graph
    spread = float(np.ptp(expected)) or 1.0
    row: dict[str, Any] = {
        "model": name,
        "layers": len(model.layers),
        "sites": len(network.space.sites),
        "seconds": seconds,
        "difference": float(np.abs(network.model.predict_on_batch(x) - expected).max()) / spread,
    }
    reference = network.model.predict_on_batch(x)
    silent = []
    for site in network.space.sites:
        lowered = network.quantizer(site).spec
        lowered.assign(encode(QuantizerSpec(2, network.space.menus[site].specs[0].alpha)))
        if np.abs(network.model.predict_on_batch(x) - reference).max() <= 1e-6 * float(np.ptp(reference)):
            silent.append(site)
        lowered.assign(encode(None))
    row |= {"sites_in_effect": len(network.space.sites) - len(silent), "without_effect": silent}
    config = network.space.uniform(8)
    network.set_config(config)
    split = Split(x, np.arange(samples) % CLASSES)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.keras"
        write_keras(network, config, file)
        verification = verify(network, config, KerasRuntime(file).model, Data(split, split, split), split)
    row |= {"export_difference": verification.largest_difference, "export_boundary": verification.boundary_samples}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.model.compile(keras.optimizers.SGD(1e-3), loss, jit_compile=False)
    weights = network.model.trainable_variables
    before = [v.numpy() for v in weights]
    value = float(network.model.train_on_batch(x, split.y))
    moved = sum(not np.array_equal(v.numpy(), b) for v, b in zip(weights, before, strict=True))
    return row | {"loss": value, "weights": len(before), "weights_moved": moved}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as `RESULTS.md`."""
    heads = ["model", "layers", "sites", "seconds", "max difference", "sites in effect", "weights trained", "export"]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for row in rows:
        lines.append(
            f"| {row['model']} | {row['layers']} | {row['sites']} | {row['seconds']:.1f} | {row['difference']:.1e} | "
            f"{row['sites_in_effect']} of {row['sites']} | {row['weights_moved']} of {row['weights']} | "
            f"{row['export_difference']:.1e} |"
        )
    notes = [
        f"- {row['model']}: without effect at 2 bits: {', '.join(row['without_effect'])}"
        for row in rows
        if row["without_effect"]
    ]
    text = __doc__.split("\n\n")[2].replace("\n", " ") if __doc__ else ""
    made = (
        "Made by `python benchmarks/convert.py NAMES --write studies/coverage`, at several times, on 2 cores of "
        "shared virtual machines, not all of one kind, where other work ran beside it: the seconds are upper bounds."
    )
    return "\n".join(["# Converted architectures", "", text.strip(), "", made, "", *lines, "", *notes]).rstrip() + "\n"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Convert models of keras.applications.")
    parser.add_argument("models", nargs="*", help=f"names, for instance {MODELS[1]}")
    parser.add_argument("--all", action="store_true", help="all of the table")
    parser.add_argument("--write", type=Path, help="folder for records.json and RESULTS.md; rows kept there stay")
    arguments = parser.parse_args()
    names = list(MODELS) if arguments.all else arguments.models
    if not names:
        parser.error("name models, or give --all")
    records = arguments.write / "records.json" if arguments.write else None
    rows = {row["model"]: row for row in json.loads(records.read_text())} if records and records.exists() else {}
    for name in names:
        row = converted(name)
        print(json.dumps(row), flush=True)
        rows[name] = row
        if records:
            records.parent.mkdir(parents=True, exist_ok=True)
            ordered = sorted(rows.values(), key=lambda r: MODELS.index(r["model"]) if r["model"] in MODELS else 99)
            records.write_text(json.dumps(ordered, indent=1) + "\n")
            (records.parent / "RESULTS.md").write_text(table(ordered))
        keras.utils.clear_session()
    sys.stdout.flush()


if __name__ == "__main__":
    main()
