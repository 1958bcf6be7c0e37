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


def average_pool(x: "keras.KerasTensor") -> "keras.KerasTensor":
    """Append the layer `pool`, the average over the whole map.

    Args:
        x: feature map, shape (batch, height, width, channels).

    Returns:
        A tensor of shape (batch, 1, 1, channels).
    """
    import keras

    return keras.layers.AveragePooling2D((x.shape[1], x.shape[2]), name="pool")(x)
