"""MobileNetV3-Large, with squeeze-and-excitation and hard-swish."""

from typing import TYPE_CHECKING

from mpsearch.models.blocks import average_pool, bn, channels_of, relu, squeeze_excite

if TYPE_CHECKING:
    import keras

# (kernel size, expansion factor, channels, squeeze-and-excitation, function, stride): Table 1 of the paper
_BLOCKS = (
    (3, 1, 16, False, "relu", 1),
    (3, 4, 24, False, "relu", 2),
    (3, 3, 24, False, "relu", 1),
    (5, 3, 40, True, "relu", 2),
    (5, 3, 40, True, "relu", 1),
    (5, 3, 40, True, "relu", 1),
    (3, 6, 80, False, "hard_swish", 2),
    (3, 2.5, 80, False, "hard_swish", 1),
    (3, 2.3, 80, False, "hard_swish", 1),
    (3, 2.3, 80, False, "hard_swish", 1),
    (3, 6, 112, True, "hard_swish", 1),
    (3, 6, 112, True, "hard_swish", 1),
    (5, 6, 160, True, "hard_swish", 2),
    (5, 6, 160, True, "hard_swish", 1),
    (5, 6, 160, True, "hard_swish", 1),
)


def mobilenetv3large(
    input_shape: tuple[int, int, int] = (224, 224, 3), classes: int = 43, alpha: float = 1.0
) -> "keras.Model":
    """Build MobileNetV3-Large: fifteen bottlenecks, the classifier behind a layer of 1280 channels.

    Args:
        input_shape: height, width and channels of an image, pixels in [0, 1].
        classes: number of classes.
        alpha: width multiplier on the channels of every layer but the first and the last two.

    Returns:
        A model from (batch, height, width, channels) to class probabilities (batch, classes).

    Source: A. Howard et al., Searching for MobileNetV3, ICCV 2019, Table 1; layer shapes as in
    `keras.applications`.
    """
    import keras

    def conv(x: "keras.KerasTensor", name: str, filters: int, kernel: int, strides: int) -> "keras.KerasTensor":
        return keras.layers.Conv2D(filters, kernel, strides=strides, padding="same", use_bias=False, name=name)(x)

    def function(x: "keras.KerasTensor", name: str, kind: str) -> "keras.KerasTensor":
        if kind == "relu":
            return relu(x, name)
        return keras.layers.Activation("hard_swish", name=f"{name}_hard_swish")(x)

    inputs = keras.Input(input_shape, name="input")
    x = function(bn(conv(inputs, "conv_0", 16, 3, 2), "conv_0"), "conv_0", "hard_swish")
    width = 16
    for block, (kernel, expansion, channels, excite, kind, strides) in enumerate(_BLOCKS, start=1):
        name, wide = f"block_{block}", channels_of(width, expansion)
        expand, depthwise, project = f"{name}_expand", f"{name}_depthwise", f"{name}_project"
        y = x
        if block > 1:
            y = function(bn(conv(x, expand, wide, 1, 1), expand), expand, kind)
        options = {"strides": strides, "padding": "same", "use_bias": False, "name": depthwise}
        y = bn(keras.layers.DepthwiseConv2D(kernel, **options)(y), depthwise)
        y = function(y, depthwise, kind)
        if excite:
            y = squeeze_excite(y, name, channels_of(wide, 0.25), "relu", "hard_sigmoid")
        y = bn(conv(y, project, channels_of(channels, alpha), 1, 1), project)
        if strides == 1 and width == channels_of(channels, alpha):
            y = keras.layers.Add(name=f"{name}_add")([x, y])
        x, width = y, channels_of(channels, alpha)
    x = bn(conv(x, "conv_last", channels_of(width, 6), 1, 1), "conv_last")
    x = average_pool(function(x, "conv_last", "hard_swish"))
    x = keras.layers.Conv2D(1280, 1, name="features")(x)
    x = keras.layers.Dropout(0.2, name="pool_dropout")(function(x, "features", "hard_swish"))
    x = keras.layers.Conv2D(classes, 1, name="logits")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    outputs = keras.layers.Activation("softmax", name="softmax")(x)
    return keras.Model(inputs, outputs, name="mobilenetv3large")
