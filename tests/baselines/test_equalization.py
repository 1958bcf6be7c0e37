"""Cross-layer equalization: the same function, like ranges on both sides."""

import keras
import numpy as np
import pytest

from mpsearch.baselines.equalization import Pair, equalized, pairs_of
from mpsearch.network.canonical import canonical
from mpsearch.network.graph import graph_of


def layers_of_all_kinds():
    from keras import Input, Model, layers

    inputs = Input((8, 8, 3), name="input")
    x = layers.Conv2D(6, 3, activation="relu", name="conv")(inputs)
    x = layers.ZeroPadding2D(1, name="pad")(x)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="dw")(x)
    x = layers.LeakyReLU(0.1, name="leaky")(x)
    x = layers.AveragePooling2D(2, name="pool")(x)
    x = layers.Conv2D(4, 1, use_bias=False, name="pw")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.MaxPooling2D(2, name="max_pool")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(5, name="dense")(x)
    outputs = layers.Dense(3, name="logits")(x)
    return Model(inputs, outputs, name="kinds")


@pytest.fixture
def model(randomise):
    return randomise(layers_of_all_kinds())


def largest(kernel, axis):
    return np.abs(kernel).max(axis=tuple(i for i in range(kernel.ndim) if i != axis % kernel.ndim))


def test_the_network_computes_what_it_did(model):
    x = np.random.default_rng(0).normal(0, 1, (16, 8, 8, 3)).astype(np.float32)
    before = np.asarray(model(x))
    weights, pairs = equalized(graph_of(model))
    assert pairs == [Pair("conv", "dw"), Pair("dw", "pw"), Pair("pw", "dense"), Pair("dense", "logits")]
    for name, arrays in weights.items():
        assert not np.allclose(arrays[0], model.get_layer(name).get_weights()[0]), name
        model.get_layer(name).set_weights(arrays)
    after = np.asarray(model(x))
    assert np.abs(after - before).max() < 2e-5 * np.abs(before).max()


def test_both_sides_of_a_pair_have_the_same_ranges(model):
    weights, _ = equalized(graph_of(model))
    kernels = {name: arrays[0].astype(float) for name, arrays in weights.items()}
    dw = kernels["dw"]
    assert largest(kernels["conv"], -1) == pytest.approx(largest(dw, 2), rel=1e-3)
    assert largest(dw.reshape(3, 3, 12), -1) == pytest.approx(largest(kernels["pw"], 2), rel=1e-3)
    assert largest(kernels["pw"], -1) == pytest.approx(largest(kernels["dense"].reshape(1, 4, 5), 1), rel=1e-3)
    assert largest(kernels["dense"], -1) == pytest.approx(largest(kernels["logits"], 0), rel=1e-3)


def test_channels_whose_kernel_is_zero_stay(model):
    conv = model.get_layer("conv")
    kernel, bias = conv.get_weights()
    kernel[..., 2] = 0.0
    conv.set_weights([kernel, bias])
    weights, _ = equalized(graph_of(model))
    assert weights["conv"][1][2] == bias[2]
    assert all(np.isfinite(w).all() for arrays in weights.values() for w in arrays)


@pytest.mark.parametrize(
    "between",
    [
        lambda x: keras.layers.ReLU(6.0)(x),
        lambda x: keras.layers.Activation("tanh")(x),
        lambda x: keras.layers.Activation(lambda y: y * y)(x),
        lambda x: keras.layers.Add()([x, keras.layers.Conv2D(4, 1, name="other")(x)]),
        lambda x: keras.layers.Reshape((16, 8, 2))(x),
        lambda x: x + 1.0,
    ],
)
def test_nothing_is_equalized_through_what_a_factor_does_not_go_through(between):
    inputs = keras.Input((8, 8, 3))
    x = between(keras.layers.Conv2D(4, 1, name="a")(inputs))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1, name="b")(x))
    assert Pair("a", "b") not in pairs_of(graph_of(model))


def test_a_layer_that_others_read_or_that_is_an_output_or_shared_is_left_alone():
    inputs = keras.Input((8,))
    shared = keras.layers.Dense(8, name="shared")
    first = keras.layers.Dense(8, name="first")(inputs)
    second = keras.layers.Dense(8, name="second")(first)
    model = keras.Model(inputs, [first, shared(shared(second))])
    assert pairs_of(graph_of(model)) == []


def test_in_mobilenet_v1_all_neighbours_are_pairs():
    from mpsearch import models

    graph = graph_of(canonical(models.mbv1()))
    assert len(pairs_of(graph)) == 27  # 28 layers with kernels in a chain


def test_grouped_convolutions_are_left_alone():
    inputs = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(4, 1, name="a")(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(4, 1, groups=2, name="b")(x))
    assert pairs_of(graph_of(model)) == []
