"""`spaces/efficientnetb0.py` with recipes short enough for a machine of 2 cores.

`datasets.cifar10_vww` shows animals against vehicles, enlarged to 96×96; it is not the Visual Wake Words data.
"""

from functools import partial

from mpsearch import Space, Task, Training, bits, datasets, models

task = Task(
    model=models.efficientnetb0,
    data=partial(datasets.cifar10_vww, train=5_000, validation=1_000),
    training=Training(epochs=1, batch_size=32, optimizer="adam", learning_rate=2.5e-4, subset=1_250),
    float_training=Training(epochs=6, batch_size=32, optimizer="adam", learning_rate=lambda epoch: 1e-3 * 0.7**epoch),
    finetuning=Training(epochs=10, batch_size=32, optimizer="adam", learning_rate=2.5e-4, patience=3),
)

space = Space(
    kernel=bits(4, 8, 16, alpha="auto"),
    bias=bits(16, 31, alpha="auto_po2"),
    activation=bits(4, 8, 16, alpha="auto_po2"),
)
space.skip("softmax")  # stays float
