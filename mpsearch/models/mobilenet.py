"""MobileNet as `keras.applications` has it, with a pooled classifier."""

from typing import TYPE_CHECKING

from mpsearch.models.blocks import average_pool, bn, relu
from mpsearch.models.mbv1 import SEPARABLE

if TYPE_CHECKING:
    import keras


def mobilenet(input_shape: tuple[int, int, int] = (32, 32, 3), classes: int = 10, alpha: float = 1.0) -> "keras.Model":
    """Build MobileNet without biases, with ReLU6 and explicit padding: 3,239,114 parameters by default.

    Args:
        input_shape: height and width, at least 32, and channels of an image, pixels in [0, 1].
        classes: number of classes.
        alpha: width multiplier on the channels of every layer.

    Returns:
        A model from (batch, height, width, channels) to class probabilities (batch, classes).

    Source: A. Howard et al., MobileNets: Efficient Convolutional Neural Networks for Mobile
    Vision Applications, arXiv:1704.04861, Table 1; layer shapes as in `keras.applications`.
    """
    import keras

    def bn_relu6(x: "keras.KerasTensor", name: str) -> "keras.KerasTensor":
        return relu(bn(x, name), name, 6.0)

    inputs = keras.Input(input_shape, name="input")
    x = keras.layers.Conv2D(int(32 * alpha), 3, strides=2, padding="same", use_bias=False, name="conv_0")(inputs)
    x = bn_relu6(x, "conv_0")
    for block, (channels, strides) in enumerate(SEPARABLE, start=1):
        dw, pw = f"dw_{block}", f"pw_{block}"
        padding = "same"
        if strides == 2:
            x, padding = keras.layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"pad_{block}")(x), "valid"
        x = keras.layers.DepthwiseConv2D(3, strides=strides, padding=padding, use_bias=False, name=dw)(x)
        x = bn_relu6(x, dw)
        x = keras.layers.Conv2D(int(channels * alpha), 1, padding="same", use_bias=False, name=pw)(x)
        x = bn_relu6(x, pw)
    x = keras.layers.Dropout(1e-3, name="pool_dropout")(average_pool(x))
    x = keras.layers.Conv2D(classes, 1, name="logits")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    outputs = keras.layers.Activation("softmax", name="softmax")(x)
    return keras.Model(inputs, outputs, name="mobilenet")
