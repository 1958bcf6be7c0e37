"""First and last layers with kernels, and protecting them."""

from dataclasses import replace

import pytest

from mpsearch.config import Role
from mpsearch.errors import SpaceError
from mpsearch.facts import LayerFacts, ModelFacts, SiteFacts
from mpsearch.menu import bits
from mpsearch.space import Space
from mpsearch.space.ends import end_layers
from tests.space.networks import branches, chain

FACTS = chain("conv_0", "conv_1", "conv_2", "dense")


def test_a_chain_ends_at_its_first_and_last_layer():
    assert end_layers(FACTS) == ("conv_0", "dense")
    assert end_layers(chain("only")) == ("only",)


def test_each_input_and_output_is_an_end():
    assert end_layers(branches()) == ("a", "b", "head_1", "head_2")


def test_a_recurrent_layer_that_reads_its_own_state_can_be_an_end():
    state = ("input/activation", "rnn/state")
    sites = (
        SiteFacts("input/activation", "input", "InputLayer", Role.ACTIVATION, (4,)),
        SiteFacts("rnn/kernel", "rnn", "SimpleRNN", Role.KERNEL, (4, 4), producers=state),
        SiteFacts("rnn/state", "rnn", "SimpleRNN", Role.ACTIVATION, (4,), producers=state),
        SiteFacts("rnn/activation", "rnn", "SimpleRNN", Role.ACTIVATION, (4,), producers=("rnn/state",)),
    )
    layers = (LayerFacts("input", "InputLayer"), LayerFacts("rnn", "SimpleRNN"))
    assert end_layers(ModelFacts("net", sites, layers, 4)) == ("rnn",)
    dense = SiteFacts("dense/kernel", "dense", "Dense", Role.KERNEL, (4, 4), producers=("rnn/activation",))
    assert end_layers(ModelFacts("net", (*sites, dense), layers, 4)) == ("rnn", "dense")
    before = SiteFacts("first/kernel", "first", "Dense", Role.KERNEL, (4, 4), producers=("input/activation",))
    first = SiteFacts("first/activation", "first", "Dense", Role.ACTIVATION, (4,), producers=("input/activation",))
    later = [replace(s, producers=tuple(p.replace("input", "first") for p in s.producers)) for s in sites[1:]]
    assert end_layers(ModelFacts("net", (sites[0], before, first, *later), layers, 4)) == ("first", "rnn")


def test_ends_get_a_width_that_need_not_be_on_the_menu():
    space = Space(bits(2, 3, alpha="auto_po2"), bits(16, 31), bits(2, 4, signed=True)).protect_ends(8).resolve(FACTS)
    ends = {site: str(menu) for site, menu in space.menus.items() if site.startswith(("conv_0/", "dense/"))}
    assert ends == {
        "conv_0/kernel": "8 auto_po2",
        "conv_0/bias": "16/31 auto",
        "conv_0/activation": "8 auto signed",
        "dense/kernel": "8 auto_po2",
        "dense/bias": "16/31 auto",
        "dense/activation": "8 auto signed",
    }
    assert {str(space.menus[f"conv_{i}/kernel"]) for i in (1, 2)} == {"2/3 auto_po2"}
    assert str(space.menus["input/activation"]) == "2/4 auto signed"


def test_roles_can_be_chosen_and_activations_may_be_float():
    space = Space(bits(2, 3), bits(16), bits(2, 4)).protect_ends(8, roles=("kernel", "bias")).resolve(FACTS)
    assert [str(space.menus[f"dense/{role}"]) for role in ("kernel", "bias", "activation")] == [
        "8 auto",
        "8 auto",
        "2/4 auto",
    ]
    assert str(Space(bits(2, 3)).protect_ends().resolve(FACTS).menus["conv_0/kernel"]) == "8 auto"


def test_the_order_of_statements_does_not_matter():
    made = [
        Space(bits(2, 3)).protect_ends(8).at("Conv2D", kernel=bits(4)),
        Space(bits(2, 3)).at("Conv2D", kernel=bits(4)).protect_ends(8),
    ]
    assert len({space.resolve(FACTS).fingerprint for space in made}) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: s.at("dense", kernel=bits(2)), r'at\("dense", kernel=…\) and protect_ends\(8\) contradict'),
        (
            lambda s: s.skip("conv_*"),
            r'protect_ends\(8\) and skip\("conv_\*"\) contradict each other at `conv_0/kernel',
        ),
        (lambda s: s.pin("dense", kernel=2), "`dense/kernel` may be one of 8 auto, but is pinned to 2 auto"),
        (
            lambda s: s.cap("dense", kernel=4),
            r'cap\("dense", kernel=4\) leaves `dense/kernel` nothing: its menu is 8 auto',
        ),
        (lambda s: s.protect_ends(4), r"protect_ends\(8\) and protect_ends\(4\) contradict each other"),
        (
            lambda s: s.protect_ends(4, roles=["kernel"]),
            r'protect_ends\(8\) and protect_ends\(4, roles=\["kernel"\]\) contradict each other at `conv_0/kernel`',
        ),
        (lambda s: s.protect_ends(8, roles=["bias"]), "have no quantized bias; give the role `bias` a menu"),
    ],
)
def test_what_contradicts_it_is_refused(make, message):
    with pytest.raises(SpaceError, match=message):
        make(Space(bits(2, 3)).protect_ends(8)).resolve(FACTS)


def test_what_agrees_with_it_is_not():
    space = Space(bits(2, 3)).protect_ends(8).at("dense", kernel=bits(8)).pin("conv_0", kernel=8)
    assert space.resolve(FACTS).size == 4


def test_ends_of_different_roles_can_be_protected_apart():
    space = Space(bits(2, 3), bits(16), bits(2, 4)).protect_ends(8, roles=["kernel"]).protect_ends(4, roles=["bias"])
    menus = space.protect_ends(8).resolve(FACTS).menus
    assert [str(menus[f"conv_0/{role}"]) for role in ("kernel", "bias", "activation")] == ["8 auto", "4 auto", "8 auto"]
