"""EfficientNet-B0, with squeeze-and-excitation and swish."""

from typing import TYPE_CHECKING

from mpsearch.models.blocks import average_pool, bn, channels_of, squeeze_excite

if TYPE_CHECKING:
    import keras

# (expansion, channels, repeats, stride of the first, kernel size): Table 1 of the paper
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_SQUEEZED = 4  # times fewer channels of a block's input between squeeze and excitation


def efficientnetb0(
    input_shape: tuple[int, int, int] = (96, 96, 3), classes: int = 2, alpha: float = 1.0, drop: float = 0.2
) -> "keras.Model":
    """Build EfficientNet-B0: sixteen mobile inverted bottlenecks.

    Args:
        input_shape: height, width and channels of an image, pixels in [0, 1].
        classes: number of classes.
        alpha: width multiplier on the channels of every layer.
        drop: of the pooled features; and, growing with depth up to it, of whole residual branches.

    Returns:
        A model from (batch, height, width, channels) to class probabilities (batch, classes).

    Source: M. Tan, Q. Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural
    Networks, ICML 2019, Table 1; layer shapes as in `keras.applications`.
    """
    import keras

    def conv(x: "keras.KerasTensor", name: str, filters: int, kernel: int, strides: int) -> "keras.KerasTensor":
        return keras.layers.Conv2D(filters, kernel, strides=strides, padding="same", use_bias=False, name=name)(x)

    def swish(x: "keras.KerasTensor", name: str) -> "keras.KerasTensor":
        return keras.layers.Activation("swish", name=f"{name}_swish")(bn(x, name))

    inputs = keras.Input(input_shape, name="input")
    x = swish(conv(inputs, "conv_0", channels_of(32, alpha), 3, 2), "conv_0")
    width, block, blocks = channels_of(32, alpha), 0, sum(stage[2] for stage in _STAGES)
    for expansion, channels, repeats, first_stride, kernel in _STAGES:
        for repeat in range(repeats):
            block += 1
            name, strides = f"block_{block}", first_stride if repeat == 0 else 1
            expand, depthwise, project = f"{name}_expand", f"{name}_depthwise", f"{name}_project"
            y = x if expansion == 1 else swish(conv(x, expand, width * expansion, 1, 1), expand)
            options = {"strides": strides, "padding": "same", "use_bias": False, "name": depthwise}
            y = swish(keras.layers.DepthwiseConv2D(kernel, **options)(y), depthwise)
            y = squeeze_excite(y, name, max(1, width // _SQUEEZED), "swish", "sigmoid")
            y = bn(conv(y, project, channels_of(channels, alpha), 1, 1), project)
            if strides == 1 and width == channels_of(channels, alpha):
                rate = drop * (block - 1) / blocks
                y = keras.layers.Dropout(rate, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(y) if rate else y
                y = keras.layers.Add(name=f"{name}_add")([x, y])
            x, width = y, channels_of(channels, alpha)
    x = swish(conv(x, "conv_last", channels_of(1280, alpha), 1, 1), "conv_last")
    x = keras.layers.Flatten(name="flatten")(average_pool(x))
    x = keras.layers.Dropout(drop, name="pool_dropout")(x)
    x = keras.layers.Dense(classes, name="logits")(x)
    outputs = keras.layers.Activation("softmax", name="softmax")(x)
    return keras.Model(inputs, outputs, name="efficientnetb0")
