"""Whole spaces, of any statements, against an oracle that knows nothing but their meaning.

The oracle lists all combinations of widths and scale modes of a small network and keeps those that every statement
allows; the resolved space must hold exactly these, or be refused where there are none.
"""

import itertools
import json
import operator
import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mpsearch.config import Config, QuantizerSpec, Role
from mpsearch.costs.bits import BitCost
from mpsearch.errors import SpaceError
from mpsearch.menu import bits
from mpsearch.space import Space
from tests.space.networks import chain

FACTS = chain("conv_0", "dense", roles=(Role.KERNEL, Role.ACTIVATION))
SITES = [site.name for site in FACTS.sites]
LAYERS = {"conv_0": ["conv_0"], "dense": ["dense"], "Conv2D": ["conv_0"], "*": ["input", "conv_0", "dense"]}
COMPARISONS = {"<=": operator.le, "<": operator.lt, "==": operator.eq, ">=": operator.ge, ">": operator.gt}
READS = {"conv_0/kernel": "input/activation", "dense/kernel": "conv_0/activation"}

widths = st.lists(st.sampled_from([2, 4, 8]), min_size=1, max_size=3, unique=True)
alphas = st.sampled_from([["auto"], ["auto", "auto_po2"]])
roles = st.sampled_from(["kernel", "activation"])


def of(pattern, role):
    return [f"{layer}/{role}" for layer in LAYERS[pattern] if f"{layer}/{role}" in SITES]


@st.composite
def stated(draw):
    """A space, and the set of configs that its statements mean."""
    own = {"kernel": (draw(widths), draw(alphas)), "activation": (draw(widths), ["auto_po2"])}
    space = Space(**{role: bits(*w, alpha=a) for role, (w, a) in own.items()})
    menus = {site: own[site.partition("/")[2]] for site in SITES}
    rules = []
    patterns = st.sampled_from(list(LAYERS))
    for kind in draw(st.lists(st.sampled_from(["at", "cap", "pin", "tie", "across", "limit", "input"]), max_size=4)):
        pattern, role = draw(patterns), draw(roles)
        sites = of(pattern, role)
        if kind == "at":
            menu = draw(widths)
            space.at(pattern, **{role: bits(*menu)})
            menus.update({site: (menu, menus[site][1]) for site in sites})
        elif kind in ("cap", "pin"):
            width = draw(st.sampled_from([2, 4, 8]))
            getattr(space, kind)(pattern, **{role: width})
            holds = operator.le if kind == "cap" else operator.eq
            rules += [lambda c, s=s, w=width, holds=holds: holds(c[s].bits, w) for s in sites]
        elif kind == "tie":
            space.tie("*", roles=[role])
            rules.append(lambda c, role=role: len({c[s] for s in of("*", role)}) == 1)
        elif kind == "across":
            space.tie("conv_0", roles=["kernel", "activation"], across_roles=True)
            rules.append(lambda c: c["conv_0/kernel"].bits == c["conv_0/activation"].bits)
        elif kind in ("limit", "input"):
            comparison = draw(st.sampled_from(list(COMPARISONS)))
            space.limit("kernel", comparison, "activation" if kind == "limit" else "input")
            for kernel, read in READS.items():
                other = read if kind == "input" else kernel.replace("kernel", "activation")
                rules.append(lambda c, k=kernel, o=other, f=COMPARISONS[comparison]: f(c[k].bits, c[o].bits))
    possible = [[QuantizerSpec(w, a) for w in sorted(ws) for a in als] for ws, als in (menus[site] for site in SITES)]
    meant = [Config(dict(zip(SITES, specs, strict=True))) for specs in itertools.product(*possible)]
    return space, [config for config in meant if all(rule(config) for rule in rules)]


@settings(max_examples=100)
@given(stated(), st.integers(0, 2**32))
def test_a_space_holds_exactly_the_configs_that_its_statements_mean(case, seed):
    space, meant = case
    try:
        resolved = space.resolve(FACTS)
    except SpaceError:
        assert not meant
        return
    listed = list(resolved)
    assert resolved.size == len(listed)
    assert {tuple(config.values()) for config in listed} == {tuple(config.values()) for config in meant}
    assert len(meant) == len(listed)
    # each spec on a menu occurs in some config
    assert {(site, spec) for config in listed for site, spec in config.items()} == {
        (site, spec) for site, menu in resolved.menus.items() for spec in menu.specs
    }
    positions = resolved.draw(np.random.default_rng(seed), 30)
    drawn = list(resolved.configs(positions))
    assert all(config in meant for config in drawn)
    assert resolved.sample(random.Random(seed)) in meant
    np.testing.assert_array_equal(resolved.positions(drawn), positions)
    np.testing.assert_array_equal(resolved.widths(positions), BitCost(FACTS).widths(drawn))


@settings(max_examples=40)
@given(stated(), st.randoms(use_true_random=False))
def test_cheapest_and_dearest_are_the_least_and_the_most_of_all(case, rng):
    space, meant = case
    if not meant:
        return
    cost, resolved = BitCost(FACTS), space.resolve(FACTS)
    totals = [cost(config).total_bits for config in meant]
    assert cost(resolved.cheapest(cost.price)).total_bits == min(totals)
    assert cost(resolved.dearest(cost.price)).total_bits == max(totals)


@settings(max_examples=40)
@given(stated(), st.data())
def test_fingerprints_and_json_tell_configs_apart(case, data):
    _, meant = case
    if not meant:
        return
    a, b = data.draw(st.sampled_from(meant)), data.draw(st.sampled_from(meant))
    assert (a.fingerprint == b.fingerprint) == (a == b)
    assert Config.from_json(json.loads(json.dumps(a.to_json()))) == a


@settings(max_examples=40)
@given(stated(), stated())
def test_spaces_of_one_fingerprint_have_the_same_configs(one, other):
    if one[1] and other[1]:
        a, b = one[0].resolve(FACTS), other[0].resolve(FACTS)
        assert a.fingerprint != b.fingerprint or list(a) == list(b)
