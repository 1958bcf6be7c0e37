"""mpsearch: mixed-precision quantization search for Keras models.

Names are imported when they are first used, so that `import mpsearch` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mpsearch.version import __version__ as __version__

if TYPE_CHECKING:
    from mpsearch import datasets, models, schedules
    from mpsearch.api import Search, search
    from mpsearch.augmentations import Photos
    from mpsearch.config import Config, QuantizerSpec
    from mpsearch.costs.bits import BitCost, ReferenceBits
    from mpsearch.costs.registry import make_cost, register_cost
    from mpsearch.data import Data, Split, Stream
    from mpsearch.errors import MpsearchError
    from mpsearch.menu import bits
    from mpsearch.network.adapters import Weight, register_layer
    from mpsearch.network.sites import facts_of
    from mpsearch.objective import ForgivingFactor
    from mpsearch.space import Space
    from mpsearch.task import Distillation, Task, Training

__all__ = [
    "BitCost",
    "Config",
    "Data",
    "Distillation",
    "ForgivingFactor",
    "MpsearchError",
    "Photos",
    "QuantizerSpec",
    "ReferenceBits",
    "Search",
    "Space",
    "Split",
    "Stream",
    "Task",
    "Training",
    "Weight",
    "bits",
    "datasets",
    "facts_of",
    "make_cost",
    "models",
    "register_cost",
    "register_layer",
    "schedules",
    "search",
]

_HOMES = {
    "BitCost": "mpsearch.costs.bits",
    "Config": "mpsearch.config",
    "Data": "mpsearch.data",
    "Distillation": "mpsearch.task",
    "ForgivingFactor": "mpsearch.objective",
    "MpsearchError": "mpsearch.errors",
    "Photos": "mpsearch.augmentations",
    "QuantizerSpec": "mpsearch.config",
    "ReferenceBits": "mpsearch.costs.bits",
    "Search": "mpsearch.api",
    "Space": "mpsearch.space",
    "Split": "mpsearch.data",
    "Stream": "mpsearch.data",
    "Task": "mpsearch.task",
    "Training": "mpsearch.task",
    "Weight": "mpsearch.network.adapters",
    "bits": "mpsearch.menu",
    "facts_of": "mpsearch.network.sites",
    "make_cost": "mpsearch.costs.registry",
    "register_cost": "mpsearch.costs.registry",
    "register_layer": "mpsearch.network.adapters",
    "search": "mpsearch.api",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in ("datasets", "models", "schedules"):
        return import_module(f"mpsearch.{name}")
    raise AttributeError(f"module `mpsearch` has no attribute `{name}`; it has {', '.join(__all__)}")
