"""MobileNetV2 of width 0.5 at 224×224 on images in folders, one for each of ten classes.

The recipe is that of L. Lazzaroni et al., Quantization of MobileNetV2 for Resource-Constrained Microcontrollers. Their
float model has 5,323 KB, some 1.33 million parameters of 4 bytes; this network has 719,354, which are 2,877 KB: the two
differ in something that isn't known here. The folder is called `images`, in the present folder or in MPSEARCH_DATA;
`datasets.image_folder` says how it is laid out.
"""

from functools import partial

from mpsearch import Photos, Space, Task, Training, bits, datasets, models

task = Task(
    model=partial(models.mbv2, input_shape=(224, 224, 3), classes=10, alpha=0.5),
    data=partial(datasets.image_folder, "images", size=224),
    training=Training(epochs=5, batch_size=16, optimizer="adam", learning_rate=1e-4),
    float_training=Training(epochs=150, batch_size=16, optimizer="adam", learning_rate=1e-4, augmentation=Photos()),
    finetuning=Training(
        epochs=150, batch_size=16, optimizer="adam", learning_rate=1e-4, patience=15, augmentation=Photos()
    ),
)

space = Space(
    kernel=bits(4, 8, 16, alpha="auto"),
    bias=bits(16, 31, alpha="auto_po2"),
    activation=bits(4, 8, 16, alpha="auto_po2"),
)
space.skip("softmax")  # stays float
