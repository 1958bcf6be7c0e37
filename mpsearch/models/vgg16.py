"""VGG16 with a small head, for images of 32x32."""

from typing import TYPE_CHECKING

from mpsearch.models.blocks import relu

if TYPE_CHECKING:
    import keras

_STACKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # (filters, convolutions): column D of Table 1


def vgg16(
    input_shape: tuple[int, int, int] = (32, 32, 3), classes: int = 10, units: int = 128, alpha: float = 1.0
) -> "keras.Model":
    """Build VGG16's convolutions, a Dense layer and a classifier: 14,781,642 parameters by default.

    Args:
        input_shape: height and width, at least 32, and channels of an image, pixels in [0, 1].
        classes: number of classes.
        units: of the Dense layer, in place of the paper's two of 4096.
        alpha: width multiplier on the filters.

    Returns:
        A model from (batch, height, width, channels) to class probabilities (batch, classes).

    Source: K. Simonyan, A. Zisserman, Very Deep Convolutional Networks for Large-Scale Image
    Recognition, ICLR 2015, Table 1.
    """
    import keras

    x = inputs = keras.Input(input_shape, name="input")
    for stack, (filters, convolutions) in enumerate(_STACKS, start=1):
        for index in range(1, convolutions + 1):
            name = f"conv_{stack}_{index}"
            x = relu(keras.layers.Conv2D(int(filters * alpha), 3, padding="same", name=name)(x), name)
        x = keras.layers.MaxPooling2D(2, name=f"max_pool_{stack}")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = relu(keras.layers.Dense(units, name="dense")(x), "dense")
    x = keras.layers.Dense(classes, name="logits")(x)
    outputs = keras.layers.Activation("softmax", name="softmax")(x)
    return keras.Model(inputs, outputs, name="vgg16")
