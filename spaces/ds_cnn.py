"""DS-CNN on spoken digits: MLPerf Tiny's keyword spotting, with the Free Spoken Digit Dataset for its words.

With Speech Commands v2 give `model=models.ds_cnn` (12 classes) and `data=datasets.speech_commands`.
"""

from functools import partial

from mpsearch import Space, Task, Training, bits, datasets, models

task = Task(
    model=partial(models.ds_cnn, classes=10),
    data=datasets.fsdd,
    training=Training(epochs=5, batch_size=100, optimizer="adam", learning_rate=2.5e-4),
    float_training=Training(epochs=70, batch_size=100, optimizer="adam", learning_rate=1e-3),
    finetuning=Training(epochs=70, batch_size=100, optimizer="adam", learning_rate=2.5e-4, patience=15),
)

space = Space(
    kernel=bits(4, 8, 16, alpha="auto"),
    bias=bits(16, 31, alpha="auto_po2"),
    activation=bits(4, 8, 16, alpha="auto_po2"),
)
space.skip("softmax")  # stays float
