"""The network of `cnn.py` on scikit-learn's handwritten digits, 8×8: Fashion-MNIST needs a download."""

from functools import partial

from mpsearch import Space, Task, Training, bits, datasets, models

task = Task(
    model=partial(models.cnn, input_shape=(8, 8, 1)),
    data=datasets.digits,
    training=Training(epochs=3, batch_size=32, optimizer="adam", learning_rate=1e-3),
    float_training=Training(epochs=40, batch_size=32, optimizer="adam", learning_rate=1e-3, patience=10),
    finetuning=Training(epochs=10, batch_size=32, optimizer="adam", learning_rate=1e-3, patience=5),
)

space = Space(
    kernel=bits(4, 8, 16, alpha="auto"),
    bias=bits(16, 31, alpha="auto_po2"),
    activation=bits(4, 8, 16, alpha="auto_po2"),
)
space.skip("softmax")  # stays float
