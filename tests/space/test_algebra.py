"""Narrowing and uniting spaces against sets of configs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpsearch.config import Role
from mpsearch.errors import SpaceError
from mpsearch.menu import bits
from mpsearch.space import Space
from tests.space.networks import chain

FACTS = chain("conv_0", "conv_1", roles=(Role.KERNEL, Role.ACTIVATION))

widths = st.sampled_from([(2, 4, 8), (2, 4), (4, 8), (2, 8), (4,)])
menus = widths.map(lambda some: bits(*some))
comparisons = st.sampled_from(["<", "<=", "==", ">=", ">"])


@st.composite
def spaces(draw):
    space = Space(kernel=draw(menus), activation=bits(*draw(widths)))
    if draw(st.booleans()):
        space.search_alpha("kernel", "auto", "auto_po2", pattern="conv_0")
    if draw(st.booleans()):
        space.tie("*", roles=[draw(st.sampled_from(["kernel", "activation"]))])
    if draw(st.booleans()):
        space.at("conv_1", kernel=draw(menus))
    if draw(st.booleans()):
        space.limit("kernel", draw(comparisons), draw(st.sampled_from(["activation", "input"])))
    if draw(st.booleans()):
        space.tie("conv_*", across_roles=True)
    return space


def configs(space):
    """All configs of a space, none where it contradicts itself."""
    try:
        return {tuple(config.values()) for config in space.resolve(FACTS)}
    except SpaceError:
        return set()


@settings(max_examples=40)
@given(spaces(), spaces())
def test_narrowing_leaves_exactly_what_both_have(a, b):
    expected = configs(a) & configs(b)
    assert configs(a.narrow(b)) == configs(b.narrow(a)) == expected


@settings(max_examples=40)
@given(spaces(), spaces())
def test_a_union_has_what_either_has(a, b):
    if configs(a) and configs(b):
        assert configs(a.union(b)) >= configs(a) | configs(b)
        assert configs(a.union(b)) == configs(b.union(a))


@settings(max_examples=60)
@given(spaces(), spaces(), st.randoms())
def test_a_union_with_a_part_of_a_space_is_that_space(a, b, rng):
    if not configs(a):
        return
    one = Space(bits(2), activation=bits(2))  # a config of `a`, of which no tie and no limit is stated
    for site, spec in a.resolve(FACTS).sample(rng).items():
        layer, role = site.split("/")
        one.at(layer, **{role: bits(spec.bits, alpha=spec.alpha.value)})
    for part in (a.narrow(b), one):
        if configs(part):
            assert configs(a.union(part)) == configs(part.union(a)) == configs(a)


def test_narrowing_keeps_menus_ties_and_limits_of_both():
    a = Space(bits(2, 4, 8), activation=bits(4, 8)).tie("*", roles=["kernel"]).at("conv_1", kernel=bits(4, 8))
    b = Space(bits(2, 4, 8), activation=bits(4, 8)).limit("kernel", "<=", "activation")
    for both in (a.narrow(b).resolve(FACTS), b.narrow(a).resolve(FACTS)):
        assert both.choices[1].sites == ("conv_0/kernel", "conv_1/kernel")
        assert [str(choice.menu) for choice in both.choices] == ["4/8 auto"] * 4
        assert both.size == 2 * (4 + 1)


@settings(max_examples=25)
@given(spaces())
def test_a_space_with_itself_is_itself(space):
    if configs(space):
        prints = {made.resolve(FACTS).fingerprint for made in (space, space.narrow(space), space.union(space))}
        assert len(prints) == 1


def test_a_union_is_no_larger_than_menus_ties_and_limits_make_it():
    a = Space(bits(2, 4), activation=bits(4)).tie("*", roles=["kernel"]).limit("kernel", "<=", "activation")
    b = Space(bits(4, 8), activation=bits(8)).tie("*", roles=["kernel"]).limit("kernel", "<=", "activation")
    both = a.union(b).resolve(FACTS)
    assert [choice.sites for choice in both.choices][1] == ("conv_0/kernel", "conv_1/kernel")
    assert [str(choice.menu) for choice in both.choices] == ["4/8 auto", "2/4/8 auto", "4/8 auto", "4/8 auto"]
    assert both.size == 2 * (4 + 4 + 1)
    untied = a.union(Space(bits(4, 8), activation=bits(2, 8))).resolve(FACTS)
    assert untied.size == 3**2 * 3**3


def limited(comparison, kernel=(2, 4, 8), activation=(2, 4, 8)):
    return Space(bits(*kernel), activation=bits(*activation)).limit("kernel", comparison, "activation", at="conv_0")


@pytest.mark.parametrize(
    ("one", "other", "united"),
    [
        (limited("<"), limited("<="), {"<="}),
        (limited("=="), limited("<="), {"<="}),
        (limited("=="), limited("<"), {"<="}),
        (limited("=="), limited(">"), {">="}),
        (limited("<"), limited(">"), set()),
        (limited("<="), limited(">="), set()),
        (Space(bits(2, 4, 8), activation=bits(2, 4, 8)).tie("conv_0", across_roles=True), limited("<="), {"<="}),
        (Space(bits(2), activation=bits(4, 8)), limited("<="), {"<="}),
        (Space(bits(8), activation=bits(4, 8)), limited("<="), set()),
    ],
)  # fmt: skip
def test_a_union_keeps_the_weaker_of_two_limits(one, other, united):
    kernel, activation = "conv_0/kernel", "conv_0/activation"
    for both in (one.union(other).resolve(FACTS), other.union(one).resolve(FACTS)):
        found = {
            str(limit.comparison) if limit.left == kernel else str(limit.comparison).replace("<", ">")
            for limit in both.limits
            if {limit.left, limit.right} == {kernel, activation}
        }
        assert found == united


def test_a_union_keeps_a_tie_that_the_other_space_keeps_without_stating_it():
    tied = Space(bits(2, 4), activation=bits(8)).tie("*", roles=["kernel"])
    assert tied.union(Space(bits(4), activation=bits(8))).resolve(FACTS).size == 2
    assert tied.union(Space(bits(2, 4), activation=bits(8))).resolve(FACTS).size == 4


def test_a_weakened_limit_says_so():
    both = str(limited("<").union(limited("<=")).resolve(FACTS))
    assert 'at="conv_0"), weakened by a union: conv_0/kernel <= conv_0/activation' in both


def test_combined_spaces_are_copies_and_take_no_statement():
    a, b = Space(bits(2, 4)), Space(bits(4, 8))
    narrowed = a.narrow(b)
    a.pin("conv_0", kernel=2)
    b.pin("conv_0", kernel=8)
    assert narrowed.resolve(FACTS).size == 1
    with pytest.raises(SpaceError, match=r'pin\("conv_0", kernel=4\) comes after narrow\(\): state it for the spaces'):
        narrowed.pin("conv_0", kernel=4)
    assert narrowed.union(Space(bits(8))).resolve(FACTS).size == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Space(bits(2)).narrow(Space(bits(4))),
            "share no config: `conv_0/kernel` may be 2 auto in one, 4 auto",
        ),
        (
            lambda: Space(bits(2)).narrow(Space(bits(2), activation=bits(4))),
            "quantize different sites, `conv_0/activation` for instance only in one",
        ),
        (
            lambda: Space(activation=bits(8)).union(Space(activation=bits(8, integer=2))),
            "`input/activation` is 8 auto in one space and 8 fixed.2 in the other: they can't be united",
        ),
        (lambda: Space(activation=bits(8)).union(Space(activation=bits(8, signed=True))), "they can't be united"),
        (
            lambda: Space(bits(2)).narrow(Space(bits(2), batch_norm="refuse")),
            "needs the same batch_norm in both spaces",
        ),
        (lambda: Space(bits(2)).union(bits(2)), "union needs a Space, but got Menu"),
    ],
)
def test_spaces_that_cannot_be_combined_are_refused(make, message):
    with pytest.raises(SpaceError, match=message):
        make().resolve(FACTS)


def test_only_spaces_of_one_model_combine():
    from mpsearch.space.algebra import intersection

    with pytest.raises(SpaceError, match="spaces of one model can be combined"):
        intersection(Space(bits(2)).resolve(FACTS), Space(bits(2)).resolve(chain("conv_0")))
