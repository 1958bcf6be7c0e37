"""Datasets: functions that return `mpsearch.data.Data`; none downloads anything.

Pillow, scikit-learn and Keras are imported when a dataset that needs them is loaded.
"""

from mpsearch.datasets.cifar10 import CIFAR10_CLASSES, cifar10
from mpsearch.datasets.cifar10_vww import cifar10_vww
from mpsearch.datasets.digits import digits

__all__ = ["CIFAR10_CLASSES", "cifar10", "cifar10_vww", "digits"]
