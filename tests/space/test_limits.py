"""Dependent limits, ties across roles and caps: what they mean, and what is refused."""

import random
import re

import numpy as np
import pytest

from mpsearch.config import Config, QuantizerSpec, Role
from mpsearch.errors import ConfigError, SpaceError
from mpsearch.menu import bits
from mpsearch.searching.parameters import config_of, distributions, parameters_of
from mpsearch.space import Space
from tests.space.networks import chain, parts

FACTS = chain("conv_0", "conv_1", "dense", roles=(Role.KERNEL, Role.ACTIVATION))


def space_of(**options):
    return Space(**{"kernel": bits(4, 8, 16), "activation": bits(4, 8, 16, alpha="auto_po2"), **options})


def widths(config, *sites):
    return [config[site].bits for site in sites]


def test_kernels_are_no_wider_than_their_layers_activations():
    space = space_of().limit("kernel", "<=", "activation").resolve(FACTS)
    assert space.size == 3 * 6**3
    assert all(
        config[f"{layer}/kernel"].bits <= config[f"{layer}/activation"].bits
        for config in space
        for layer in ("conv_0", "conv_1", "dense")
    )


@pytest.mark.parametrize(("comparison", "pairs"), [("<=", 6), ("<", 3), ("==", 3), (">=", 6), (">", 3)])
def test_all_comparisons_work_either_way(comparison, pairs):
    turned = {"<=": ">=", "<": ">", "==": "==", ">=": "<=", ">": "<"}[comparison]
    space = space_of().limit("kernel", comparison, "activation", at="dense").resolve(FACTS)
    assert space.size == 3**5 * pairs
    assert all(eval(f"{k} {comparison} {a}") for k, a in (widths(c, "dense/kernel", "dense/activation") for c in space))
    other = space_of().limit("activation", turned, "kernel", at="dense").resolve(FACTS)
    assert set(other) == set(space)
    assert other.fingerprint == space.fingerprint


def test_a_limit_can_be_on_what_a_layer_reads():
    space = space_of().limit("kernel", "<=", "input").resolve(FACTS)
    reads = [("conv_0", "input"), ("conv_1", "conv_0"), ("dense", "conv_1")]
    assert space.size == 6**3 * 3
    assert all(config[f"{a}/kernel"].bits <= config[f"{b}/activation"].bits for config in space for a, b in reads)


def test_a_limit_holds_for_all_parts_and_applications_of_a_layer():
    space = space_of(kernel=bits(4, 8), activation=bits(4, 8)).limit("kernel", "<=", "activation").resolve(parts())
    assert space.size == (1 + 4) ** 2
    assert sorted((x.left, x.right) for x in space.limits) == [
        ("encoder.dense/kernel", "encoder.dense.2/activation"),
        ("encoder.dense/kernel", "encoder.dense/activation"),
        ("sep_depthwise/kernel", "sep_pointwise/activation"),
        ("sep_pointwise/kernel", "sep_pointwise/activation"),
    ]


def test_a_limit_can_be_narrowed_by_pattern_and_predicate():
    named = space_of().limit("kernel", "<=", "activation", at=re.compile("conv_.*")).resolve(FACTS)
    large = space_of().limit("kernel", "<=", "activation", where=lambda site: site.elements > 60).resolve(FACTS)
    assert [limit.left for limit in named.limits] == ["conv_0/kernel", "conv_1/kernel"]
    assert [limit.left for limit in large.limits] == ["dense/kernel"]


def test_a_site_in_float_is_under_no_limit():
    space = space_of().skip("conv_1", roles=["activation"]).limit("kernel", "<=", "activation").resolve(FACTS)
    assert [limit.left for limit in space.limits] == ["conv_0/kernel", "dense/kernel"]


def test_tied_kernels_are_below_the_narrowest_of_their_activations():
    space = space_of().tie("*", roles=["kernel"]).limit("kernel", "<=", "activation").resolve(FACTS)
    assert space.size == 3 * (3**3 + 2**3 + 1)
    assert all(c["conv_0/kernel"].bits <= min(widths(c, "conv_0/activation", "dense/activation")) for c in space)


def test_widths_that_no_config_can_have_are_taken_off_the_menus_and_said_so():
    space = space_of().cap("dense", activation=8).limit("kernel", "<", "activation", at="dense").resolve(FACTS)
    assert (str(space.menus["dense/kernel"]), str(space.menus["dense/activation"])) == ("4 auto", "8 auto_po2")
    assert space.notes == (
        "the limits leave `dense/kernel` 4 of 4/8/16 bits",
        "the limits leave `dense/activation` 8 of 4/8 bits",
    )
    assert 'limit("kernel", "<", "activation", at="dense"): dense/kernel < dense/activation' in str(space).splitlines()


