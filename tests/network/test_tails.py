"""Rests of networks behind cuts, against the whole networks; cuts, against all sets of cuts."""

from itertools import combinations

import keras
import numpy as np
import pytest
from keras import Input, layers

from mpsearch.batches import Ends
from mpsearch.config import Config
from mpsearch.network import tails
from mpsearch.network.tails import Cuts, Tail
from mpsearch.training import Trainee
from tests.network.test_zoo import made


def whole(model, x):
    """All of a model, for samples in two batches."""
    batches = [part[:4] for part in x], [part[4:] for part in x]
    return Tail(
        0, Trainee(model, Ends.of(model).outputs), [batch[0] if len(batch) == 1 else batch for batch in batches]
    )


@pytest.mark.parametrize("name", ["operators", "nested"])
def test_behind_two_cuts_one_behind_the_other_outputs_are_those_of_the_whole_network_to_the_bit(name):
    _, x, network = made(name)
    uniform = network.space.uniform(8)
    network.set_config(uniform)
    cuts, everything = Cuts(network.model), whole(network.model, keras.tree.flatten(x))
    places = [place for place in sorted(set(cuts.first_nodes.values())) if cuts._can_be_cut(place, 8)]
    first, second = places[len(places) // 3], places[-1]
    assert 0 < first < second
    early = cuts.behind(first, everything)
    late = cuts.behind(second, early)
    for site in network.space.sites:
        start = cuts.first_nodes[id(network.quantizer(site))]
        network.assign_specs(Config({**uniform, site: network.space.menus[site].specs[0]}))
        expected = everything.outputs()
        for tail in (early, late):
            same = all(map(np.array_equal, tail.outputs(), expected))
            assert same or start < tail.start, site
    network.assign_specs(uniform)
    expected = everything.outputs()
    assert all(map(np.array_equal, early.outputs(), expected))
    assert all(map(np.array_equal, late.outputs(), expected))


def test_nothing_is_cut_behind_an_output_or_where_too_much_must_be_kept(monkeypatch):
    _, _, network = made("nested")
    cuts = Cuts(network.model)
    first = min(cuts._nodes.index(cuts._graph.by_name[t.node]) for t in cuts._graph.output_tensors)
    assert cuts._can_be_cut(first, 8)
    assert not cuts._can_be_cut(first + 1, 8)
    monkeypatch.setattr(tails, "TRACED", 1.0)
    changes = dict.fromkeys(range(len(cuts._nodes)), 100)
    assert len(cuts.chosen(changes, 8)) > 5
    monkeypatch.setattr(tails, "MOST", 0)
    assert cuts.chosen(changes, 8) == [0]


@pytest.mark.parametrize("traced", [1.0, 1e3, 1e4, 1e6])
def test_the_cuts_are_those_of_the_least_time_among_all_sets(traced, monkeypatch):
    monkeypatch.setattr(tails, "TRACED", traced)
    x = inputs = Input((16, 16, 2))
    for strides in (1, 2, 1, 2, 1, 2, 1):
        x = layers.Conv2D(4, 3, strides=strides, padding="same")(x)
    cuts = Cuts(keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x))))
    rng, samples = np.random.default_rng(0), 8
    elements = [node.elements for node in cuts._nodes]
    for _ in range(5):
        changes = {place: int(rng.integers(1, 9)) for place in range(1, 8)}

        def time(chosen, changes=changes):
            spent = 0.0
            for cut, after in zip(chosen, [*chosen[1:], None], strict=True):
                left = samples * sum(elements[cut:])
                spent += left * sum(n for place, n in changes.items() if cut <= place < (after or 99))
                if after is not None:
                    spent += traced * (len(elements) - cut) + left
            return spent

        sets = [[0, *others] for count in range(8) for others in combinations(range(1, 8), count)]
        assert time(cuts.chosen(changes, samples)) == pytest.approx(min(map(time, sets)))
