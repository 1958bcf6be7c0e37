"""Spaces of widths that a device can use, against the cost that counts what it can't."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.costs.pairs import UnsupportedProducts
from mpsearch.costs.profile import Profile
from mpsearch.errors import SpaceError
from mpsearch.facts import OperationFacts, ProductFacts
from mpsearch.menu import bits
from mpsearch.space import Multiplier, Space
from tests.costs.nets import two_layers

FACTS = two_layers()
CMSIS = ((4, 8), (8, 8), (8, 16))
WIDTHS = (2, 4, 8, 16)

some_pairs = st.sets(st.tuples(st.sampled_from(WIDTHS), st.sampled_from(WIDTHS)), min_size=1, max_size=4).map(tuple)
some_widths = st.sets(st.sampled_from(WIDTHS), min_size=1).map(lambda found: bits(*sorted(found)))


@st.composite
def spaces(draw):
    space = Space(kernel=draw(some_widths), bias=bits(8, 16), activation=draw(some_widths))
    if draw(st.booleans()):
        space.tie("*", roles=[draw(st.sampled_from(["kernel", "activation"]))])
    if draw(st.booleans()):
        space.limit("kernel", draw(st.sampled_from(["<=", "==", ">"])), "input")
    if draw(st.booleans()):
        space.skip("b", roles=["activation"])
    return space


def supported(space, pairs):
    """The configs that the device can compute; none where the space contradicts itself."""
    count = UnsupportedProducts(FACTS, Profile("mine", pairs=pairs))
    try:
        return {config.fingerprint for config in space.resolve(FACTS) if count(config) == 0}
    except SpaceError:
        return set()


@given(spaces(), some_pairs)
def test_no_config_that_the_device_can_compute_is_lost(space, pairs):
    before = supported(space, pairs)
    narrowed = space.on_device(Multiplier("mine", pairs))
    assert supported(narrowed, pairs) == before
    if before:
        found = narrowed.resolve(FACTS)
        kernels, maps = ({pair[side] for pair in pairs} for side in (0, 1))
        for site in ("a/kernel", "b/kernel"):
            assert set(found.menus[site].widths) <= kernels
        for site in ("input/activation", "a/activation"):
            assert set(found.menus[site].widths) <= maps


def test_only_what_a_kernel_reads_is_narrowed_and_the_space_says_so():
    space = Space(kernel=bits(4, 8, 16), bias=bits(16, 31), activation=bits(4, 8, 16))
    found = space.on_device(Multiplier("STM32L4R9", CMSIS)).resolve(FACTS)
    assert {site: menu.widths for site, menu in found.menus.items()} == {
        "input/activation": (8, 16),
        "a/kernel": (4, 8),
        "a/bias": (16, 31),
        "a/activation": (8, 16),
        "b/kernel": (4, 8),
        "b/activation": (4, 8, 16),
    }
    assert space.resolve(FACTS).size == 3**5 * 2
    assert found.size == 2**5 * 3
    assert found.remarks == (
        "STM32L4R9 multiplies 4·8, 8·8, 8·16 bits (kernel · feature map): other widths are taken off 4 menus",
    )
    everything = space.on_device(Multiplier("any", tuple((a, b) for a in WIDTHS for b in WIDTHS))).resolve(FACTS)
    assert everything == space.resolve(FACTS)


def test_a_menu_without_a_usable_width_is_refused_with_what_would_do():
    space = Space(kernel=bits(2, 3), activation=bits(8))
    with pytest.raises(SpaceError, match="STM32L4R9 can use 4, 8 bits for `a/kernel`, but the menu is 2/3 auto: put"):
        space.on_device(Multiplier("STM32L4R9", CMSIS)).resolve(FACTS)
    twice = ProductFacts("a/activation", ("input/activation",), 24, 6)  # elsewhere a kernel reads `a/activation`
    dot = OperationFacts("c", "Dot", ("a",), ("b",), products=(twice,))
    facts = replace(FACTS, operations=(*FACTS.operations, dot))
    space = Space(kernel=bits(4, 8, 16), activation=bits(4, 8, 16))
    with pytest.raises(SpaceError, match="mine has no pair of widths for all products in which `a/activation`"):
        space.on_device(Multiplier("mine", ((4, 8), (4, 16)))).resolve(facts)


BOUNDS = (("kernel", 2, 8), ("depthwise_kernel", 5, 8), ("feature_map", 2, 16), ("unsigned_feature_map", 2, 15))


def test_widths_out_of_bounds_are_taken_off_by_kind_of_tensor():
    import keras

    from mpsearch.network.sites import facts_of

    inputs = keras.Input((6, 6, 2), name="input")
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    x = keras.layers.DepthwiseConv2D(3, name="dw")(x)
    facts = facts_of(keras.Model(inputs, keras.layers.Flatten(name="flatten")(x)))
    space = Space(kernel=bits(4, 8, 16), bias=bits(16, 31), activation=bits(8, 15, 16))
    found = space.on_device(Multiplier("LiteRT", (), BOUNDS)).resolve(facts)
    assert {site: menu.widths for site, menu in found.menus.items()} == {
        "input/activation": (8, 15, 16),
        "conv/kernel": (4, 8),
        "conv/bias": (16, 31),
        "conv/activation": (8, 15),  # behind a ReLU, so unsigned
        "dw/kernel": (8,),
        "dw/bias": (16, 31),
        "dw/activation": (8, 15, 16),
    }
    assert found.remarks == (
        "LiteRT has kernels of 2 to 8, depthwise kernels of 5 to 8, feature maps of 2 to 16, unsigned feature maps of "
        "2 to 15 bits: other widths are taken off 3 menus",
    )
    with pytest.raises(SpaceError, match="LiteRT can use 5, 6, 7, 8 bits for `dw/kernel`, but the menu is 4"):
        Space(kernel=bits(4), activation=bits(8)).on_device(Multiplier("LiteRT", (), BOUNDS)).resolve(facts)


def test_pairs_and_bounds_of_a_device_hold_together():
    space = Space(kernel=bits(2, 4, 8, 16), activation=bits(4, 8, 16))
    found = space.on_device(Multiplier("mine", CMSIS, (("kernel", 5, 16),))).resolve(FACTS)
    assert found.menus["a/kernel"].widths == (8,)
    assert found.menus["input/activation"].widths == (8, 16)
    assert (
        "mine multiplies 4·8, 8·8, 8·16 bits (kernel · feature map) and has kernels of 5 to 16 bits" in found.remarks[0]
    )


def test_biases_are_aligned_where_the_device_adds_them_as_they_are():
    wanted = Multiplier("LiteRT", (), aligned_biases=True)
    space = (
        Space(kernel=bits(4, 8), bias=bits(8, 16), activation=bits(4, 8)).skip("b", roles=["kernel"]).on_device(wanted)
    )
    dense, second, *others = FACTS.operations
    facts = replace(
        FACTS,
        operations=(dense, replace(second, biases=("b/bias",)), *others),
        sites=(*FACTS.sites, replace(FACTS.by_name["a/bias"], name="b/bias", layer="b", shape=(3,))),
    )
    found = space.resolve(facts)
    assert str(found.menus["a/bias"]) == "32 aligned"
    assert found.menus["b/bias"] == bits(8, 16)  # its kernel stays float
    limited = (
        Space(kernel=bits(4, 8), bias=bits(4, 8), activation=bits(8)).limit("bias", "<=", "kernel").on_device(wanted)
    )
    found_limited = limited.resolve(facts)
    assert str(found_limited.menus["a/bias"]) == "32 aligned"
    assert "without limits on the widths of these biases" in str(found_limited.describe())
    assert "LiteRT adds biases to sums as they are: 1 of them is 32 aligned" in str(found.describe())


def test_a_bias_whose_values_aren_t_the_kernel_s_channels_has_no_factors():
    assert FACTS.factors("a/bias") == ("a/kernel", "input/activation")
    for shape in ((2, 2), (3,)):
        sites = tuple(replace(s, shape=shape) if s.name == "a/bias" else s for s in FACTS.sites)
        assert replace(FACTS, sites=sites).factors("a/bias") is None
