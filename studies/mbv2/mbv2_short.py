"""`spaces/mbv2.py` with recipes short enough for a machine of 2 cores.

`datasets.cifar10_vww` shows animals against vehicles, enlarged to 96×96; it is not the Visual Wake Words data.
"""

from functools import partial

from mpsearch import Space, Task, Training, bits, datasets, models

task = Task(
    model=models.mbv2,
    weights=None,  # `mpsearch train mbv2.py` trains and keeps them
    data=partial(datasets.cifar10_vww, train=10_000, validation=2_000),
    training=Training(epochs=3, batch_size=32, optimizer="adam", learning_rate=1e-4, subset=2_500),
    float_training=Training(
        epochs=8, batch_size=32, optimizer="adam", learning_rate=lambda epoch: 1e-3 * 0.7**epoch, patience=4
    ),
    finetuning=Training(
        epochs=30, batch_size=32, optimizer="adam", learning_rate=lambda epoch: 1e-4 * 0.95**epoch, patience=8
    ),
)

space = Space(
    kernel=bits(4, 8, 16, alpha="auto"),
    bias=bits(16, 31, alpha="auto_po2"),
    activation=bits(4, 8, 16, alpha="auto_po2"),
    requantize_merge_inputs=True,  # both inputs and the output of every Add
)
