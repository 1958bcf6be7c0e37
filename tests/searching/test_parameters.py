"""Choices as Optuna's parameters, there and back."""

import random

import optuna

from mpsearch.config import Role
from mpsearch.facts import LayerFacts, ModelFacts, SiteFacts
from mpsearch.menu import bits
from mpsearch.searching.parameters import config_of, distributions, parameters_of
from mpsearch.searching.samplers import derived_seed, make_sampler
from mpsearch.space import Space

FACTS = ModelFacts(
    "m",
    tuple(
        SiteFacts(f"{layer}/{role.value}", layer, "Dense", role, (4, 2)) for layer in ("a", "b", "c") for role in Role
    ),
    tuple(LayerFacts(layer, "Dense") for layer in ("a", "b", "c")),
    4,
)


def resolved():
    space = Space(kernel=bits(4, 8, 16), bias=bits(16), activation=bits(4, 8, alpha="auto_po2"))
    space.search_alpha("kernel", "auto", "auto_po2").tie("a", "b", roles=["activation"]).pin("c", kernel=8)
    return space.resolve(FACTS)


def test_widths_are_ordinal_integers_and_scale_modes_categorical():
    found = distributions(resolved())
    assert found["a/kernel"] == optuna.distributions.IntDistribution(0, 2)
    assert found["a/kernel alpha"] == optuna.distributions.CategoricalDistribution(["auto", "auto_po2"])
    assert set(found) == {
        "a/kernel", "a/kernel alpha", "b/kernel", "b/kernel alpha", "c/kernel alpha", "a/activation", "c/activation",
    }  # fmt: skip


def test_parameters_and_configs_are_one_to_one():
    space, rng = resolved(), random.Random(0)
    for _ in range(50):
        config = space.sample(rng)
        assert config_of(space, parameters_of(space, config)) == config


def test_seeds_depend_on_study_place_and_purpose_alone():
    seeds = {derived_seed(*a) for a in [(0, 0, "sampler"), (0, 1, "sampler"), (1, 0, "sampler"), (0, 0, "training")]}
    assert len(seeds) == 4
    assert derived_seed(3, 5, "training") == derived_seed(3, 5, "training")
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_a_sampler_made_anew_with_a_seed_proposes_the_same():
    proposed = []
    for _ in range(2):
        study = optuna.create_study(sampler=make_sampler("tpe", 7))
        proposed.append(study.ask(distributions(resolved())).params)
    assert proposed[0] == proposed[1]
