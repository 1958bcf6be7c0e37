"""Augmentations that recipes name; Keras is imported when one is used."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mpsearch.errors import ConfigError


@dataclass(frozen=True)
class Photos:
    """Turns, moves, shears, enlarges and mirrors photos at random; the border's pixels fill what is left free.

    Attributes:
        rotation: at most, in degrees, to either side.
        shift: at most, as a part of height and width.
        shear: at most, as a part of height and width.
        zoom: at most, in and out, as a part of height and width.
        flip: whether left and right are exchanged in half of the photos.

    Source: L. Lazzaroni et al., Quantization of MobileNetV2 for Resource-Constrained Microcontrollers, University of
    Genoa: rotation 20°, shifts 20 %, shear, zoom 20 %, flip.
    """

    rotation: float = 20.0
    shift: float = 0.2
    shear: float = 0.2
    zoom: float = 0.2
    flip: bool = True

    def __post_init__(self) -> None:
        parts = (self.shift, self.shear, self.zoom)
        if not (0 <= self.rotation <= 180 and all(0 <= part < 1 for part in parts)):
            raise ConfigError(
                "`rotation` must be 0 to 180 degrees, `shift`, `shear` and `zoom` parts from 0 to below 1, but got "
                f"{self}"
            )

    def layers(self) -> Sequence[Any]:
        """Keras's layers that do it."""
        from keras import layers

        common = {"fill_mode": "nearest"}
        found = [
            layers.RandomRotation(self.rotation / 360, **common),
            layers.RandomTranslation(self.shift, self.shift, **common),
            layers.RandomShear(self.shear, self.shear, **common),
            layers.RandomZoom(self.zoom, **common),
        ]
        return [*found, layers.RandomFlip("horizontal")] if self.flip else found
