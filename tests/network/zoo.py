"""Small models that together have every kind of layer and of graph; a name to (builds it, its inputs' shapes)."""

import keras
import numpy as np
from keras import Input, layers, ops

from mpsearch import Weight, register_layer


def one_dimension():
    x = inputs = Input((24, 3), name="input")
    x = layers.Conv1D(6, 3, padding="same", name="conv")(x)
    x = layers.BatchNormalization(name="conv_bn")(x)
    x = layers.LeakyReLU(name="leaky")(x)
    x = layers.SeparableConv1D(6, 3, depth_multiplier=2, activation="relu", name="separable")(x)
    x = layers.MaxPooling1D(2, name="pool")(x)
    x = layers.DepthwiseConv1D(3, name="dw")(x)
    x = layers.ELU(name="elu")(x)
    x = layers.Conv1D(6, 3, padding="causal", dilation_rate=2, activation="silu", name="causal")(x)
    x = layers.UpSampling1D(2, name="up")(x)
    x = layers.AveragePooling1D(2, name="average")(x)
    x = layers.GlobalMaxPooling1D(name="top")(x)
    return keras.Model(inputs, layers.Dense(4, name="logits")(x), name="one_dimension")


def two_dimensions():
    x = inputs = Input((12, 12, 3), name="input")
    x = layers.SeparableConv2D(6, 3, strides=2, padding="same", use_bias=False, name="separable")(x)
    x = layers.BatchNormalization(name="separable_bn")(x)
    a = layers.PReLU(shared_axes=[1, 2], name="prelu")(x)
    b = layers.Conv2DTranspose(6, 3, strides=2, padding="same", name="up")(a)
    b = layers.BatchNormalization(name="up_bn")(b)
    b = layers.Activation("gelu", name="up_gelu")(b)
    c = layers.UpSampling2D(2, name="nearest")(a)
    x = layers.Concatenate(name="concatenate")([b, c])
    x = layers.LayerNormalization(name="normalize")(x)
    x = layers.Conv2D(8, 3, activation="swish", groups=2, name="grouped")(x)
    d = layers.Conv2D(8, 1, activation="hard_swish", name="d")(x)
    e = layers.Conv2D(8, 1, activation="tanh", name="e")(x)
    x = layers.Average(name="mean")([layers.Maximum(name="max")([d, e]), layers.Subtract(name="less")([d, e])])
    gate = layers.GlobalMaxPooling2D(keepdims=True, name="squeeze")(x)
    gate = layers.Conv2D(8, 1, name="excite")(gate)
    gate = layers.Activation("hard_sigmoid", name="gate")(gate)
    x = layers.Multiply(name="gated")([x, gate])
    x = layers.UpSampling2D(2, interpolation="bilinear", name="bilinear")(x)
    x = layers.Cropping2D(1, name="crop")(layers.ZeroPadding2D(2, name="pad")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dense(4, name="logits")(x)
    return keras.Model(inputs, layers.Softmax(name="softmax")(x), name="two_dimensions")


def sequences():
    inputs = Input((6,), dtype="int32", name="words")
    x = layers.Embedding(20, 8, mask_zero=True, name="embedding")(inputs)
    x = layers.LSTM(6, return_sequences=True, name="lstm")(x)
    x = layers.GRU(5, return_sequences=True, name="gru")(x)
    x, state = layers.SimpleRNN(5, return_state=True, name="rnn")(x)
    x = layers.Add(name="sum")([x, state])
    return keras.Model(inputs, layers.Dense(3, name="logits")(x), name="sequences")


def operators():
    inputs = Input((8, 8, 3), name="input")
    x = layers.Normalization(mean=[0.4, 0.5, 0.6], variance=[0.1, 0.2, 0.3], name="normalization")(inputs)
    x = layers.Rescaling(2.0, offset=0.1, name="rescaling")(x)
    x = layers.Conv2D(6, 3, name="conv")(x)
    x = layers.BatchNormalization(name="conv_bn")(x)
    y = x * (layers.ReLU(6.0, name="ceiling")(x + 3.0) * (1.0 / 6.0))
    z = layers.Conv2D(6, 1, name="other")(y)
    x = ops.concatenate([y - z, ops.relu(z)], axis=-1)
    x = ops.mean(x, axis=(1, 2))
    return keras.Model(inputs, layers.Dense(4, name="logits")(x), name="operators")


def nested():
    x = image = Input((10, 10, 2), name="image")
    x = layers.Conv2D(6, 3, name="conv")(x)
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.ReLU(name="relu")(x)
    encoder = keras.Model(image, layers.Conv2D(4, 3, activation="relu", name="last")(x), name="encoder")
    head = keras.Sequential([Input((4,)), layers.Dense(6, activation="relu", name="hidden")], name="head")
    left, right = Input((10, 10, 2), name="left"), Input((10, 10, 2), name="right")
    pool, dense = layers.GlobalAveragePooling2D(name="pool"), layers.Dense(4, name="shared")
    a, b = (dense(pool(encoder(side))) for side in (left, right))
    distance = layers.Subtract(name="distance")([a, b])
    first = layers.Dense(3, name="first")(head(distance))
    second = layers.Dense(2, activation="sigmoid", name="second")(distance)
    return keras.Model({"left": left, "right": right}, {"first": first, "second": second}, name="nested")


def batch_norms():
    x = inputs = Input((8, 8, 3), name="input")
    x = layers.BatchNormalization(name="before")(x)
    a = layers.Conv2D(4, 3, padding="same", name="a")(x)
    b = layers.Conv2D(4, 1, name="b")(x)
    x = layers.Add(name="sum")([a, b])
    x = layers.ReLU(name="sum_relu")(layers.BatchNormalization(name="after")(x))
    shared = layers.BatchNormalization(scale=False, name="shared")
    x = layers.Concatenate(name="both")([shared(layers.Conv2D(4, 1, name=name)(x)) for name in ("c", "d")])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(4, name="logits")(x), name="batch_norms")


