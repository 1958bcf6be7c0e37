"""The space language: what statements mean on facts written by hand, and which are refused."""

import pytest

from mpsearch.config import QuantizerSpec
from mpsearch.errors import SpaceError
from mpsearch.menu import Menu, bits
from mpsearch.space import Space
from tests.space.networks import net

FACTS = net()


def space_of(**menus: Menu) -> Space:
    return Space(**{"kernel": bits(4, 8, 16), **menus})


def menus_of(space: Space) -> dict[str, str]:
    return {site: str(menu) for site, menu in space.resolve(FACTS).menus.items()}


def test_roles_without_a_menu_stay_float():
    resolved = Space(kernel=bits(4, 8)).resolve(FACTS)
    assert resolved.sites == ("conv_0/kernel", "conv_1/kernel", "conv_2/kernel", "logits/kernel")
    assert set(resolved.floats) == {site.name for site in FACTS.sites} - set(resolved.sites)


@pytest.mark.parametrize(
    ("pattern", "changed"),
    [
        ("conv_1", {"conv_1"}),
        ("conv_*", {"conv_0", "conv_1", "conv_2"}),
        ("conv_[02]", {"conv_0", "conv_2"}),
        ("Conv2D", {"conv_0", "conv_1", "conv_2"}),
        ("Dense", {"logits"}),
        ("*", {"conv_0", "conv_1", "conv_2", "logits"}),
    ],
)
def test_patterns_are_names_globs_or_classes(pattern, changed):
    menus = menus_of(space_of().at(pattern, kernel=bits(2, 3)))
    assert {site.partition("/")[0] for site, menu in menus.items() if menu == "2/3 auto"} == changed


def test_at_takes_open_options_from_the_role():
    space = space_of(kernel=bits(4, 8, alpha="auto_po2"), activation=bits(8, range="batch", signed=True))
    space.at("conv_0", kernel=bits(2), activation=bits(4)).at("conv_1", kernel=bits(2, alpha="auto"))
    menus = menus_of(space)
    assert menus["conv_0/kernel"] == "2 auto_po2"
    assert menus["conv_1/kernel"] == "2 auto"
    assert menus["conv_0/activation"] == "4 auto signed range=batch"


def test_fixed_point_takes_over_the_sign_but_no_range_or_zero_point():
    space = space_of(activation=bits(8, range="batch", signed=False)).at("add", activation=bits(4, integer=2))
    assert menus_of(space)["add/activation"] == "4 fixed.2 unsigned"
    affine = space_of(activation=bits(8, affine=True)).at("add", activation=bits(4, integer=2))
    assert menus_of(affine)["add/activation"] == "4 fixed.2"


def test_a_zero_point_takes_over_no_sign():
    space = space_of(activation=bits(8, range="batch", signed=False)).at("add", activation=bits(4, affine=True))
    assert menus_of(space)["add/activation"] == "4 auto affine range=batch"


@pytest.mark.parametrize(
    ("role", "own", "message"),
    [
        (bits(8, affine=True), bits(4, signed=True), "affine codes are unsigned"),
        (bits(8, integer=2), bits(4, range="batch"), "fixed-point codes know no range"),
    ],
)
def test_open_options_that_exclude_ones_own_are_refused_with_the_statement(role, own, message):
    with pytest.raises(SpaceError, match=rf'at\("add", activation=…\) at `add/activation`: {message}'):
        space_of(activation=role).at("add", activation=own).resolve(FACTS)


WHERE = {
    "at": lambda s, where: s.at("conv_*", kernel=bits(2), where=where),
    "at, any layer": lambda s, where: s.at(kernel=bits(2), where=where),
    "pin": lambda s, where: s.pin("*", kernel=8, where=where),
    "cap": lambda s, where: s.cap("*", kernel=4, where=where),
    "skip": lambda s, where: s.skip(where=where),
    "search_alpha": lambda s, where: s.search_alpha("kernel", "auto_po2", where=where),
}


