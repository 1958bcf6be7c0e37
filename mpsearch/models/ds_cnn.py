"""DS-CNN of MLPerf Tiny, for keyword spotting."""

from typing import TYPE_CHECKING

from mpsearch.models.blocks import average_pool, bn, relu

if TYPE_CHECKING:
    import keras


def ds_cnn(
    input_shape: tuple[int, int, int] = (49, 10, 1), classes: int = 12, *, softmax: bool = True, l2: float = 1e-4
) -> "keras.Model":
    """Build MLPerf Tiny's DS-CNN: one convolution, then four depthwise separable ones, 64 filters each.

    It pools over the whole map (25x5 by default), as MLPerf Tiny v0.1 did. Later versions pool
    over 24x5 and leave the map's last row out; parameters are the same.

    Args:
        input_shape: frames, cepstral coefficients (MFCC) and 1 channel of a one-second clip.
        classes: number of keywords, "silence" and "unknown" among them.
        softmax: whether the layer `softmax` follows `logits`; without it the model returns logits.
        l2: penalty on the squares of convolutions' kernels; 0: none.

    Returns:
        A model from (batch, frames, coefficients, 1) to (batch, classes): class
        probabilities, or logits where `softmax` is False.

    Source: Y. Zhang et al., Hello Edge: Keyword Spotting on Microcontrollers, arXiv:1711.07128;
    `training/keyword_spotting/keras_model.py` of github.com/mlcommons/tiny.
    """
    import keras

    filters = 64

    def penalty() -> "keras.regularizers.Regularizer | None":
        return keras.regularizers.L2(l2) if l2 else None

    inputs = keras.Input(input_shape, name="input")
    x = keras.layers.Conv2D(filters, (10, 4), strides=2, padding="same", kernel_regularizer=penalty(), name="conv_0")(
        inputs
    )
    x = relu(bn(x, "conv_0"), "conv_0")
    x = keras.layers.Dropout(0.2, name="conv_0_dropout")(x)
    for block in range(1, 5):
        dw, pw = f"dw_{block}", f"pw_{block}"
        x = keras.layers.DepthwiseConv2D(3, padding="same", depthwise_regularizer=penalty(), name=dw)(x)
        x = relu(bn(x, dw), dw)
        x = keras.layers.Conv2D(filters, 1, padding="same", kernel_regularizer=penalty(), name=pw)(x)
        x = relu(bn(x, pw), pw)
    x = keras.layers.Dropout(0.4, name="pool_dropout")(x)
    x = keras.layers.Flatten(name="flatten")(average_pool(x))
    x = keras.layers.Dense(classes, name="logits")(x)
    if softmax:
        x = keras.layers.Activation("softmax", name="softmax")(x)
    return keras.Model(inputs, x, name="ds_cnn")
