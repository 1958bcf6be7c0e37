"""A space file for tests: a tiny CNN on some of the digits; a trial takes a second."""

import keras

from mpsearch import Data, Space, Split, Task, Training, bits, datasets


def tiny_model():
    inputs = keras.Input((8, 8, 1), name="input")
    x = keras.layers.Conv2D(8, 3, strides=2, use_bias=False, name="conv")(inputs)
    x = keras.layers.BatchNormalization(momentum=0.9, name="conv_bn")(x)
    x = keras.layers.ReLU(name="conv_relu")(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu", name="dw")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(10, name="logits")(x)
    return keras.Model(inputs, keras.layers.Activation("softmax", name="softmax")(x), name="tiny")


def tiny_data():
    full = datasets.digits()
    train, validation, test = (
        split.head(n) for split, n in ((full.train, 256), (full.validation, 128), (full.test, 96))
    )
    return Data(Split(train.x, train.y), validation, test, name="tiny digits")


task = Task(
    model=tiny_model,
    data=tiny_data,
    training=Training(epochs=2, batch_size=32, learning_rate=2e-3),
    float_training=Training(epochs=6, batch_size=16, learning_rate=5e-3),
    finetuning=Training(epochs=3, batch_size=32, learning_rate=lambda epoch: 1e-3 * 0.5**epoch, patience=2),
)

space = Space(
    kernel=bits(2, 4, 8, alpha="auto"), bias=bits(8, 16, alpha="auto_po2"), activation=bits(4, 8, alpha="auto_po2")
)
space.skip("softmax")