@keras.saving.register_keras_serializable("zoo")
class Gate(keras.layers.Layer):
    """y = x · sigmoid(gain · x + shift), gain and shift per channel."""

    def build(self, shape):
        self.gain = self.add_weight(name="gain", shape=(shape[-1],), initializer="ones")
        self.shift = self.add_weight(name="shift", shape=(shape[-1],), initializer="zeros")

    def call(self, x):
        return x * ops.sigmoid(self.gain * x + self.shift)


register_layer(Gate, weights=[Weight("gain", "kernel"), Weight("shift", "bias")])


@keras.saving.register_keras_serializable("zoo")
def shifted(x):
    """An activation function of one's own that is negative where x isn't."""
    return x - 0.2


def custom():
    x = inputs = Input((8, 8, 3), name="input")
    x = Gate(name="gate")(layers.Conv2D(4, 3, name="conv")(x))
    x = layers.Activation(shifted, name="shifted")(layers.Conv2D(4, 1, activation="relu", name="other")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(4, name="logits")(x), name="custom")


ZOO = {
    build.__name__: build
    for build in (one_dimension, two_dimensions, sequences, operators, nested, batch_norms, custom)
}


def samples(model, count=16, seed=0):
    """Random inputs of a model, in its own structure: values of both signs, or words."""
    rng = np.random.default_rng(seed)

    def draw(tensor):
        shape = (count, *tensor.shape[1:])
        words = not keras.backend.is_float_dtype(tensor.dtype)
        return rng.integers(0, 8, shape).astype("int32") if words else rng.normal(0, 1, shape).astype("float32")

    return keras.tree.map_structure(draw, model._inputs_struct)


def outputs(model, x):
    """A model's outputs, flat, as arrays."""
    return [np.asarray(tensor, np.float64) for tensor in keras.tree.flatten(model(x, training=False))]
