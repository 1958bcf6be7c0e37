"""The space of the AutoQKeras run on DS-CNN that `vs_autoqkeras.py` is compared with: as `autoqkeras_resnet8.py`.

Kernels, biases and ReLU outputs are quantized, nothing else; ReLU outputs have the fixed range [0, 16), as QKeras's
`quantized_relu(bits, 4)`. The cost is AutoQKeras's: bits of these tensors, and 8 for each value of input and output.
Kernels have no penalty, as in the model that AutoQKeras is given. There are no published float weights for spoken
digits: `vs_autoqkeras.py --write-task` trains them, and keeps them in the cache folder.
"""

from functools import partial

from autoqkeras_cost import bits_of

from mpsearch import Space, Task, Training, bits, datasets, models, register_cost

RELU = ("conv_0", *(f"{kind}_{block}" for block in range(1, 5) for kind in ("dw", "pw")))

autoqkeras_bits = partial(bits_of, relu=RELU, ends=49 * 10 + 10)
register_cost("autoqkeras_bits", autoqkeras_bits, "bits")

training = Training(epochs=3, batch_size=100, optimizer="adam", learning_rate=2.5e-4)

_float_task = Task(
    model=partial(models.ds_cnn, classes=10),
    data=datasets.fsdd,
    training=training,
    float_training=Training(epochs=70, batch_size=100, optimizer="adam", learning_rate=1e-3),
)
"""Whose float weights `vs_autoqkeras.py --write-task` writes."""

task = Task(
    model=partial(models.ds_cnn, classes=10, l2=0.0),
    weights="autoqkeras_ds_cnn.weights.h5",
    data=datasets.fsdd,
    training=training,
)

space = Space(
    kernel=bits(4, 8, 16, alpha="auto"),
    bias=bits(16, 31, alpha="auto_po2"),
    activation=bits(4, 8, 16, alpha="fixed", integer=4),
)
space.skip("softmax")
for layer in ("input", "pool", "logits"):
    space.skip(layer, roles=["activation"])
