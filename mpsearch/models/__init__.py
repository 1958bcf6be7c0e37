"""Float reference models, unweighted: functions that return a built, uncompiled `keras.Model`.

Keras is imported when a model is built, not before.
"""

from mpsearch.models.cnn import cnn
from mpsearch.models.ds_cnn import ds_cnn
from mpsearch.models.efficientnetb0 import efficientnetb0
from mpsearch.models.fc_autoencoder import fc_autoencoder
from mpsearch.models.mbv1 import mbv1
from mpsearch.models.mbv2 import mbv2
from mpsearch.models.mobilenet import mobilenet
from mpsearch.models.mobilenetv3large import mobilenetv3large
from mpsearch.models.resnet8 import resnet8
from mpsearch.models.small_cnn import small_cnn
from mpsearch.models.vgg16 import vgg16

__all__ = [
    "cnn",
    "ds_cnn",
    "efficientnetb0",
    "fc_autoencoder",
    "mbv1",
    "mbv2",
    "mobilenet",
    "mobilenetv3large",
    "resnet8",
    "small_cnn",
    "vgg16",
]
