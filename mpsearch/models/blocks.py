"""Blocks: the few layers that several models of this package have in common."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def bn(x: "keras.KerasTensor", layer: str, momentum: float = 0.99) -> "keras.KerasTensor":
    """Append BatchNormalization, named `<layer>_bn`.

    Args:
        x: output of the layer `layer`, shape (batch, ..., channels).
        layer: name of the convolution or Dense that made `x`.
        momentum: weight of the past in the moving averages, a batch.

    Returns:
        A tensor of `x`'s shape.
    """
    import keras

    return keras.layers.BatchNormalization(momentum=momentum, name=f"{layer}_bn")(x)


def relu(x: "keras.KerasTensor", layer: str, max_value: float | None = None) -> "keras.KerasTensor":
    """Append ReLU, named `<layer>_relu`.

    Args:
        x: what comes from `layer`, any shape.
        layer: name of the convolution, Dense or Add.
        max_value: where the ReLU saturates, 6.0 for ReLU6; None for nowhere.

    Returns:
        A tensor of `x`'s shape.
    """
    import keras

    return keras.layers.ReLU(max_value, name=f"{layer}_relu")(x)


def channels_of(channels: int, alpha: float) -> int:
    """`channels` x `alpha`, rounded to a multiple of 8, by 10 % down at most.

    Source: M. Sandler et al., MobileNetV2, CVPR 2018; the authors' `make_divisible`.
    """
    scaled = channels * alpha
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


def squeeze_excite(x: "keras.KerasTensor", block: str, squeezed: int, inner: str, outer: str) -> "keras.KerasTensor":
    """Append squeeze-and-excitation: channels of `x` times weights that follow from their averages.

    Args:
        x: feature map, shape (batch, height, width, channels).
        block: name of the block, with which the layers' names begin.
        squeezed: channels between the two 1x1 convolutions.
        inner, outer: activation functions behind them.

    Returns:
        A tensor of `x`'s shape.

    Source: J. Hu et al., Squeeze-and-Excitation Networks, CVPR 2018.
    """
    import keras

    y = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f"{block}_squeeze_pool")(x)
    y = keras.layers.Conv2D(squeezed, 1, name=f"{block}_squeeze")(y)
    y = keras.layers.Activation(inner, name=f"{block}_squeeze_{inner}")(y)
    y = keras.layers.Conv2D(x.shape[-1], 1, name=f"{block}_excite")(y)
    y = keras.layers.Activation(outer, name=f"{block}_excite_{outer}")(y)
    return keras.layers.Multiply(name=f"{block}_scale")([x, y])


def average_pool(x: "keras.KerasTensor") -> "keras.KerasTensor":
    """Append the layer `pool`, the average over the whole map.

    Args:
        x: feature map, shape (batch, height, width, channels).

    Returns:
        A tensor of shape (batch, 1, 1, channels).
    """
    import keras

    return keras.layers.AveragePooling2D((x.shape[1], x.shape[2]), name="pool")(x)