def test_ties_across_roles_share_a_width_and_keep_their_scale_modes():
    space = space_of().tie("conv_*", roles=["kernel", "activation"], across_roles=True).resolve(FACTS)
    sites = ["conv_0/kernel", "conv_0/activation", "conv_1/kernel", "conv_1/activation"]
    assert space.size == 3 * 3 * 9
    for config in space:
        assert len(set(widths(config, *sites))) == 1
        assert {config[site].alpha.value for site in sites} == {"auto", "auto_po2"}


def test_ties_across_roles_join_others():
    space = space_of().tie("conv_0", roles=["kernel", "activation"], across_roles=True)
    space.tie("conv_1", "dense", roles=["kernel", "activation"], across_roles=True).tie(
        "conv_0", "dense", roles=["kernel"]
    )
    resolved = space.resolve(FACTS)
    assert resolved.size == 3 * 3
    assert all(
        len({config[site].bits for site in resolved.sites if site != "input/activation"}) == 1 for config in resolved
    )


def test_caps_bound_menus_whichever_statement_gave_them():
    space = space_of().cap("Conv2D", kernel=8).at("conv_0", kernel=bits(2, 4, 16)).pin("conv_1", kernel=8)
    menus = {site: str(menu) for site, menu in space.resolve(FACTS).menus.items()}
    assert [menus[f"{layer}/kernel"] for layer in ("conv_0", "conv_1", "dense")] == [
        "2/4 auto",
        "8 auto",
        "4/8/16 auto",
    ]


def test_caps_by_class_as_autoqkeras_has_them():
    facts = chain("conv_0", "dense")
    space = Space(bits(4, 8, 16), bits(8, 16, 31), bits(4, 8, 16))
    space.caps({"Conv2D": [8, 16, 4], "Dense": [4, None, 8], "InputLayer": [8]})
    assert [str(menu) for menu in space.resolve(facts).menus.values()] == [
        "4/8 auto", "4/8 auto", "8/16 auto", "4 auto", "4 auto", "8/16/31 auto", "4/8 auto",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: s.limit("kernel", "=<", "activation"), r"a comparison must be one of .* but got '=<'"),
        (lambda s: s.limit("kernels", "<=", "activation"), "a role must be one of .* but got 'kernels'"),
        (lambda s: s.limit("kernel", "<=", "output"), "a role must be one of .* but got 'output'"),
        (lambda s: s.limit("input", ">=", "kernel"), r'must name the role first, as in limit\("kernel'),
        (lambda s: s.limit("kernel", "<=", "kernel"), r"needs two different roles; .* use tie\(\)"),
        (lambda s: s.limit("bias", "<=", "kernel"), r"matches .*, but none has a quantizable bias"),
        (lambda s: s.limit("kernel", "<=", "bias"), "compares nothing: .* quantized kernel and a quantized bias"),
        (
            lambda s: s.pin("dense", kernel=16, activation=8).limit("kernel", "<=", "activation"),
            r"leaves no config: it wants `dense/kernel` <= `dense/activation` in bits, but menus, pins, ties and other "
            "limits leave 16 and 8",
        ),
        (
            lambda s: s.limit("kernel", "<", "activation").limit("activation", "<=", "kernel", at="dense"),
            r'limit\("activation", "<=", "kernel", at="dense"\) leaves no config: .* leave 8/16 and 4/8',
        ),
        (
            lambda s: s.tie("conv_*", roles=["activation"]).limit("activation", "<", "input"),
            "wants `conv_1/activation` below `conv_0/activation`, but they are tied to one width",
        ),
        (lambda s: s.tie("conv_0", across_roles=True, roles=["kernel"]), "at least two roles to tie, but found kernel"),
        (
            lambda s: s.cap("conv_0", activation=4).pin("conv_0", kernel=8).tie(
                "conv_0", roles=["kernel", "activation"], across_roles=True
            ),
            r'tie\("conv_0", across_roles=True\) leaves no config',
        ),
        (lambda s: s.tie(), r"tie needs at least one pattern"),
        (lambda s: s.tie("*", roles=[]), "roles must name some of"),
        (lambda s: s.cap("conv_0", kernel=3), "leaves `conv_0/kernel` nothing: its menu is 4/8/16 auto"),
        (lambda s: s.cap("conv_0", bias=8), "matches conv_0 .* none has a quantizable bias"),
        (lambda s: s.cap("conv_0"), r'cap\("conv_0"\) needs `kernel`, `bias` or `activation`'),
        (lambda s: s.cap("conv_0", kernel=8).skip("conv_0"), "contradict each other at `conv_0/kernel`"),
        (lambda s: s.caps({"Conv2D": [8, 8]}), r'caps needs three widths .* for "Conv2D", but got \[8, 8\]'),
        (lambda s: s.caps({"Conv2D": 8}), r'caps needs three widths .* for "Conv2D", but got 8'),
        (lambda s: s.caps({"Conv2D": [None, None, None]}), r'cap\("Conv2D"\) needs `kernel`'),
        (lambda s: s.caps({"Conv3D": [8]}), "matches no layer of `chain`; did you mean `Conv2D`"),
        (lambda s: s.cap("*", kernel=1), "a width must be an integer from 2 to 32"),
    ],
)  # fmt: skip
def test_contradictions_are_refused(make, message):
    with pytest.raises((SpaceError, ConfigError), match=message):
        make(space_of()).resolve(FACTS)


