"""Choices of a space as Optuna's parameters, and back.

A choice `conv_0/kernel` with several widths is the integer parameter `conv_0/kernel`: the position of the width on
the menu, narrowest first, so that a sampler knows the order. With several scale modes it has the categorical
parameter `conv_0/kernel alpha` as well.

Limits between widths make choices depend on each other, which parameters can't: a sampler may propose what they
forbid. Such a proposal is moved into the space by `ResolvedSpace.repaired`, choice after choice to the nearest width
that those before it leave possible. A width that always follows from earlier ones has no parameter.
"""

from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from mpsearch.config import Alpha, Config
from mpsearch.space import ResolvedSpace


def distributions(space: ResolvedSpace) -> dict[str, BaseDistribution]:
    """Parameter name to its distribution; choices with one possibility have none."""
    found: dict[str, BaseDistribution] = {}
    for choice in space.free:
        alphas = choice.menu.alphas or (Alpha.AUTO,)
        if len(choice.menu.widths) > 1 and choice.name not in space.decided:
            found[choice.name] = IntDistribution(0, len(choice.menu.widths) - 1)
        if len(alphas) > 1:
            found[f"{choice.name} alpha"] = CategoricalDistribution([alpha.value for alpha in alphas])
    return found


def config_of(space: ResolvedSpace, parameters: Mapping[str, Any]) -> Config:
    """The config that a trial's parameters stand for, moved into the space's limits where it has some."""
    picks = {}
    for choice in space.choices:
        alphas = choice.menu.alphas or (Alpha.AUTO,)
        width = choice.menu.widths[parameters.get(choice.name, 0)]
        alpha = Alpha(parameters.get(f"{choice.name} alpha", alphas[0]))
        picks[choice.name] = choice.menu.spec(width, alpha)
    return space.config(space.repaired(picks) if space.limits else picks)


def parameters_of(space: ResolvedSpace, config: Config) -> dict[str, Any]:
    """The parameters that stand for a config.

    Raises:
        ConfigError: the config isn't in the space.
    """
    picks, known = space.picks(config), distributions(space)
    found: dict[str, Any] = {}
    for choice in space.free:
        spec = picks[choice.name]
        if choice.name in known:
            found[choice.name] = choice.menu.widths.index(spec.bits)
        if f"{choice.name} alpha" in known:
            found[f"{choice.name} alpha"] = spec.alpha.value
    return found
