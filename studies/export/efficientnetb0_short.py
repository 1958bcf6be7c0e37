"""`spaces/efficientnetb0.py` of half the width, with recipes short enough for a machine of 2 cores.

`datasets.cifar10_vww` shows animals against vehicles, enlarged to 64×64; it is not the Visual Wake Words data.
"""

from functools import partial

from mpsearch import Space, Task, Training, bits, datasets, models

task = Task(
    model=partial(models.efficientnetb0, alpha=0.5, input_shape=(64, 64, 3)),
    data=partial(datasets.cifar10_vww, train=5_000, validation=1_000, size=64),
    training=Training(epochs=1, batch_size=32, optimizer="adam", learning_rate=2.5e-4, subset=2_500),
    float_training=Training(epochs=14, batch_size=32, optimizer="adam", learning_rate=lambda epoch: 1e-3 * 0.8**epoch),
    finetuning=Training(epochs=10, batch_size=32, optimizer="adam", learning_rate=2.5e-4, patience=3),
)

space = Space(
    kernel=bits(4, 8, 16, alpha="auto"),
    bias=bits(16, 31, alpha="auto_po2"),
    activation=bits(4, 8, 16, alpha="auto_po2"),
)
space.skip("softmax")  # stays float
