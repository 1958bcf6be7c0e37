"""Configs of a space as arrays of specs, of which costs are computed."""

import numpy as np

from mpsearch.config import FLOAT_BITS, Alpha
from mpsearch.costs.specs import Specs
from mpsearch.space import ResolvedSpace


class SpecArrays:
    """Gives the specs of many configs of a space at once.

    Args:
        space: of the configs.
    """

    def __init__(self, space: ResolvedSpace) -> None:
        self.space = space
        column = {site.name: i for i, site in enumerate(space.facts.sites)}
        self._columns = [[column[site] for site in choice.sites] for choice in space.choices]
        self._tables = []
        for choice in space.choices:
            own = [space.facts.by_name[site].negative for site in choice.sites]
            rows = [
                [[spec.bits for spec in choice.specs] for _ in own],
                [[False for _ in choice.specs] for _ in own],
                [[spec.alpha is Alpha.AUTO for spec in choice.specs] for _ in own],
                [[(below if s.signed is None else s.signed) and not s.affine for s in choice.specs] for below in own],
                [[spec.affine for spec in choice.specs] for _ in own],
            ]
            self._tables.append([np.array(row) for row in rows])

    def at(self, positions: np.ndarray, with_configs: bool = False) -> Specs:
        """The specs of configs.

        Args:
            positions: on the menus of the space's choices, integers (configs, choices).
            with_configs: whether the configs themselves are wanted as well, as users' costs do.
        """
        shape = (len(positions), len(self.space.facts.sites))
        widths = np.full(shape, FLOAT_BITS, dtype=np.int64)
        floats, free, signed = (np.ones(shape, dtype=bool) for _ in range(3))
        affine = np.zeros(shape, dtype=bool)
        for choice, sites in enumerate(self._columns):
            for array, table in zip((widths, floats, free, signed, affine), self._tables[choice], strict=True):
                array[:, sites] = table[:, positions[:, choice]].T
        configs = tuple(self.space.configs(positions)) if with_configs else None
        return Specs(widths, floats, free, signed, affine, configs)