@pytest.mark.parametrize("verb", WHERE)
def test_every_statement_takes_a_predicate(verb):
    plain = space_of().resolve(FACTS)
    chosen = WHERE[verb](space_of(), lambda site: site.layer == "conv_1").resolve(FACTS)
    assert {s.name for s in FACTS.sites if chosen.menus.get(s.name) != plain.menus.get(s.name)} == {"conv_1/kernel"}
    with pytest.raises(SpaceError, match="`where` holds for none of them"):
        WHERE[verb](space_of(), lambda site: False).resolve(FACTS)


def test_a_tie_takes_a_predicate():
    space = space_of().tie("conv_*", where=lambda site: site.layer != "conv_1").resolve(FACTS)
    assert space.choices[0].sites == ("conv_0/kernel", "conv_2/kernel")


def test_at_gives_a_menu_to_a_role_without_one():
    assert menus_of(space_of().at("conv_0", bias=bits(16)))["conv_0/bias"] == "16 auto"


def test_of_several_statements_the_last_wins():
    menus = menus_of(space_of().at("conv_*", kernel=bits(2)).at("conv_0", kernel=bits(3)))
    assert (menus["conv_0/kernel"], menus["conv_1/kernel"]) == ("3 auto", "2 auto")


def test_a_pin_leaves_one_possibility():
    resolved = space_of(activation=bits(4, 8, signed=True)).pin("logits", kernel=8, activation=8).resolve(FACTS)
    assert resolved.menus["logits/kernel"].specs == (QuantizerSpec(8),)
    assert resolved.menus["logits/activation"].specs == (QuantizerSpec(8, signed=True),)
    assert "logits/kernel" not in [choice.name for choice in resolved.free]


def test_a_pin_may_name_the_scale_mode_or_leave_it_open():
    space = space_of(kernel=bits(4, 8, alpha=["auto", "auto_po2"]))
    space.pin("conv_0", kernel=bits(8, alpha="auto_po2")).pin("conv_1", kernel=8)
    menus = menus_of(space)
    assert (menus["conv_0/kernel"], menus["conv_1/kernel"]) == ("8 auto_po2", "8 auto|auto_po2")


def test_a_tie_shares_one_choice_for_each_role():
    resolved = space_of(bias=bits(16, 31)).tie("conv_*").resolve(FACTS)
    kernels, biases = (resolved.choices[i] for i in (0, 1))
    assert kernels.sites == ("conv_0/kernel", "conv_1/kernel", "conv_2/kernel")
    assert biases.sites == ("conv_0/bias", "conv_1/bias", "conv_2/bias")
    assert resolved.size == (3 * 2) ** 2
    assert all(len({config[site] for site in kernels.sites}) == 1 for config in resolved)


def test_ties_of_chosen_roles_leave_the_others():
    resolved = space_of(bias=bits(16, 31)).tie("conv_0", "conv_1", roles=["bias"]).resolve(FACTS)
    assert [choice.sites for choice in resolved.choices if len(choice.sites) > 1] == [("conv_0/bias", "conv_1/bias")]


def test_overlapping_ties_join():
    resolved = space_of().tie("conv_0", "conv_1").tie("conv_2", "logits").tie("conv_1", "conv_2").resolve(FACTS)
    assert [choice.sites for choice in resolved.choices] == [resolved.sites]


def test_tied_sites_have_what_their_menus_share():
    space = space_of().at("conv_0", kernel=bits(2, 8, 16)).pin("conv_2", kernel=8)
    assert menus_of(space.tie("conv_0", "conv_1"))["conv_1/kernel"] == "8/16 auto"
    assert menus_of(space.tie("conv_1", "conv_2"))["conv_0/kernel"] == "8 auto"


def test_skipped_layers_stay_float():
    resolved = space_of(activation=bits(8)).skip("conv_*").skip("logits", roles=["activation"]).resolve(FACTS)
    assert resolved.sites == ("input/activation", "add/activation", "logits/kernel")
    assert {"conv_0/kernel", "conv_0/activation", "logits/activation"} <= set(resolved.floats)


