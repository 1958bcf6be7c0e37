"""MobileNetV2 with an expansion in every bottleneck, for two-class images of 96x96."""

from typing import TYPE_CHECKING

from mpsearch.models.blocks import average_pool, bn, channels_of, relu

if TYPE_CHECKING:
    import keras

# (expansion factor t, channels c, repeats n, stride s of the first): Table 2 of the paper.
_BOTTLENECKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_MOMENTUM = 0.9


def mbv2(input_shape: tuple[int, int, int] = (96, 96, 3), classes: int = 2, alpha: float = 1.0) -> "keras.Model":
    """Build MobileNetV2 as Chen's thesis quantizes it: 54 convolutions, the classifier among them.

    It departs from the paper's network, and from `keras.applications`, in that the first
    bottleneck (t = 1) keeps its 1x1 expansion, 32 to 32 channels, and in that the classifier
    is a 1x1 convolution on the pooled map. BatchNormalization has a momentum of 0.9
    (`keras.applications`: 0.999), so that its averages keep up with short training.

    Args:
        input_shape: height, width and channels of an image, pixels in [0, 1].
        classes: number of classes.
        alpha: width multiplier on the channels of every layer but the last convolution, which
            grows above 1280 channels for `alpha` > 1 only.

    Returns:
        A model from (batch, height, width, channels) to class probabilities (batch, classes).

    Source: M. Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR
    2018, Table 2; Y. Chen, Efficient Mixed-Precision Quantization of Deep Neural Networks for
    Edge Applications, master's thesis, Politecnico di Torino, 2024, section 3.7.2.
    """
    import keras

    def conv(x: "keras.KerasTensor", name: str, filters: int, kernel: int, strides: int) -> "keras.KerasTensor":
        return keras.layers.Conv2D(filters, kernel, strides=strides, padding="same", use_bias=False, name=name)(x)

    def bn_relu6(x: "keras.KerasTensor", name: str) -> "keras.KerasTensor":
        return relu(bn(x, name, _MOMENTUM), name, 6.0)

    inputs = keras.Input(input_shape, name="input")
    filters = channels_of(32, alpha)
    x = bn_relu6(conv(inputs, "conv_0", filters, 3, 2), "conv_0")

    block = 0
    for expansion, width, repeats, first_stride in _BOTTLENECKS:
        for repeat in range(repeats):
            block += 1
            strides = first_stride if repeat == 0 else 1
            name = f"block_{block}"
            expand, depthwise, project = f"{name}_expand", f"{name}_depthwise", f"{name}_project"
            y = bn_relu6(conv(x, expand, filters * expansion, 1, 1), expand)
            y = keras.layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False, name=depthwise)(y)
            y = conv(bn_relu6(y, depthwise), project, channels_of(width, alpha), 1, 1)
            y = bn(y, project, _MOMENTUM)
            x = keras.layers.Add(name=f"{name}_add")([x, y]) if repeat > 0 else y
            filters = channels_of(width, alpha)

    x = bn_relu6(conv(x, "conv_last", channels_of(1280, max(alpha, 1.0)), 1, 1), "conv_last")
    x = keras.layers.Conv2D(classes, 1, name="logits")(average_pool(x))
    x = keras.layers.Flatten(name="flatten")(x)
    outputs = keras.layers.Activation("softmax", name="softmax")(x)
    return keras.Model(inputs, outputs, name="mbv2")
