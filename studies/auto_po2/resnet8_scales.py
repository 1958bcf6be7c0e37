"""ResNet-8 with 4 bits everywhere, where kernels and feature maps choose their scale modes: for this study alone."""

from functools import partial

from mpsearch import Space, Task, Training, bits, datasets, models

task = Task(
    model=models.resnet8,
    weights="resnet8_cifar10jpeg_folded.h5",  # in MPSEARCH_DATA or its models/
    data=partial(datasets.cifar10, train=5000, validation=2000, validation_from="test"),
    training=Training(epochs=3, batch_size=32, optimizer="adam", learning_rate=1e-4),
)

space = Space(
    kernel=bits(4, alpha=["auto", "auto_po2"]),
    bias=bits(16, alpha="auto_po2"),
    activation=bits(4, alpha=["auto", "auto_po2"]),
)
space.skip("softmax")
