"""A single convolution and a classifier on Fashion-MNIST: 20,410 parameters."""

from mpsearch import Space, Task, Training, bits, datasets, models

task = Task(
    model=models.cnn,
    data=datasets.fashion_mnist,
    training=Training(epochs=3, batch_size=32, optimizer="adam", learning_rate=1e-3),
    float_training=Training(epochs=10, batch_size=32, optimizer="adam", learning_rate=1e-3),
    finetuning=Training(epochs=10, batch_size=32, optimizer="adam", learning_rate=1e-3, patience=5),
)

space = Space(
    kernel=bits(4, 8, 16, alpha="auto"),
    bias=bits(16, 31, alpha="auto_po2"),
    activation=bits(4, 8, 16, alpha="auto_po2"),
)
space.skip("softmax")  # stays float
