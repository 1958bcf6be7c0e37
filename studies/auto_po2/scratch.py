"""Train MobileNetV1 and ResNet-8 from random weights as real QKeras layers, flat: adds its runs to `scratch.json`.

    MPSEARCH_DATA=… python studies/auto_po2/scratch.py        # all runs that aren't there yet

This is the setting in which the failure was reported: BatchNormalization beside the convolutions, not folded, so that
nothing but L2 and the gradients decides how large kernels are. Kernels alone are quantized, so that nothing else can be
the cause. Images are CIFAR-10's, 32×32: its ten classes for ResNet-8, animals against vehicles for MobileNetV1 (60 %
are animals, which is what a model that has learned nothing gets).
"""

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FILE = HERE / "scratch.json"
RULES = ("float", "QKeras auto", "QKeras auto_po2, integer = bits", "QKeras auto_po2, integer = 0", "best power of two")


@dataclass(frozen=True)
class Run:
    """A training: model, rule for scales, bits, L2 of kernels."""

    model: str
    rule: str
    bits: int
    l2: float


def plan() -> list[Run]:
    """All runs, the most telling first."""
    return [
        Run(model, rule, bits, l2)
        for bits in (16, 8, 4)
        for l2 in (1e-4, 0.0)
        for model in ("mbv1", "resnet8")
        for rule in RULES
        if bits == 16 or (l2 > 0.0 and rule != "float")
    ]


def best_power_of_two(bits: int) -> Any:
    """A kernel quantizer for QKeras's layers: for each channel the power of two of the least squared error."""
    from keras import ops
    from qkeras import quantized_bits

    from mpsearch.quantizers.gradients import straight_through
    from mpsearch.quantizers.scales import auto_po2_scale, signed_limit, symmetric_codes

    class BestPowerOfTwo(quantized_bits):  # type: ignore[misc]  # qkeras has no types
        def __call__(self, w: Any) -> Any:
            # channels of a depthwise kernel come before its last axis, of size one
            axes = (0, 1, 3) if w.shape[-1] == 1 else tuple(range(len(w.shape) - 1))
            fixed, limit = ops.stop_gradient(ops.convert_to_tensor(w)), signed_limit(bits)
            scale = auto_po2_scale(fixed, limit, axes)
            return straight_through(w, ops.stop_gradient(symmetric_codes(fixed, scale, limit) * scale))

    return BestPowerOfTwo(bits, 0, 1, 1, alpha="auto_po2")


def quantizer(rule: str, bits: int) -> Any:
    """What a QKeras layer takes for its kernel; None for float."""
    from qkeras import quantized_bits

    return {
        "float": lambda: None,
        "QKeras auto": lambda: quantized_bits(bits, 0, 1, 1, alpha="auto"),
        "QKeras auto_po2, integer = bits": lambda: quantized_bits(bits, bits, 1, 1, alpha="auto_po2"),
        "QKeras auto_po2, integer = 0": lambda: quantized_bits(bits, 0, 1, 1, alpha="auto_po2"),
        "best power of two": lambda: best_power_of_two(bits),
    }[rule]()


def build(run: Run) -> Any:
    """The model in QKeras layers, random weights."""
    import keras
    import qkeras

    from mpsearch import models

    keras.utils.set_random_seed(0)
    source = models.mbv1((32, 32, 3)) if run.model == "mbv1" else models.resnet8()
    made = {
        "Conv2D": (qkeras.QConv2D, "kernel"),
        "DepthwiseConv2D": (qkeras.QDepthwiseConv2D, "depthwise"),
        "Dense": (qkeras.QDense, "kernel"),
    }

    def copy(layer: Any) -> Any:
        kind = type(layer).__name__
        if kind not in made or run.rule == "float":
            return type(layer).from_config(layer.get_config())
        build, kernel = made[kind]
        options = {k: v for k, v in layer.get_config().items() if k not in ("dtype", "groups", "quantization_config")}
        options = {k: v for k, v in options.items() if k not in ("lora_rank", "lora_alpha")}
        return build(**{**options, f"{kernel}_quantizer": quantizer(run.rule, run.bits)})

    model = keras.models.clone_model(source, clone_function=copy)
    for layer in model.layers:
        for variable in layer.trainable_variables:
            if len(variable.shape) > 1:
                variable.regularizer = keras.regularizers.L2(run.l2) if run.l2 else None
    return model


def kernels(model: Any) -> list[tuple[Any, Any]]:
    """Float and quantized values of each kernel."""
    import numpy as np

    found = []
    for layer in model.layers:
        kernel = getattr(layer, "depthwise_kernel", None)
        kernel = getattr(layer, "kernel", None) if kernel is None else kernel
        if kernel is not None and len(kernel.shape) > 1:
            quantize = getattr(layer, "depthwise_quantizer_internal", None)
            quantize = getattr(layer, "kernel_quantizer_internal", None) if quantize is None else quantize
            values = np.asarray(kernel.numpy(), np.float64)
            found.append((values, values if quantize is None else np.asarray(quantize(kernel), np.float64)))
    return found


def state(model: Any) -> dict[str, Any]:
    """Zeros and noise of all kernels together, layers of zeros, and the median layer's largest weight."""
    import numpy as np

    pairs = kernels(model)
    w, q = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in (0, 1))
    noise = float(np.sum((w - q) ** 2))
    return {
        "zeros": round(float(np.mean(q == 0.0)), 4),
        "dead_layers": sum(not np.any(pair[1]) for pair in pairs),
        "snr_db": None if noise == 0.0 else round(10.0 * float(np.log10(np.sum(w**2) / noise)), 1),
        "largest": round(float(np.median([np.abs(pair[0]).max() for pair in pairs])), 4),
    }


def trained(run: Run, epochs: int = 12, train: int = 5000, validation: int = 2000) -> dict[str, Any]:
    """One training, as plain data."""
    import keras

    from mpsearch import datasets

    started = time.perf_counter()
    if run.model == "mbv1":
        data = datasets.cifar10_vww(train=train, validation=validation, size=32)
    else:
        data = datasets.cifar10(train=train, validation=validation)
    x, y, xv, yv = data.inputs(data.train.x), data.train.y, data.inputs(data.validation.x), data.validation.y
    model = build(run)
    model.compile(
        keras.optimizers.Adam(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False
    )
    curve = [state(model)]

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs = {name: round(float(value), 5) for name, value in (logs or {}).items()}
            curve.append({**logs, **state(self.model)})

    model.fit(x, y, batch_size=32, epochs=epochs, validation_data=(xv, yv), verbose=0, callbacks=[Watch()])
    row = {"run": asdict(run), "curve": curve, "seconds": round(time.perf_counter() - started, 1)}
    last = curve[-1]
    print(
        f"{run.model}, {run.rule}, {run.bits} bits, L2 {run.l2:g}: validation {last['val_accuracy']:.4f}, training "
        f"{last['accuracy']:.4f}, zeros {last['zeros']:.1%}, layers of zeros {last['dead_layers']}, SNR "
        f"{last['snr_db']} dB, {row['seconds']} s",
        flush=True,
    )
    return row


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=1000, help="trainings, at most")
    limit = parser.parse_args().limit
    rows = json.loads(FILE.read_text()) if FILE.exists() else []
    for run in [run for run in plan() if asdict(run) not in [row["run"] for row in rows]][:limit]:
        rows.append(trained(run))
        partial = FILE.with_suffix(".partial")
        partial.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
        os.replace(partial, FILE)


if __name__ == "__main__":
    main()
