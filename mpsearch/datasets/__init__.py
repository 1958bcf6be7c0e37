"""Datasets: functions that return `mpsearch.data.Data`; none downloads anything, that is for `mpsearch data` alone.

Pillow, scikit-learn, librosa and Keras are imported when a dataset that needs them is loaded.
"""

from mpsearch.datasets.cifar10 import CIFAR10_CLASSES, cifar10
from mpsearch.datasets.cifar10_vww import cifar10_vww
from mpsearch.datasets.digits import digits
from mpsearch.datasets.fsdd import fsdd
from mpsearch.datasets.fsdd_anomalies import fsdd_anomalies
from mpsearch.datasets.image_folder import image_folder
from mpsearch.datasets.machine_sounds import machine_sounds
from mpsearch.datasets.mnist import FASHION_CLASSES, fashion_mnist, mnist
from mpsearch.datasets.speech_commands import SPEECH_COMMANDS, speech_commands
from mpsearch.datasets.visual_wake_words import WAKE_WORDS, visual_wake_words

__all__ = [
    "CIFAR10_CLASSES",
    "FASHION_CLASSES",
    "SPEECH_COMMANDS",
    "WAKE_WORDS",
    "cifar10",
    "cifar10_vww",
    "digits",
    "fashion_mnist",
    "fsdd",
    "fsdd_anomalies",
    "image_folder",
    "machine_sounds",
    "mnist",
    "speech_commands",
    "visual_wake_words",
]
