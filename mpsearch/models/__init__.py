"""Float reference models, unweighted: functions that return a built, uncompiled `keras.Model`.

Keras is imported when a model is built, not before.
"""

from mpsearch.models.ds_cnn import ds_cnn
from mpsearch.models.fc_autoencoder import fc_autoencoder
from mpsearch.models.mbv2 import mbv2
from mpsearch.models.resnet8 import resnet8
from mpsearch.models.small_cnn import small_cnn

__all__ = ["ds_cnn", "fc_autoencoder", "mbv2", "resnet8", "small_cnn"]
