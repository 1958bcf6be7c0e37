"""MobileNetV2 at 96×96 on two classes: MLPerf Tiny's visual wake words, with CIFAR-10 as a stand-in.

`datasets.cifar10_vww` shows animals against vehicles, enlarged to 96×96; it is not the Visual Wake Words data.
"""

from functools import partial

from mpsearch import Space, Task, Training, bits, datasets, models, schedules

task = Task(
    model=models.mbv2,
    weights=None,  # `mpsearch train mbv2.py` trains and keeps them
    data=partial(datasets.cifar10_vww, train=10_000, validation=2_000),
    training=Training(epochs=5, batch_size=32, optimizer="adam", learning_rate=1e-4, subset=2_500),
    float_training=Training(
        epochs=100,
        batch_size=32,
        optimizer="adam",
        learning_rate=schedules.steps({0: 1e-3, 20: 5e-4, 30: 2.5e-4}),
        patience=20,
    ),
    finetuning=Training(epochs=100, batch_size=32, optimizer="adam", learning_rate=2.5e-4, patience=15),
)

space = Space(
    kernel=bits(4, 8, 16, alpha="auto"),
    bias=bits(16, 31, alpha="auto_po2"),
    activation=bits(4, 8, 16, alpha="auto_po2"),
    requantize_merge_inputs=True,  # both inputs and the output of every Add
)
