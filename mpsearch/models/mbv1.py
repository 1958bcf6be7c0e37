"""MobileNetV1 of MLPerf Tiny, for visual wake words."""

from typing import TYPE_CHECKING

from mpsearch.models.blocks import average_pool, bn, relu

if TYPE_CHECKING:
    import keras

# (channels at width 1, stride) of the thirteen depthwise separable convolutions: Table 1 of the paper
SEPARABLE = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *(((512, 1),) * 5),
    (1024, 2),
    (1024, 1),
)


def mbv1(input_shape: tuple[int, int, int] = (96, 96, 3), classes: int = 2, alpha: float = 0.25) -> "keras.Model":
    """Build MLPerf Tiny's MobileNetV1: a convolution, then thirteen depthwise separable ones.

    Layers stand in the original's order, so that its weight file loads as it is.

    Args:
        input_shape: height, width and channels of an image, pixels in [0, 1].
        classes: number of classes.
        alpha: width multiplier on the channels of every layer.

    Returns:
        A model from (batch, height, width, channels) to class probabilities (batch, classes).

    Source: A. Howard et al., MobileNets: Efficient Convolutional Neural Networks for Mobile
    Vision Applications, arXiv:1704.04861, Table 1; C. Banbury et al., MLPerf Tiny Benchmark,
    NeurIPS 2021; `training/visual_wake_words/vww_model.py` of github.com/mlcommons/tiny.
    """
    import keras

    options = {"padding": "same", "kernel_initializer": "he_normal"}

    def l2() -> "keras.regularizers.Regularizer":
        return keras.regularizers.L2(1e-4)

    inputs = keras.Input(input_shape, name="input")
    x = keras.layers.Conv2D(int(32 * alpha), 3, strides=2, kernel_regularizer=l2(), name="conv_0", **options)(inputs)
    x = relu(bn(x, "conv_0"), "conv_0")
    for block, (channels, strides) in enumerate(SEPARABLE, start=1):
        dw, pw = f"dw_{block}", f"pw_{block}"
        x = keras.layers.DepthwiseConv2D(
            3, strides=strides, padding="same", depthwise_initializer="he_normal", depthwise_regularizer=l2(), name=dw
        )(x)
        x = relu(bn(x, dw), dw)
        x = keras.layers.Conv2D(int(channels * alpha), 1, kernel_regularizer=l2(), name=pw, **options)(x)
        x = relu(bn(x, pw), pw)
    x = keras.layers.Flatten(name="flatten")(average_pool(x))
    x = keras.layers.Dense(classes, name="logits")(x)
    outputs = keras.layers.Activation("softmax", name="softmax")(x)
    return keras.Model(inputs, outputs, name="mbv1")
