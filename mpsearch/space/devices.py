"""The widths that a device can use: a space without the others."""

from dataclasses import dataclass, replace

from mpsearch.errors import SpaceError
from mpsearch.space.assembling import assemble
from mpsearch.space.choices import Choice
from mpsearch.space.resolved import ResolvedSpace


@dataclass(frozen=True)
class Multiplier:
    """What a device multiplies.

    Attributes:
        device: its name.
        pairs: widths of kernels and feature maps, (kernel, feature map).
    """

    device: str
    pairs: tuple[tuple[int, int], ...]


def usable(space: ResolvedSpace, multiplier: Multiplier) -> ResolvedSpace:
    """The space without widths that occur in none of a device's pairs.

    These are widths of kernels, and of feature maps that a kernel alone is multiplied with. Which of the others go
    together is for the cost `unsupported` to say; no config without such kernels is lost.

    Raises:
        SpaceError: a kernel or a feature map would have no width left.
    """
    kernels, maps = (frozenset(pair[side] for pair in multiplier.pairs) for side in (0, 1))
    possible: dict[str, frozenset[int]] = {}
    for operation in space.facts.operations:
        for product in operation.products:
            read = [(product.operand[0], maps)] if len(product.operand) == 1 else []
            for site, widths in [(product.kernel, kernels), *read]:
                possible[site] = possible.get(site, widths) & widths
    groups, narrowed = [], 0
    for choice in space.choices:
        sets = [possible[site] for site in choice.sites if site in possible]
        left = tuple(width for width in choice.menu.widths if all(width in some for some in sets))
        if not left:
            raise SpaceError(_none_left(choice, frozenset.intersection(*sets), multiplier.device))
        narrowed += left != choice.menu.widths
        groups.append((choice.sites, replace(choice.menu, widths=left)))
    found = assemble(space.facts, groups, space.floats, space.limits)
    pairs = ", ".join(f"{kernel}·{feature_map}" for kernel, feature_map in multiplier.pairs)
    remark = f"{multiplier.device} multiplies {pairs} bits (kernel · feature map): "
    remark += f"other widths are taken off {narrowed} menu{'' if narrowed == 1 else 's'}"
    return replace(found, remarks=(*space.remarks, *([remark] if narrowed else []), *found.remarks))


def _none_left(choice: Choice, widths: frozenset[int], device: str) -> str:
    sites = ", ".join(f"`{site}`" for site in choice.sites)
    if not widths:
        return f"{device} has no pair of widths for all products in which {sites} take part: give another profile"
    some = ", ".join(map(str, sorted(widths)))
    return f"{device} can use {some} bits for {sites}, but the menu is {choice.menu}: put one of these widths on it"
