"""ResNet-8 of MLPerf Tiny, for image classification."""

from typing import TYPE_CHECKING

from mpsearch.models.blocks import average_pool, bn, relu

if TYPE_CHECKING:
    import keras


def resnet8(input_shape: tuple[int, int, int] = (32, 32, 3), classes: int = 10, *, l2: float = 1e-4) -> "keras.Model":
    """Build MLPerf Tiny's ResNet-8: three residual stacks of 16, 32 and 64 filters.

    The convolutions of the shortcuts (conv_5, conv_8) have no BatchNormalization, as in the
    original. Layers stand in the original's order, so that its weight files load as they are.

    Args:
        input_shape: height, width and channels of an image, pixels in [0, 1].
        classes: number of classes.
        l2: penalty on the squares of kernels; 0: none.

    Returns:
        A model from (batch, height, width, channels) to class probabilities (batch, classes).

    Source: C. Banbury et al., MLPerf Tiny Benchmark, NeurIPS 2021 (Datasets and Benchmarks);
    `resnet_v1_eembc`, with 16 filters, in `training/image_classification/keras_model.py` of
    github.com/mlcommons/tiny.
    """
    import keras

    def conv(x: "keras.KerasTensor", name: str, filters: int, kernel: int, strides: int) -> "keras.KerasTensor":
        return keras.layers.Conv2D(
            filters,
            kernel,
            strides=strides,
            padding="same",
            kernel_initializer="he_normal",
            kernel_regularizer=keras.regularizers.L2(l2) if l2 else None,
            name=name,
        )(x)

    inputs = keras.Input(input_shape, name="input")
    x = relu(bn(conv(inputs, "conv_0", 16, 3, 1), "conv_0"), "conv_0")

    y = relu(bn(conv(x, "conv_1", 16, 3, 1), "conv_1"), "conv_1")
    y = bn(conv(y, "conv_2", 16, 3, 1), "conv_2")
    x = keras.layers.Add(name="add")([x, y])
    x = relu(x, "add")

    for stack, filters in ((1, 32), (2, 64)):
        first, second, shortcut = (f"conv_{3 * stack + i}" for i in range(3))
        y = relu(bn(conv(x, first, filters, 3, 2), first), first)
        y = bn(conv(y, second, filters, 3, 1), second)
        x = conv(x, shortcut, filters, 1, 2)
        x = keras.layers.Add(name=f"add_{stack}")([x, y])
        x = relu(x, f"add_{stack}")

    x = keras.layers.Flatten(name="flatten")(average_pool(x))
    x = keras.layers.Dense(classes, kernel_initializer="he_normal", name="logits")(x)
    outputs = keras.layers.Activation("softmax", name="softmax")(x)
    return keras.Model(inputs, outputs, name="resnet8")
