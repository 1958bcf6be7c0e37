"""Fully connected autoencoder of MLPerf Tiny, for anomaly detection."""

from typing import TYPE_CHECKING

from mpsearch.models.blocks import bn, relu

if TYPE_CHECKING:
    import keras

_HIDDEN_UNITS = (128, 128, 128, 128, 8, 128, 128, 128, 128)


def fc_autoencoder(inputs: int = 640) -> "keras.Model":
    """Build MLPerf Tiny's autoencoder: four times 128, 8, four times 128, a linear reconstruction.

    Args:
        inputs: number of features, 5 frames x 128 mel bands of log energy (dB) by default.

    Returns:
        A model from (batch, inputs) to its reconstruction (batch, inputs).

    Source: Y. Koizumi et al., Description and Discussion on DCASE2020 Challenge Task 2, DCASE
    Workshop 2020 (the baseline); C. Banbury et al., MLPerf Tiny Benchmark, NeurIPS 2021;
    `training/anomaly_detection/keras_model.py` of github.com/mlcommons/tiny.
    """
    import keras

    features = keras.Input((inputs,), name="input")
    x = features
    for index, units in enumerate(_HIDDEN_UNITS):
        name = f"dense_{index}"
        x = relu(bn(keras.layers.Dense(units, name=name)(x), name), name)
    outputs = keras.layers.Dense(inputs, name=f"dense_{len(_HIDDEN_UNITS)}")(x)
    return keras.Model(features, outputs, name="fc_autoencoder")
