"""Run the real AutoQKeras on DS-CNN and spoken digits, and write its trace as JSON.

It needs an environment of its own, Python 3.11 with

    pip install "tensorflow==2.12.1" "qkeras==0.9.0" "keras-tuner==1.3.5" "numpy<1.24" "setuptools<70" \
        pyparsing scikit-learn networkx tqdm

and data and float weights that `vs_autoqkeras.py --write-task task.npz` writes, BatchNorms folded:

    python benchmarks/run_autoqkeras_ds_cnn.py task.npz --trials 80 --out autoqkeras_ds_cnn_seed0.json

`--float-only` prints what an epoch of the float model takes, the yardstick of `vs_autoqkeras.py`.

Each trial is trained from the float weights for 3 epochs with Adam, 2.5e-4, batch 100; its score is val_accuracy ·
(1 + δ) of its best epoch, with δ of 5 % for each halving against 16 bits everywhere, inputs and outputs 8. Searched:
kernels 4/8/16 (`auto`), biases 16/31 (`auto_po2`), ReLU outputs 4/8/16 (`quantized_relu(bits, 4)`). As in the recorded
runs on ResNet-8, two things favour AutoQKeras over its defaults: quantizers have integer = 0, without which `auto_po2`
makes zeros of most wide codes, and its Gaussian process starts after 20 random trials, not after three for each choice.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from qkeras.autoqkeras import AutoQKeras
from tensorflow import keras

RATE, BATCH = 2.5e-4, 100


def ds_cnn(weights):
    """The folded float model, its layers called as mpsearch's."""
    layers = keras.layers
    inputs = x = keras.Input((49, 10, 1), name="input")
    x = layers.Conv2D(64, (10, 4), strides=2, padding="same", name="conv_0")(x)
    x = layers.Activation("relu", name="conv_0_relu")(x)
    x = layers.Dropout(0.2, name="conv_0_dropout")(x)
    for block in range(1, 5):
        x = layers.DepthwiseConv2D(3, padding="same", name=f"dw_{block}")(x)
        x = layers.Activation("relu", name=f"dw_{block}_relu")(x)
        x = layers.Conv2D(64, 1, padding="same", name=f"pw_{block}")(x)
        x = layers.Activation("relu", name=f"pw_{block}_relu")(x)
    x = layers.Dropout(0.4, name="pool_dropout")(x)
    x = layers.AveragePooling2D(tuple(x.shape[1:3]), name="pool")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(10, name="logits")(x)
    model = keras.Model(inputs, layers.Activation("softmax", name="softmax")(x))
    for layer in model.layers:
        if layer.weights:
            layer.set_weights([weights[f"{layer.name}/kernel"], weights[f"{layer.name}/bias"]])
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", type=Path, help="data and weights")
    parser.add_argument("--trials", type=int, default=80)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("trace.json"))
    parser.add_argument("--float-only", action="store_true", help="print what a float epoch takes, and end")
    args = parser.parse_args()
    keras.utils.set_random_seed(args.seed)
    given = np.load(args.task)
    model = ds_cnn(given)

    def compile_float():  # the legacy optimizer: AutoQKeras shares one optimizer over all its models
        model.compile(keras.optimizers.legacy.Adam(RATE), "sparse_categorical_crossentropy", metrics=["accuracy"])

    compile_float()
    x, y, xv, yv = (given[name] for name in ("train_x", "train_y", "validation_x", "validation_y"))
    float_accuracy = model.evaluate(xv, yv, verbose=0)[1]
    train = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x), seed=args.seed).batch(BATCH).prefetch(2)
    validation = tf.data.Dataset.from_tensor_slices((xv, yv)).batch(BATCH).cache()
    weights, epochs = model.get_weights(), []
    for _ in range(4):  # the first one traces
        started = time.time()
        model.fit(train, epochs=1, verbose=0)
        epochs.append(time.time() - started)
    if args.float_only:
        print(json.dumps({"float_accuracy": float_accuracy, "float_epoch_seconds": min(epochs[1:])}))
        return
    model.set_weights(weights)
    compile_float()

    def fixed(bits, alpha):
        return f"quantized_bits({bits},0,1,1,alpha='{alpha}')"

    menus = {
        "kernel": {fixed(b, "auto"): b for b in (4, 8, 16)},
        "bias": {fixed(b, "auto_po2"): b for b in (16, 31)},
        "activation": {f"quantized_relu({b},4)": b for b in (4, 8, 16)},
        "linear": {"quantized_bits(8,8,1,1,alpha=1.0)": 8},
    }
    limit = {
        "Dense": [16, 31, 16], "Conv2D": [16, 31, 16], "DepthwiseConv2D": [16, 31, 16], "Activation": [16]
    }  # fmt: skip
    counted = {"default": ["parameters", "activations"]}
    goal = {
        "type": "bits",
        "params": {
            "delta_p": 5.0, "delta_n": 5.0, "rate": 2.0, "stress": 1.0, "input_bits": 8, "output_bits": 8,
            "ref_bits": 16, "config": counted,
        },
    }  # fmt: skip
    rows, started = [], time.time()
    result = {
        "float_accuracy": float_accuracy,
        "float_epoch_seconds": min(epochs[1:]),
        "seed": args.seed,
        "epochs_per_trial": args.epochs,
        "rows": rows,
    }

    class Trace(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            rows.append({"t": time.time() - started, "epoch": epoch, **{k: float(v) for k, v in logs.items()}})
            args.out.write_text(json.dumps(result))

    search = AutoQKeras(
        model, metrics=["acc"], goal=goal, output_dir=tempfile.mkdtemp(), mode="bayesian", transfer_weights=True,
        quantization_config=menus, limit=limit, tune_filters="none", tune_filters_exceptions="",
        max_trials=args.trials, num_initial_points=20, seed=args.seed,
    )  # fmt: skip
    search.fit(train, validation_data=validation, epochs=args.epochs, callbacks=[Trace()], verbose=0)
    result["seconds"] = time.time() - started
    result["trials"] = [
        {
            "id": trial.trial_id,
            "score": trial.score,
            "config": trial.hyperparameters.values,
            "metrics": {name: history.get_best_value() for name, history in trial.metrics.metrics.items()},
        }
        for trial in search.tuner.oracle.get_best_trials(args.trials)
    ]
    args.out.write_text(json.dumps(result))
    print(f"{result['seconds']:.0f} s, best score {result['trials'][0]['score']:.4f}")


if __name__ == "__main__":
    main()
