"""ResNet-8 on CIFAR-10: MLPerf Tiny image classification."""

from functools import partial

from mpsearch import Space, Task, Training, bits, datasets, models

task = Task(
    model=models.resnet8,
    weights="resnet8_cifar10jpeg_folded.h5",  # in MPSEARCH_DATA or its models/
    # The weights have seen all training images: the search judges by 2,000 test images, and never sees the other 8,000.
    data=partial(datasets.cifar10, train=5000, validation=2000, validation_from="test"),
    training=Training(epochs=3, batch_size=32, optimizer="adam", learning_rate=1e-4),
    finetuning=Training(
        epochs=15, batch_size=32, optimizer="adam", learning_rate=lambda epoch: 1e-4 * 0.9**epoch, patience=6
    ),
)

space = Space(
    kernel=bits(4, 8, 16, alpha="auto"),
    bias=bits(16, 31, alpha="auto_po2"),
    activation=bits(4, 8, 16, alpha="auto_po2"),
)
space.skip("softmax")  # stays float
