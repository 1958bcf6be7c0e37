"""Small models for exports, and what the tests of all formats need of them."""

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import Input, layers

from mpsearch.config import Config
from mpsearch.export.program import Program
from mpsearch.menu import bits
from mpsearch.network.elastic import ElasticNetwork
from mpsearch.network.graph import submodel
from mpsearch.space import Space
from tests.conftest import build_small_model, randomise


def gated() -> keras.Model:
    """Functions that don't only clip, merges of every kind, and layers that move values."""
    inputs = Input((12, 12, 3), name="input")
    x = layers.Rescaling(2.0, -0.5, name="rescale")(inputs)
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="stem")(x)
    x = layers.Activation("swish", name="stem_swish")(x)
    a = layers.Conv2D(8, 3, padding="same", groups=2, activation="tanh", name="grouped")(x)
    b = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=1, activation="hard_swish", name="dw")(x)
    x = layers.Concatenate(name="both")([a, b])
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    gate = layers.Conv2D(16, 1, activation="sigmoid", name="excite")(gate)
    x = layers.Multiply(name="scaled")([x, gate])
    c = layers.Conv2D(8, 1, activation="relu6", name="c")(x)
    d = layers.Conv2D(8, 1, activation="leaky_relu", name="d")(x)
    x = layers.Average(name="mean")([layers.Maximum(name="most")([c, d]), layers.Subtract(name="less")([c, d])])
    x = layers.UpSampling2D(2, name="up")(layers.Cropping2D(1, name="crop")(x))
    x = layers.AveragePooling2D(2, name="pool")(x)
    x = layers.Reshape((16, 8), name="sequence")(x)
    x = layers.Conv1D(8, 3, padding="causal", activation="elu", name="causal")(x)
    x = layers.BatchNormalization(name="kept")(layers.Permute((2, 1), name="turn")(x))
    x = layers.GlobalMaxPooling1D(name="top")(x)
    x = layers.Dense(5, name="logits")(layers.Dropout(0.2, name="drop")(x))
    return randomise(keras.Model(inputs, layers.Softmax(name="softmax")(x), name="gated"), seed=5)


def plain() -> keras.Model:
    """The small model of all tests."""
    return build_small_model()


MODELS = {"plain": plain, "gated": gated}


def network_of(
    model: keras.Model, alpha: str, widths: tuple[int, ...] = (3, 4, 6, 8, 16), biases: tuple[int, ...] = (16, 31)
) -> ElasticNetwork:
    """The elastic network of a model, one scale mode for kernels and feature maps."""
    x = inputs_of(model, 64)
    space = Space(
        kernel=bits(*widths, alpha=alpha), bias=bits(*biases, alpha="auto_po2"), activation=bits(*widths, alpha=alpha)
    )
    return ElasticNetwork(model, space, x)


def configured(network: ElasticNetwork, seed: int) -> Config:
    """A random config, set."""
    config = network.space.sample(random.Random(seed))
    network.set_config(config)
    return config


def inputs_of(model: keras.Model, count: int, seed: int = 1) -> np.ndarray:
    """Random inputs of both signs, multiples of 1/256, so that float32 changes their unit exactly."""
    x = np.random.default_rng(seed).normal(0.2, 0.8, (count, *model.input_shape[1:]))
    return (np.round(256 * x) / 256).astype(np.float32)


def network_codes(network: ElasticNetwork, program: Any, x: np.ndarray) -> dict[str, np.ndarray]:
    """The network's codes at each quantized tensor of its program, int64."""
    tensors = list(program.sites)
    layers_of: list[Any] = [network.quantizer(program.sites[tensor]) for tensor in tensors]
    found = submodel(network.model, [layer.output for layer in layers_of])(x, training=False)
    return {
        tensor: np.round(np.asarray(values, np.float64) / program.grids[tensor].scale).astype(np.int64)
        for tensor, values in zip(tensors, found, strict=True)
    }


FINE = 2**40


def with_biases(program: Program, biases: Mapping[str, np.ndarray]) -> Program:
    """The program with the biases that a file has, which lie within half a unit of its sums."""
    changed = []
    for operation in program.operations:
        kernel, bias, grid = operation.kernel, operation.bias, program.grid(operation.inputs[0])
        if kernel is not None and bias is not None and grid is not None:
            unit = grid.scale * kernel.scale.astype(np.float64).reshape(-1)
            wanted = bias.codes * bias.scale.astype(np.float64)
            assert np.all(np.abs(biases[bias.site] - wanted) <= unit * (0.5 + 1e-3)), bias.site
            codes = np.round(biases[bias.site] * FINE).astype(np.int64)
            bias = replace(bias, bits=64, codes=codes, scale=np.float32([1 / FINE]), axis=None)
            operation = replace(operation, bias=bias)
        changed.append(operation)
    return replace(program, operations=tuple(changed))