def test_a_softmax_may_be_skipped_though_it_has_no_site():
    assert space_of().skip("softmax").resolve(FACTS).sites == space_of().resolve(FACTS).sites


def test_search_alpha_makes_the_scale_mode_a_choice():
    space = space_of().search_alpha("kernel", "auto", "auto_po2").search_alpha("kernel", "auto_po2", pattern="conv_0")
    menus = menus_of(space)
    assert (menus["conv_0/kernel"], menus["conv_1/kernel"]) == ("4/8/16 auto_po2", "4/8/16 auto|auto_po2")
    assert space.resolve(FACTS).size == 3 * 6**3


def test_search_alpha_holds_whether_a_narrower_menu_comes_before_or_after():
    before = space_of().at("conv_0", kernel=bits(8, 16)).search_alpha("kernel", "auto", "auto_po2")
    after = space_of().search_alpha("kernel", "auto", "auto_po2").at("conv_0", kernel=bits(8, 16))
    assert menus_of(before)["conv_0/kernel"] == menus_of(after)["conv_0/kernel"] == "8/16 auto|auto_po2"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda s: s.at("conv_9", kernel=bits(8)),
            r'at\("conv_9", kernel=…\) matches no layer of `net`; did you mean `conv_',
        ),
        (lambda s: s.pin("logit", kernel=8), "did you mean `logits`"),
        (lambda s: s.skip("sotfmax"), "did you mean `softmax`"),
        (lambda s: s.tie("cnv_*"), "matches no layer of `net`"),
        (
            lambda s: s.search_alpha("kernel", "auto", pattern="xyz"),
            r'search_alpha\("xyz", "kernel", …\) matches no layer of `net`; there are input, conv_0',
        ),
        (lambda s: s.at("Conv2d", kernel=bits(8)), "did you mean `Conv2D`"),
        (lambda s: s.at("add", kernel=bits(8)), r"matches add \(Add\), but none has a quantizable kernel"),
        (
            lambda s: s.pin("softmax", activation=8),
            r"matches softmax \(Activation\), but none has a quantizable activation",
        ),
        (lambda s: s.skip("conv_0_bn"), r"`conv_0_bn`, which has no site of its own: it is part of `conv_0`"),
        (lambda s: s.skip("add", roles=("kernel",)), r"matches add \(Add\), but none has a quantizable kernel"),
        (lambda s: s.skip("softmax", roles=["activation"]), "but none has a quantizable activation"),
        (lambda s: s.tie("conv_0", "softmax"), "softmax"),
        (
            lambda s: s.pin("conv_0", kernel=5),
            r"`conv_0/kernel` may be one of 4/8/16 auto, but is pinned to 5 auto; widen",
        ),
        (lambda s: s.pin("conv_0", kernel=bits(8, alpha="auto_po2")), "but is pinned to 8 auto_po2"),
        (
            lambda s: s.cap("conv_*", kernel=4).pin("conv_0", kernel=8),
            r"`conv_0/kernel` may be one of 4 auto, but is pinned to 8 auto; raise cap\(\"conv_\*\", kernel=4\)",
        ),
        (lambda s: s.cap("conv_*", kernel=4).cap("conv_0", kernel=8).pin("conv_0", kernel=8), r"raise cap\(\"conv_\*"),
        (
            lambda s: s.pin("conv_0", kernel=bits(4, 8)),
            r"needs one width, but got 4/8 auto; to narrow a menu use at\(\)",
        ),
        (lambda s: s.pin("conv_0", bias=8), "reaches `conv_0/bias`, whose role `bias` has no menu"),
        (lambda s: s.pin("conv_0", kernel=4).pin("conv_*", kernel=8), "contradict each other at `conv_0/kernel`"),
        (
            lambda s: s.pin("conv_0", kernel=4).skip("conv_*"),
            r'skip\("conv_\*"\) contradict each other at `conv_0/kernel`',
        ),
        (lambda s: s.at("conv_0", kernel=bits(8)).skip("conv_0"), "contradict each other at `conv_0/kernel`"),
        (lambda s: s.pin("conv_0", kernel=4).pin("conv_1", kernel=8).tie("conv_*"), "have nothing in common"),
        (lambda s: s.at("conv_0", kernel=bits(8, alpha="auto_po2")).tie("conv_*"), "have nothing in common"),
        (lambda s: s.tie("conv_0"), "needs at least two quantized sites of one role to tie, but found 1"),
        (lambda s: s.tie("conv_0", "conv_1", roles=["bias"]), "but found 0"),
        (lambda s: s.tie("conv_*", roles=["kernels"]), "a role must be one of .* but got 'kernels'"),
        (lambda s: s.skip("conv_*", roles=["x"]), "a role must be one of .* but got 'x'"),
        (lambda s: s.search_alpha("kernel"), "search_alpha needs scale modes"),
        (lambda s: s.search_alpha("kernels", "auto"), "a role must be one of .* but got 'kernels'"),
        (lambda s: s.search_alpha("kernel", "fixed"), "needs its integer bits"),
        (lambda s: s.search_alpha("kernel", "auto", "auto"), "auto"),
        (
            lambda s: s.search_alpha("bias", "auto"),
            "reaches `conv_0/bias`, which has no menu; give the role `bias` one",
        ),
        (lambda s: s.at("conv_0"), r'at\("conv_0"\) needs `kernel`, `bias` or `activation`'),
        (lambda s: s.pin("conv_0"), r'pin\("conv_0"\) needs `kernel`, `bias` or `activation`'),
        (lambda s: s.at("conv_0", kernel=8), r"needs a menu such as bits\(8, 16\), but got 8"),
        (
            lambda s: s.at("conv_0", kernel=bits(8, signed=False)),
            "`signed=False` is for feature maps, but a kernel got it",
        ),
        (lambda s: s.at("conv_0", kernel=bits(8, affine=True)), "`affine` is for feature maps, but a kernel got it"),
        (lambda s: s.at("conv_0", bias=bits(8, range="batch")), "`range` is for feature maps, but a bias got it"),
        (lambda s: s.at("add", activation=bits(8, alpha="qkeras_po2")), '"qkeras_po2" is for kernels and biases'),
        (lambda s: s.skip("*"), "leaves every site of `net` in float; give at least one role a menu"),
    ],
)
def test_mistakes_are_refused_with_what_was_found_and_a_way_out(make, message):
    with pytest.raises(SpaceError, match=message):
        make(space_of()).resolve(FACTS)