def test_a_cap_needs_a_menu_to_bound():
    with pytest.raises(SpaceError, match="reaches `input/activation`, whose role `activation` has no menu"):
        Space(bits(4, 8)).cap("*", activation=8).resolve(FACTS)


# Limited spaces in a search


LIMITED = space_of().limit("kernel", "<=", "activation").search_alpha("kernel", "auto", "auto_po2").resolve(FACTS)


def test_configs_that_break_a_limit_are_not_in_the_space():
    inside = LIMITED.uniform(8)
    outside = Config({**inside, "dense/kernel": QuantizerSpec(16)})
    assert inside in LIMITED
    assert outside not in LIMITED
    message = (
        r'limit\("kernel", "<=", "activation"\) wants `dense/kernel` <= `dense/activation` in bits, but got 16 and 8'
    )
    with pytest.raises(ConfigError, match=message):
        LIMITED.picks(outside)
    with pytest.raises(ConfigError, match=message):
        LIMITED.config({choice.name: outside[choice.name] for choice in LIMITED.choices})


def test_repairing_leaves_what_is_inside_and_moves_the_rest_to_the_nearest_width_possible():
    for config in LIMITED.configs(LIMITED.draw(np.random.default_rng(0), 50)):
        assert LIMITED.repaired(LIMITED.picks(config)) == LIMITED.picks(config)
    picks = {**LIMITED.picks(LIMITED.uniform(4)), "dense/kernel": QuantizerSpec(8, "auto_po2")}
    repaired = LIMITED.repaired(picks)
    assert [str(repaired[site]) for site in ("dense/kernel", "dense/activation")] == ["8 auto_po2", "8 auto_po2"]
    assert {site for site in picks if repaired[site] != picks[site]} == {"dense/activation"}


def test_whatever_parameters_a_sampler_proposes_the_config_lies_inside():
    rng, known = random.Random(0), distributions(LIMITED)
    for _ in range(200):
        proposed = {
            name: rng.choice(d.choices) if hasattr(d, "choices") else rng.randint(d.low, d.high)
            for name, d in known.items()
        }
        config = config_of(LIMITED, proposed)
        assert config in LIMITED
        assert config_of(LIMITED, parameters_of(LIMITED, config)) == config


def test_a_width_that_follows_from_another_is_no_parameter():
    space = (
        space_of().limit("kernel", "==", "activation").search_alpha("activation", "auto", "auto_po2", pattern="dense")
    )
    resolved = space.resolve(FACTS)
    assert resolved.decided == {"conv_0/activation", "conv_1/activation", "dense/activation"}
    assert set(distributions(resolved)) == {
        "input/activation", "conv_0/kernel", "conv_1/kernel", "dense/kernel", "dense/activation alpha",
    }  # fmt: skip
    assert [choice.name for choice in resolved.free][-1] == "dense/activation"
    for config in resolved:
        assert config_of(resolved, parameters_of(resolved, config)) == config


def test_limits_have_their_part_in_the_fingerprint():
    made = [
        space_of(),
        space_of().limit("kernel", "<=", "activation"),
        space_of().limit("kernel", "<", "activation"),
        space_of().limit("kernel", "<=", "input"),
        space_of().limit("kernel", "<=", "activation", at="conv_*"),
    ]
    prints = [space.resolve(FACTS).fingerprint for space in made]
    assert len(set(prints)) == len(prints)
