"""The specs of many configs as arrays, which is what costs are computed of."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mpsearch.config import FLOAT_BITS, Alpha, Config
from mpsearch.errors import ConfigError
from mpsearch.facts import ModelFacts


@dataclass(frozen=True)
class Specs:
    """Specs of configs; arrays of shape (configs, sites), columns in the order of the facts' sites.

    Attributes:
        widths: bits, int64; 32 where a site is float.
        floats: whether a site is float.
        free: whether a site's scale may be any number: those of float sites count as such.
        signed: whether codes have a sign.
        affine: whether codes have a zero-point.
        configs: what they were made of, where that is known.
    """

    widths: np.ndarray
    floats: np.ndarray
    free: np.ndarray
    signed: np.ndarray
    affine: np.ndarray
    configs: tuple[Config, ...] | None = None

    def __len__(self) -> int:
        return len(self.widths)

    @classmethod
    def of(cls, facts: ModelFacts, configs: Iterable[Config]) -> "Specs":
        """Those of some configs; sites that a config leaves out are float.

        Raises:
            ConfigError: a config has a site that the model doesn't have.
        """
        rows = list(configs)
        known = set(facts.by_name)
        for config in rows:
            if not known.issuperset(config):
                raise ConfigError(
                    f"the config has sites that `{facts.name}` doesn't have: {sorted(set(config) - known)}"
                )
        shape = (len(rows), len(facts.sites))
        widths = np.full(shape, FLOAT_BITS, dtype=np.int64)
        floats, free = np.ones(shape, dtype=bool), np.ones(shape, dtype=bool)
        signed, affine = np.ones(shape, dtype=bool), np.zeros(shape, dtype=bool)
        for row, config in enumerate(rows):
            for column, site in enumerate(facts.sites):
                spec = config.get(site.name)
                if spec is not None:
                    widths[row, column], floats[row, column] = spec.bits, False
                    free[row, column] = spec.alpha is Alpha.AUTO
                    own = site.negative if spec.signed is None else spec.signed
                    signed[row, column], affine[row, column] = own and not spec.affine, spec.affine
        return cls(widths, floats, free, signed, affine, tuple(rows))

    @cached_property
    def magnitudes(self) -> np.ndarray:
        """The largest magnitude of a code less its zero-point, float64."""
        return np.exp2(np.where(self.signed, self.widths - 1, self.widths).astype(np.float64)) - 1.0