def test_search_alpha_does_not_drop_fixed_point_in_silence():
    with pytest.raises(SpaceError, match="integer"):
        space_of(kernel=bits(4, 8, integer=0)).search_alpha("kernel", "auto").resolve(FACTS)


def test_a_class_pattern_may_be_skipped_in_part_as_a_glob_may():
    by_glob = space_of().at("conv_*", kernel=bits(2)).skip("conv_0")
    by_class = space_of().at("Conv2D", kernel=bits(2)).skip("conv_0")
    assert menus_of(by_glob) == menus_of(by_class)


def test_a_role_given_anything_but_a_menu_is_refused():
    with pytest.raises(SpaceError, match=r"`kernel` needs a menu such as bits\(4, 8, 16\), but got 8"):
        Space(kernel=8)


def test_a_batch_norm_is_kept_or_refused():
    assert Space().batch_norm == "keep"
    assert Space(batch_norm="refuse").batch_norm == "refuse"
    with pytest.raises(SpaceError, match='`batch_norm` must be "keep" or "refuse", but got \'fold\''):
        Space(batch_norm="fold")


def test_an_empty_space_is_refused():
    with pytest.raises(SpaceError, match="leaves every site"):
        Space().resolve(FACTS)


def test_resolving_twice_gives_the_same_and_leaves_the_space_alone():
    space = space_of().at("conv_0", kernel=bits(8)).tie("conv_1", "conv_2")
    assert space.resolve(FACTS) == space.resolve(FACTS)
