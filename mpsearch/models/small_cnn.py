"""A small CNN that has one of every kind of layer, for quick examples and tests."""

from typing import TYPE_CHECKING

from mpsearch.models.blocks import bn, relu

if TYPE_CHECKING:
    import keras

_MOMENTUM = 0.9  # of BatchNormalization: with 0.99, 400 steps of training leave its averages far off


def small_cnn(input_shape: tuple[int, int, int] = (8, 8, 1), classes: int = 10) -> "keras.Model":
    """Build a CNN of 15 thousand parameters for scikit-learn's digits.

    Convolution, depthwise and pointwise convolution, a residual convolution, average pooling
    over 4x4, and two dense layers; one of each kind. It follows no paper.

    Args:
        input_shape: height, width (at least 4 each) and channels of an image, pixels in [0, 1].
        classes: number of classes.

    Returns:
        A model from (batch, height, width, channels) to class probabilities (batch, classes).
    """
    import keras

    def bn_relu(x: "keras.KerasTensor", name: str) -> "keras.KerasTensor":
        return relu(bn(x, name, _MOMENTUM), name)

    inputs = keras.Input(input_shape, name="input")
    x = bn_relu(keras.layers.Conv2D(16, 3, padding="same", name="conv_0")(inputs), "conv_0")
    x = bn_relu(keras.layers.DepthwiseConv2D(3, padding="same", name="dw_1")(x), "dw_1")
    x = bn_relu(keras.layers.Conv2D(32, 1, name="pw_1")(x), "pw_1")
    y = keras.layers.Conv2D(32, 3, padding="same", name="conv_2")(x)
    y = bn(y, "conv_2", _MOMENTUM)
    x = keras.layers.Add(name="add")([x, y])
    x = relu(x, "add")
    x = keras.layers.AveragePooling2D(4, name="pool")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(32, name="dense_3")(x)
    x = relu(x, "dense_3")
    x = keras.layers.Dense(classes, name="logits")(x)
    outputs = keras.layers.Activation("softmax", name="softmax")(x)
    return keras.Model(inputs, outputs, name="small_cnn")
