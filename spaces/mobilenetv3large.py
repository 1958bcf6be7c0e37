"""MobileNetV3-Large at 224×224 on images in folders, one for each class.

The folder is called `images`, in the present folder or in MPSEARCH_DATA; `datasets.image_folder` says how it is laid
out.
"""

from functools import partial

from mpsearch import Photos, Space, Task, Training, bits, datasets, models

CLASSES = 43
data = partial(datasets.image_folder, "images", size=224)

task = Task(
    model=partial(models.mobilenetv3large, classes=CLASSES),
    data=data,
    training=Training(epochs=5, batch_size=32, optimizer="adam", learning_rate=1e-4),
    float_training=Training(epochs=100, batch_size=32, optimizer="adam", learning_rate=1e-4, augmentation=Photos()),
    finetuning=Training(
        epochs=100, batch_size=32, optimizer="adam", learning_rate=1e-4, patience=15, augmentation=Photos()
    ),
)

space = Space(
    kernel=bits(4, 8, 16, alpha="auto"),
    bias=bits(16, 31, alpha="auto_po2"),
    activation=bits(4, 8, 16, alpha="auto_po2"),
)
space.skip("softmax")  # stays float
