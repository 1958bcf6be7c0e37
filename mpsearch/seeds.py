"""The random number generators of layers, for a seed to decide on everything random in them."""

from typing import Any


def seed_generators(layer: Any) -> list[Any]:
    """The `keras.random.SeedGenerator`s of a layer and of those inside it, each once, in a fixed order.

    Keras keeps track of those that a layer holds as an attribute, or in lists, tuples and dicts, however deep.
    """
    found = [generator for part in layer._flatten_layers() for generator in part._seed_generators]
    return list({id(generator): generator for generator in found}.values())
