"""Tests of the space language and of resolved spaces, on facts written by hand: no Keras here."""

import itertools
import json
import random
import re
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.config import Alpha, Config, QuantizerSpec, Role
from mpsearch.errors import ConfigError, SpaceError
from mpsearch.facts import LayerFacts, ModelFacts, SiteFacts
from mpsearch.menu import Menu, bits
from mpsearch.space import Space


def facts_of(layers: int = 3) -> ModelFacts:
    """A chain of convolutions `conv_0` …, each with BatchNorm, then `add`, `logits` and `softmax`."""
    compute = [(f"conv_{i}", "Conv2D") for i in range(layers)] + [("logits", "Dense")]
    sites = [SiteFacts("input/activation", "input", "InputLayer", Role.ACTIVATION, (8, 8, 1), negative=False)]
    for layer, kind in compute:
        sites.append(SiteFacts(f"{layer}/kernel", layer, kind, Role.KERNEL, (3, 3, 1, 4), macs=2304))
        sites.append(SiteFacts(f"{layer}/bias", layer, kind, Role.BIAS, (4,)))
        sites.append(SiteFacts(f"{layer}/activation", layer, kind, Role.ACTIVATION, (8, 8, 4)))
    sites.insert(-3, SiteFacts("add/activation", "add", "Add", Role.ACTIVATION, (8, 8, 4)))
    named = [LayerFacts(*pair) for pair in [("input", "InputLayer"), *compute[:-1]]]
    named += [LayerFacts("conv_0_bn", "BatchNormalization", part_of="conv_0"), LayerFacts("add", "Add")]
    named += [LayerFacts("logits", "Dense"), LayerFacts("softmax", "Activation")]
    return ModelFacts("net", tuple(sites), tuple(named), input_elements=64)


FACTS = facts_of()


def space_of(**menus: Menu) -> Space:
    return Space(**{"kernel": bits(4, 8, 16), **menus})


def menus_of(space: Space) -> dict[str, str]:
    return {site: str(menu) for site, menu in space.resolve(FACTS).menus.items()}


# Menus


def test_a_menu_sorts_widths_and_prints_briefly():
    assert str(bits(16, 4, 8)) == "4/8/16 auto"
    assert str(bits(4, 8, alpha=["auto", "auto_po2"])) == "4/8 auto|auto_po2"
    assert str(bits(4, 8, integer=3, signed=False)) == "4/8 fixed.3 unsigned"
    assert str(bits(8, affine=True, range="batch")) == "8 auto affine range=batch"


def test_a_menu_lists_every_width_with_every_scale_mode():
    assert [str(spec) for spec in bits(4, 8, alpha=["auto_po2", "auto"]).specs] == [
        "4 auto_po2",
        "4 auto",
        "8 auto_po2",
        "8 auto",
    ]


@pytest.mark.parametrize(
    ("widths", "options", "message"),
    [
        ((), {}, "`bits` needs at least one width"),
        ((4, 8, 4), {}, r"each width may be given once, but got \(4, 8, 4\)"),
        ((1, 4), {}, "integer from 2 to 32 bits, but got 1"),
        ((8, 33), {}, "integer from 2 to 32 bits, but got 33"),
        ((8.0,), {}, "integer from 2 to 32 bits, but got 8.0"),
        ((8,), {"alpha": "aut"}, "scale mode must be one of .* but got 'aut'"),
        ((8,), {"alpha": []}, r"one or more different scale modes, but got \[\]"),
        ((8,), {"alpha": ["auto", "auto"]}, "one or more different scale modes"),
        ((8,), {"alpha": "auto", "integer": 2}, "excludes `alpha`, but got integer=2, alpha='auto'"),
        ((8,), {"alpha": "fixed"}, '`integer` and alpha="fixed" go together'),
        ((8,), {"integer": 2, "affine": True}, "affine codes need"),
        ((8,), {"integer": 3, "range": "batch"}, 'know no range, but got integer=3, range="batch": leave one out'),
        ((8,), {"range": "epoch"}, "range rule must be one of .* but got 'epoch'"),
    ],
)
def test_menus_that_cannot_be_are_refused(widths, options, message):
    with pytest.raises(ConfigError, match=message):
        bits(*widths, **options)


