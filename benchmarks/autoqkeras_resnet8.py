"""The space of the AutoQKeras runs that `vs_autoqkeras.py` is compared with: the same task, sites, menus and cost.

Kernels, biases and ReLU outputs are quantized, nothing else; ReLU outputs have the fixed range [0, 8), as QKeras's
`quantized_relu(bits, 3)`. The cost is AutoQKeras's: bits of these tensors, and 8 for each value of input and output.
Kernels have no penalty, as in the model that AutoQKeras was given.
"""

from functools import partial

from autoqkeras_cost import bits_of

from mpsearch import Space, Task, Training, bits, datasets, models, register_cost

RELU = ("conv_0", "conv_1", "add", "conv_3", "add_1", "conv_6", "add_2")

autoqkeras_bits = partial(bits_of, relu=RELU, ends=32 * 32 * 3 + 10)
register_cost("autoqkeras_bits", autoqkeras_bits, "bits")

task = Task(
    model=partial(models.resnet8, l2=0.0),
    weights="resnet8_cifar10jpeg_folded.h5",
    data=partial(datasets.cifar10, train=5000, validation=2000, validation_from="test"),
    training=Training(epochs=3, batch_size=32, optimizer="adam", learning_rate=1e-4),
)

space = Space(
    kernel=bits(4, 8, 16, alpha="auto"),
    bias=bits(16, 31, alpha="auto_po2"),
    activation=bits(4, 8, 16, alpha="fixed", integer=3),
)
space.skip("softmax")
for layer in ("input", "conv_2", "conv_4", "conv_5", "conv_7", "conv_8", "pool", "logits"):
    space.skip(layer, roles=["activation"])
