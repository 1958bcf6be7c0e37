"""Tests of site facts: derived values and plain data."""

import json

from mpsearch.config import Role
from mpsearch.facts import LayerFacts, ModelFacts, SiteFacts


def site(name, role, shape, producers=()):
    return SiteFacts(name, name.split("/")[0], "Conv2D", role, shape, producers=producers)


FACTS = ModelFacts(
    "net",
    (
        site("input/activation", Role.ACTIVATION, (4, 4, 3)),
        site("a/kernel", Role.KERNEL, (3, 3, 3, 8), ("input/activation",)),
        site("a/activation", Role.ACTIVATION, (4, 4, 8), ("input/activation",)),
        site("b/kernel", Role.KERNEL, (1, 1, 8, 2), ("a/activation",)),
        site("b/activation", Role.ACTIVATION, (), ("a/activation",)),
    ),
    (LayerFacts("a", "Conv2D"), LayerFacts("b", "Conv2D")),
    input_elements=48,
)


def test_elements_are_the_product_of_the_shape():
    assert [s.elements for s in FACTS.sites] == [48, 216, 128, 16, 1]


def test_sites_are_found_by_name_and_role():
    assert FACTS.by_name["a/kernel"].shape == (3, 3, 3, 8)
    assert [s.name for s in FACTS.of(Role.KERNEL)] == ["a/kernel", "b/kernel"]


def test_consumers_are_the_producers_turned_round():
    assert FACTS.consumers == {
        "input/activation": ("a/kernel", "a/activation"),
        "a/activation": ("b/kernel", "b/activation"),
        "b/activation": (),
    }


def test_facts_survive_as_plain_data():
    from mpsearch import facts_of, models

    assert ModelFacts.from_json(json.loads(json.dumps(FACTS.to_json()))) == FACTS
    facts = facts_of(models.mbv2(), requantize_merge_inputs=True)
    assert ModelFacts.from_json(json.loads(json.dumps(facts.to_json()))) == facts


def test_facts_are_plain_data():
    data = json.loads(json.dumps(FACTS.to_json()))
    assert data["input_elements"] == 48
    assert data["sites"][1] == {
        "name": "a/kernel",
        "layer": "a",
        "layer_class": "Conv2D",
        "role": "kernel",
        "shape": [3, 3, 3, 8],
        "macs": 0,
        "negative": True,
        "producers": ["input/activation"],
        "scales": 1,
    }