# Statements


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


# Resolved spaces


def test_size_is_exact_at_10_to_the_60():
    space = Space(kernel=bits(2, 4, 8, 16, 32), bias=bits(4, 8, 16), activation=bits(4, 8)).resolve(facts_of(41))
    assert space.size == 5**42 * 3**42 * 2**44
    assert space.size > 10**60
    assert f"{space.size:,} configs" in str(space)
    assert space.nth(space.size - 1) == Config({site: menu.specs[-1] for site, menu in space.menus.items()})
    assert space.nth(space.size // 3) in space
    with pytest.raises(IndexError, match=f"{space.size} configs, so there is no config number {space.size}"):
        space.nth(space.size)
    with pytest.raises(IndexError, match="no config number -1"):
        space.nth(-1)


menus = st.lists(st.integers(2, 9), min_size=1, max_size=3, unique=True).flatmap(
    lambda widths: st.lists(st.sampled_from(["auto", "auto_po2"]), min_size=1, max_size=2, unique=True).map(
        lambda alphas: bits(*widths, alpha=alphas)
    )
)
spaces = st.builds(
    lambda kernel, bias, own, tied: (Space(kernel, bias).at("conv_1", kernel=own).tie(*tied)).resolve(FACTS),
    menus,
    st.none() | menus,
    menus,
    st.sampled_from([("conv_0", "conv_2"), ("conv_0", "logits"), ("conv_0", "conv_2", "logits")]),
)


@given(spaces)
def test_iteration_is_the_product_of_the_menus(space):
    expected = itertools.product(*(choice.specs for choice in space.choices))
    count = 0
    for index, (config, specs) in enumerate(zip(space, expected, strict=False)):
        count += 1
        assert config == space.nth(index)
        assert [config[choice.name] for choice in space.choices] == list(specs)
        if index == 60:
            break
    assert count == min(space.size, 61)
    assert space.size == prod(len(choice.specs) for choice in space.choices)


def test_a_small_space_lists_each_config_once():
    space = space_of().tie("conv_*").resolve(FACTS)
    assert len({config.fingerprint for config in space}) == space.size == 9


@given(spaces, st.integers(0, 2**32))
def test_samples_lie_inside_and_repeat_with_the_seed(space, seed):
    config = space.sample(random.Random(seed))
    assert config in space
    assert config == space.sample(random.Random(seed))
    assert tuple(config) == space.sites
    assert space.config(space.picks(config)) == config
    assert Config.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_samples_are_uniform():
    space = space_of(kernel=bits(4, 8)).tie("conv_*").resolve(FACTS)
    rng = random.Random(0)
    counts = [0] * 4
    order = {config: i for i, config in enumerate(space)}
    for _ in range(2000):
        counts[order[space.sample(rng)]] += 1
    assert all(440 < count < 560 for count in counts)


def test_uniform_takes_the_nearest_width_that_is_not_below():
    space = space_of(bias=bits(16, 31)).at("conv_0", kernel=bits(2, 3)).pin("logits", kernel=16).resolve(FACTS)
    config = space.uniform(8)
    assert [config[site].bits for site in space.sites] == [3, 16, 8, 16, 8, 16, 16, 16]
    assert config in space


def test_picks_and_configs_outside_the_space_are_refused():
    space = space_of().tie("conv_0", "conv_1").pin("logits", kernel=8).resolve(FACTS)
    config = space.nth(0)
    four, five, eight = (QuantizerSpec(n) for n in (4, 5, 8))
    with pytest.raises(ConfigError, match=re.escape("no choice named ['conv_9/kernel']; did you mean `conv_")):
        space.config({"conv_9/kernel": four})
    with pytest.raises(ConfigError, match=r"choice `conv_2/kernel` has no spec; it may be one of: 4/8/16 auto"):
        space.config({"conv_0/kernel": four})
    with pytest.raises(ConfigError, match=r"choice `conv_0/kernel` may be one of: 4/8/16 auto, but got 5 auto"):
        space.config({"conv_0/kernel": five, "conv_2/kernel": four})
    assert space.config({"conv_0/kernel": four, "conv_2/kernel": four}) == config
    for wrong, message in (
        ({**config, "conv_1/kernel": eight}, r"`conv_1/kernel` is tied to `conv_0/kernel` \(4 auto\), but has 8 auto"),
        ({**config, "conv_2/kernel": five}, "`conv_2/kernel` may be one of: 4/8/16 auto, but the config has 5 auto"),
        ({**config, "x": four}, r"missing \[\], not in the space \['x'\]"),
        ({"conv_0/kernel": four}, r"missing \['conv_1/kernel', .*\], not in the space \[\]"),
    ):
        assert Config(wrong) not in space
        with pytest.raises(ConfigError, match=message):
            space.picks(Config(wrong))


def test_a_fingerprint_tells_spaces_apart():
    made = [
        space_of(),
        space_of(kernel=bits(4, 8)),
        space_of(kernel=bits(4, 8, 16, alpha="auto_po2")),
        space_of().pin("conv_0", kernel=8),
        space_of().tie("conv_*"),
        space_of().skip("conv_0"),
    ]
    prints = [space.resolve(FACTS).fingerprint for space in made]
    assert len(set(prints)) == len(prints)
    assert prints == [space.resolve(facts_of()).fingerprint for space in made]
    assert space_of().resolve(facts_of(4)).fingerprint not in prints


def test_the_table_has_layer_tensor_shape_elements_and_menu():
    space = space_of(activation=bits(8)).tie("conv_0", "conv_1", roles=["kernel"]).skip("add").resolve(FACTS)
    rows = {f"{row['layer']}/{row['tensor']}": row for row in space.rows()}
    assert rows["conv_0/kernel"] == {
        "layer": "conv_0",
        "tensor": "kernel",
        "shape": "3×3×1×4",
        "elements": 36,
        "menu": "4/8/16 auto",
    }
    assert rows["conv_1/kernel"]["menu"] == "4/8/16 auto (tied to conv_0/kernel)"
    assert rows["add/activation"]["menu"] == rows["conv_0/bias"]["menu"] == "float"
    text = str(space).splitlines()
    assert text[0].split() == ["layer", "tensor", "shape", "elements", "menu"]
    assert len(text) == len(rows) + 3
    assert text[-2] == f"{len(space.sites)} sites, 3 choices, 27 configs"
    assert not any(line.endswith(" ") for line in text)


def test_widths_above_24_bits_carry_a_note():
    space = space_of(bias=bits(16, 31), activation=bits(8)).resolve(FACTS)
    assert space.notes == (
        "4 sites have widths above 24 bits: trained in float32, whose rounding (2^-24) bounds their precision",
    )
    assert str(space).endswith(space.notes[0])
    assert space_of(bias=bits(16, 24), activation=bits(8)).resolve(FACTS).notes == ()


def test_sites_left_in_float_carry_a_note():
    space = space_of(activation=bits(8)).skip("logits", roles=["bias"]).skip("*", roles=["bias"]).resolve(FACTS)
    assert space.notes == (
        "4 sites stay in float, and count 32 bits: conv_0/bias, conv_1/bias, conv_2/bias, logits/bias",
    )


def test_alpha_is_an_enumeration_of_the_four_modes():
    assert [alpha.value for alpha in Alpha] == ["auto", "auto_po2", "qkeras_po2", "fixed"]
