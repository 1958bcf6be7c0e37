"""What a device can use: a space without other widths, and with biases as it adds them."""

from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass, replace

from mpsearch.config import MAX_BITS, MIN_BITS, Alpha, RangeRule, Role
from mpsearch.errors import SpaceError
from mpsearch.facts import OperationFacts
from mpsearch.menu import bits
from mpsearch.space.assembling import assemble
from mpsearch.space.choices import Choice
from mpsearch.space.resolved import ResolvedSpace

ALIGNED = bits(MAX_BITS, alpha=Alpha.ALIGNED)


@dataclass(frozen=True)
class Multiplier:
    """What a device multiplies, and what the files for it hold.

    Attributes:
        device: its name.
        pairs: widths of kernels and feature maps, (kernel, feature map); none: all.
        widths: kinds of tensors with their least and largest widths, as of `Profile.widths`.
        aligned_biases: whether biases must have 32 bits in the unit of the sums that they are added to.
    """

    device: str
    pairs: tuple[tuple[int, int], ...]
    widths: tuple[tuple[str, int, int], ...] = ()
    aligned_biases: bool = False


def usable(space: ResolvedSpace, multiplier: Multiplier) -> ResolvedSpace:
    """The space without widths that a device doesn't have, and with aligned biases of 32 bits where it wants those.

    These are widths of kernels, and of feature maps that a kernel alone is multiplied with, that occur in none of its
    pairs, and widths out of its bounds. Which widths go together is for the cost `unsupported` to say; by pairs no
    config that the device can compute is lost. Biases beside float kernels or feature maps, which aren't aligned to
    anything, keep their scale modes.

    Raises:
        SpaceError: a tensor would have no width left.
    """
    possible = _in_pairs(space, multiplier) if multiplier.pairs else {}
    bounds = {kind: range(least, most + 1) for kind, least, most in multiplier.widths}
    depthwise = {site for operation in space.facts.operations if _is_depthwise(operation) for site in operation.kernels}
    groups, narrowed, aligned = [], 0, list[str]()
    for choice in space.choices:
        sets: list[Container[int]] = [possible[site] for site in choice.sites if site in possible]
        for site in choice.sites:
            sets += [bounds[kind] for kind in _kinds(space, choice, site, depthwise) if kind in bounds]
        left = tuple(width for width in choice.menu.widths if all(width in some for some in sets))
        if not left:
            raise SpaceError(_none_left(choice, [w for w in ANY if all(w in some for some in sets)], multiplier.device))
        narrowed += left != choice.menu.widths
        menu = replace(choice.menu, widths=left)
        if multiplier.aligned_biases and menu != ALIGNED and _can_be_aligned(space, choice):
            menu, aligned = ALIGNED, [*aligned, *choice.sites]
        groups.append((choice.sites, menu))
    limits = [limit for limit in space.limits if limit.left not in aligned and limit.right not in aligned]
    found = assemble(space.facts, groups, space.floats, limits)
    remarks = list(space.remarks)
    if narrowed:
        menus = f"{narrowed} menu{'' if narrowed == 1 else 's'}"
        remarks.append(f"{multiplier.device} {_abilities(multiplier)}: other widths are taken off {menus}")
    if aligned:
        remarks.append(
            f"{multiplier.device} adds biases to sums as they are: {len(aligned)} of them "
            f"{'is' if len(aligned) == 1 else 'are'} {MAX_BITS} aligned, whole numbers of the unit of the sums"
        )
    if len(limits) < len(space.limits):
        left_out = dict.fromkeys(limit.statement for limit in space.limits if limit not in limits)
        remarks.append(f"without limits on the widths of these biases: {', '.join(left_out)}")
    return replace(found, remarks=(*remarks, *found.remarks))


ANY = range(MIN_BITS, MAX_BITS + 1)


def _can_be_aligned(space: ResolvedSpace, choice: Choice) -> bool:
    """Whether a choice is of biases whose sums have a unit."""
    factors = [space.facts.factors(site) for site in choice.sites]
    return all(found is not None and space.menus.keys() >= set(found) for found in factors) and all(
        space.menus[found[1]].range is not RangeRule.BATCH for found in factors if found is not None
    )


def _in_pairs(space: ResolvedSpace, multiplier: Multiplier) -> dict[str, Container[int]]:
    """Kernels, and feature maps that a kernel alone is multiplied with, to the widths that they have in pairs."""
    kernels, maps = (frozenset(pair[side] for pair in multiplier.pairs) for side in (0, 1))
    found: dict[str, frozenset[int]] = {}
    for operation in space.facts.operations:
        for product in operation.products:
            read = [(product.operand[0], maps)] if len(product.operand) == 1 else []
            for site, widths in [(product.kernel, kernels), *read]:
                found[site] = found.get(site, widths) & widths
    return dict(found)


def _kinds(space: ResolvedSpace, choice: Choice, site: str, depthwise: Collection[str]) -> tuple[str, ...]:
    """What `Profile.widths` may call a site."""
    facts = space.facts.by_name[site]
    if facts.role is Role.KERNEL:
        return ("kernel", "depthwise_kernel") if site in depthwise else ("kernel",)
    if facts.role is Role.BIAS:
        return ("bias",)
    signed = facts.negative if choice.menu.signed is None else choice.menu.signed
    return ("feature_map",) if signed and not choice.menu.affine else ("feature_map", "unsigned_feature_map")


def _is_depthwise(operation: OperationFacts) -> bool:
    """Whether each channel has a kernel of its own: a depthwise convolution, or a factor for each channel."""
    return operation.layer_class.startswith("Depthwise") or operation.layer_class in (
        "BatchNormalization",
        "LayerScale",
    )


def _abilities(multiplier: Multiplier) -> str:
    """What a device can do, in words."""
    pairs = ", ".join(f"{kernel}·{feature_map}" for kernel, feature_map in multiplier.pairs)
    said = [f"multiplies {pairs} bits (kernel · feature map)"] if pairs else []
    if multiplier.widths:
        has = ", ".join(f"{kind.replace('_', ' ')}s of {low} to {high}" for kind, low, high in multiplier.widths)
        said.append(f"has {has} bits")
    return " and ".join(said)


def _none_left(choice: Choice, widths: Sequence[int], device: str) -> str:
    sites = ", ".join(f"`{site}`" for site in choice.sites)
    if not widths:
        return f"{device} has no pair of widths for all products in which {sites} take part: give another profile"
    some = ", ".join(map(str, widths))
    return f"{device} can use {some} bits for {sites}, but the menu is {choice.menu}: put one of these widths on it"
