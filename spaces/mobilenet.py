"""MobileNet on Fashion-MNIST, put into images of 32×32 with three channels: 3.2 million parameters."""

from functools import partial

from mpsearch import Space, Task, Training, bits, datasets, models

task = Task(
    model=models.mobilenet,
    data=partial(datasets.fashion_mnist, size=32, channels=3),
    training=Training(epochs=3, batch_size=32, optimizer="adam", learning_rate=1e-3),
    float_training=Training(epochs=30, batch_size=32, optimizer="adam", learning_rate=1e-3),
    finetuning=Training(epochs=30, batch_size=32, optimizer="adam", learning_rate=1e-3, patience=5),
)

space = Space(
    kernel=bits(4, 8, 16, alpha="auto"),
    bias=bits(16, 31, alpha="auto_po2"),
    activation=bits(4, 8, 16, alpha="auto_po2"),
)
space.skip("softmax")  # stays float
