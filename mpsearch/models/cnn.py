"""A single convolution and a classifier: the smallest model of comparisons on Fashion-MNIST."""

from typing import TYPE_CHECKING

from mpsearch.models.blocks import relu

if TYPE_CHECKING:
    import keras


def cnn(input_shape: tuple[int, int, int] = (28, 28, 1), classes: int = 10, filters: int = 12) -> "keras.Model":
    """Build a 3x3 convolution, max-pooling and a Dense layer: 20,410 parameters by default.

    Args:
        input_shape: height, width and channels of an image, pixels in [0, 1].
        classes: number of classes.
        filters: of the convolution.

    Returns:
        A model from (batch, height, width, channels) to class probabilities (batch, classes).

    Source: the example network of TensorFlow's guide to quantization-aware training
    (tensorflow.org/model_optimization/guide/quantization/training_example).
    """
    import keras

    inputs = keras.Input(input_shape, name="input")
    x = relu(keras.layers.Conv2D(filters, 3, name="conv_0")(inputs), "conv_0")
    x = keras.layers.MaxPooling2D(2, name="max_pool")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    x = keras.layers.Dense(classes, name="logits")(x)
    outputs = keras.layers.Activation("softmax", name="softmax")(x)
    return keras.Model(inputs, outputs, name="cnn")
