"""The search space: which specs every site of a model may take. No Keras, no Optuna.

A `Space` is written by hand, before the model exists; `Space.resolve` applies it to a model's facts
and gives a `ResolvedSpace`: the exact set of configs, which can be counted, listed and sampled.
"""

from mpsearch.space.choices import Choice, Comparison, Limit
from mpsearch.space.description import Description
from mpsearch.space.devices import Multiplier
from mpsearch.space.resolved import ResolvedSpace
from mpsearch.space.stating import Space

__all__ = ["Choice", "Comparison", "Description", "Limit", "Multiplier", "ResolvedSpace", "Space"]
