"""A small CNN on scikit-learn's handwritten digits: the demo, which needs no download."""

from mpsearch import Space, Task, Training, bits, datasets, models

task = Task(
    model=models.small_cnn,
    weights=None,  # trained on the spot, in some ten seconds
    data=datasets.digits,
    training=Training(epochs=3, batch_size=32, optimizer="adam", learning_rate=1e-3),
    float_training=Training(epochs=8, batch_size=32, optimizer="adam", learning_rate=3e-3),
    finetuning=Training(
        epochs=20, batch_size=32, optimizer="adam", learning_rate=lambda epoch: 1e-3 * 0.9**epoch, patience=8
    ),
)

space = Space(
    kernel=bits(2, 3, 4, 8, alpha="auto"),
    bias=bits(8, 16, alpha="auto_po2"),
    activation=bits(2, 3, 4, 8, alpha="auto_po2"),
)
