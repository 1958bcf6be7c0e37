"""Tests of where quantizers go, against published listings and by hand."""

import json

import keras
import pytest
from keras import Input, layers

from mpsearch import models
from mpsearch.config import Role
from mpsearch.network.canonical import canonical
from mpsearch.network.graph import Tensor
from mpsearch.network.sites import place_sites
from tests.network.zoo import ZOO


def facts_of(model: keras.Model, nonnegative: bool = False, requantize: bool = False):
    return place_sites(canonical(model), model, nonnegative, requantize).facts


def elements(facts, role: Role) -> list[int]:
    return [site.elements for site in facts.of(role)]


@pytest.fixture(scope="module")
def golden(shared) -> dict:
    """Published configurations with their sizes."""
    return json.loads((shared / "golden" / "forgiving_bits.json").read_text())["cases"]


@pytest.mark.parametrize("name", ["ds_cnn", "fc_autoencoder"])
def test_sites_are_those_of_the_published_listing_element_by_element(name, golden):
    case = golden[name]
    build = {"ds_cnn": lambda: models.ds_cnn(softmax=False), "fc_autoencoder": models.fc_autoencoder}[name]
    facts = facts_of(build())
    assert elements(facts, Role.ACTIVATION) == [site["elements"] for site in case["activations"]]
    assert elements(facts, Role.KERNEL) == [layer["kernel_elements"] for layer in case["layers"]]
    assert elements(facts, Role.BIAS) == [layer["bias_elements"] for layer in case["layers"]]
    assert facts.input_elements == case["input_elements"]
    assert facts.softmax_elements == 0


def test_mbv2_has_the_published_number_of_sites_and_bits(golden):
    facts = facts_of(models.mbv2(), requantize=True)
    assert [len(elements(facts, role)) for role in Role] == [54, 54, 76]
    assert facts.softmax_elements == 2
    expected = golden["mobilenet_v2"]["expected"]
    assert (
        16 * sum(elements(facts, Role.KERNEL)) + 31 * sum(elements(facts, Role.BIAS))
        == expected["reference_parameter_bits"]
    )


def test_sites_of_the_small_model(small_model):
    facts = facts_of(small_model)
    assert [site.name for site in facts.sites] == [
        "input/activation",
        "conv/kernel",
        "conv/bias",
        "conv/activation",
        "dw/kernel",
        "dw/bias",
        "dw/activation",
        "pw/kernel",
        "pw/bias",
        "pw/activation",
        "add/activation",
        "pool/activation",
        "dense/kernel",
        "dense/bias",
        "dense/activation",
        "logits/kernel",
        "logits/bias",
        "logits/activation",
    ]
    assert [site.name for site in facts.of(Role.ACTIVATION) if site.negative] == [
        "input/activation",
        "pw/activation",
        "logits/activation",
    ]
    assert [layer.name for layer in facts.layers] == [layer.name for layer in small_model.layers]
    assert facts.by_name["conv/kernel"].layer_class == "Conv2D"
    assert facts.by_name["conv/activation"].shape == (8, 8, 6)


def test_producers_say_which_maps_a_site_reads(small_model):
    producers = {site.name: site.producers for site in facts_of(small_model).sites}
    assert producers["conv/kernel"] == ("input/activation",)
    assert producers["add/activation"] == ("conv/activation", "pw/activation")
    assert producers["dense/kernel"] == producers["dense/bias"] == ("pool/activation",)
    assert producers["pool/activation"] == ("add/activation",)


def test_macs_are_those_of_a_sample(small_model):
    macs = {site.name: site.macs for site in facts_of(small_model).sites}
    expected = {
        "conv": 8 * 8 * 3 * 3 * 2 * 6,
        "dw": 8 * 8 * 3 * 3 * 6,
        "pw": 8 * 8 * 6 * 6,
        "dense": 24 * 12,
        "logits": 12 * 4,
    }
    assert {name: macs[f"{name}/kernel"] for name in expected} == expected
    assert sum(macs.values()) == sum(expected.values())


def test_inputs_of_a_merge_get_sites_where_other_layers_read_them_too(small_model):
    plain, requantized = facts_of(small_model), facts_of(small_model, requantize=True)
    added = [site for site in requantized.sites if site.name not in plain.by_name]
    assert [site.name for site in added] == ["add/input_0"]
    assert added[0].shape == (8, 8, 6)
    assert not added[0].negative
    assert added[0].producers == ("conv/activation",)
    assert requantized.by_name["add/activation"].producers == ("add/input_0", "pw/activation")


def test_nonnegative_inputs_make_the_input_site_unsigned(small_model):
    assert not facts_of(small_model, nonnegative=True).by_name["input/activation"].negative


@pytest.mark.parametrize(("offset", "negative"), [(0.0, False), (-1.0, True)])
def test_a_rescaling_takes_the_inputs_site_behind_it(offset, negative):
    inputs = Input((4, 4, 1), name="input")
    x = layers.Rescaling(1 / 127.5, offset=offset, name="rescale")(inputs)
    model = keras.Model(inputs, layers.Conv2D(2, 1, name="conv")(x))
    placement = place_sites(canonical(model), model, True)
    assert placement.outputs[Tensor("rescale")] == "input/activation"
    assert placement.facts.by_name["input/activation"].negative is negative


@pytest.mark.parametrize(
    ("activation", "negative"),
    [("relu", False), ("relu6", False), ("sigmoid", False), ("tanh", True), ("linear", True)],
)
def test_sign_follows_the_activation_function(activation, negative):
    inputs = Input((4,), name="input")
    model = keras.Model(inputs, layers.Dense(3, activation=activation, name="dense")(inputs))
    assert facts_of(model).by_name["dense/activation"].negative is negative


@pytest.mark.parametrize("function", ["silu", "gelu", "elu", "leaky_relu", "softsign", "hard_silu"])
def test_functions_that_go_below_zero_are_signed(function):
    inputs = Input((4,), name="input")
    model = keras.Model(inputs, layers.Activation(function, name="act")(layers.Dense(3, name="dense")(inputs)))
    assert facts_of(model).by_name["dense/activation"].negative


def test_a_leaky_relu_layer_is_signed():
    inputs = Input((4,), name="input")
    model = keras.Model(inputs, layers.ReLU(negative_slope=0.1, name="act")(layers.Dense(3, name="dense")(inputs)))
    assert facts_of(model).by_name["dense/activation"].negative


def test_zero_padding_and_max_pooling_keep_the_codes_of_their_input():
    inputs = Input((6, 6, 1), name="input")
    x = layers.ReLU(name="act")(
        layers.MaxPooling2D(2, name="max")(
            layers.ZeroPadding2D(1, name="pad")(layers.Conv2D(2, 3, name="conv")(inputs))
        )
    )
    model = keras.Model(inputs, layers.Dense(2, name="dense")(layers.Flatten(name="flat")(x)))
    facts = facts_of(model)
    assert [site.name for site in facts.of(Role.ACTIVATION)] == [
        "input/activation",
        "conv/activation",
        "dense/activation",
    ]


def test_two_inputs_have_a_site_each():
    a, b = Input((4,), name="a"), Input((6,), name="b")
    total = layers.Add(name="add")([layers.Dense(3, name="da")(a), layers.Dense(3, name="db")(b)])
    facts = facts_of(keras.Model([a, b], total))
    assert {"a/activation", "b/activation", "add/activation"} <= set(facts.by_name)
    assert facts.input_elements == 10


def test_softmax_elements_count_a_softmax_of_its_own():
    assert facts_of(models.small_cnn()).softmax_elements == 10
    inputs = Input((4,))
    for activation in ("linear", "softmax"):  # one fused into a layer is a part of it
        model = keras.Model(inputs, layers.Dense(3, activation=activation)(inputs))
        assert facts_of(model).softmax_elements == 0
    assert facts_of(keras.Model(inputs, layers.Softmax()(layers.Dense(3)(inputs)))).softmax_elements == 3


@pytest.mark.parametrize(
    ("layer", "has_site"),
    [
        (layers.ReLU(name="act"), False),
        (layers.Activation("relu", name="act"), False),
        (layers.ReLU(max_value=6.0, name="act"), True),
        (layers.ReLU(negative_slope=0.3, name="act"), True),
        (layers.Activation("relu6", name="act"), True),
        (layers.PReLU(name="act"), True),
    ],
)
def test_a_function_on_its_own_has_a_site_unless_codes_stay_codes(layer, has_site):
    x = inputs = Input((8, 8, 2), name="input")
    x = layer(layers.MaxPooling2D(name="pool")(layers.Conv2D(3, 1, name="conv")(x)))
    model = keras.Model(inputs, layers.Conv2D(2, 1, name="last")(x))
    assert ("act/activation" in facts_of(model).by_name) is has_site


def test_a_chain_of_functions_has_one_site_at_its_end_named_by_its_first_layer():
    model = ZOO["operators"]()
    placement = place_sites(canonical(model), model)
    site = placement.facts.by_name["ceiling/activation"]
    assert not site.negative
    assert site.producers == ("conv/activation",)
    end = placement.graph.by_name[placement.tensors["ceiling/activation"].node]
    assert type(end.layer).__name__ == "Multiply"
    assert placement.outputs[Tensor("rescaling")] == "input/activation"


def test_nested_models_open_and_shared_layers_share_their_kernels():
    facts = facts_of(ZOO["nested"]())
    names = [site.name for site in facts.sites]
    assert [n for n in names if n.startswith("encoder.conv")] == [
        "encoder.conv/kernel",
        "encoder.conv/bias",
        "encoder.conv/activation",
        "encoder.conv.2/activation",
    ]
    assert {"shared/kernel", "shared/activation", "shared.2/activation", "head.hidden/kernel"} <= set(names)
    assert facts.by_name["shared.2/activation"].layer == "shared"
    assert facts.by_name["encoder.conv.2/activation"].layer == "encoder.conv"
    # both applications compute, so both count
    assert facts.by_name["shared/kernel"].macs == 2 * 4 * 4
    assert set(facts.by_name["shared/kernel"].producers) == {"pool/activation", "pool.2/activation"}
    assert facts.input_elements == 2 * 10 * 10 * 2


def test_recurrent_layers_have_kernel_recurrent_kernel_bias_and_state_sites():
    facts = facts_of(ZOO["sequences"]())
    lstm = {site.name: site for site in facts.sites if site.layer == "lstm"}
    assert list(lstm) == ["lstm/kernel", "lstm/recurrent_kernel", "lstm/bias", "lstm/state", "lstm/activation"]
    assert lstm["lstm/kernel"].shape == (8, 24)
    assert lstm["lstm/kernel"].macs == 6 * 8 * 24  # six steps
    assert lstm["lstm/recurrent_kernel"].macs == 6 * 6 * 24
    assert lstm["lstm/state"].shape == (6,)
    assert "words/activation" not in facts.by_name  # indices are not quantized
    assert {"rnn/activation", "rnn/activation_1"} <= set(facts.by_name)


def test_a_tensor_that_nothing_reads_has_no_site():
    inputs = Input((5, 3), name="input")
    _, h, c = layers.LSTM(4, return_state=True, name="encoder")(inputs)
    y = layers.LSTM(4, return_sequences=True, name="decoder")(inputs, initial_state=[h, c])
    last, _ = layers.GRU(4, return_state=True, name="end")(y)
    facts = facts_of(keras.Model(inputs, [last, layers.Dense(2, name="dense")(y)]))
    assert [site.name for site in facts.of(Role.ACTIVATION)] == [
        "input/activation",
        "encoder/state",
        "encoder/activation_1",
        "encoder/activation_2",
        "decoder/state",
        "decoder/activation",
        "dense/activation",
        "end/state",
        "end/activation",  # an output of the model
    ]


def test_parts_of_a_separable_convolution_belong_to_it():
    facts = facts_of(ZOO["two_dimensions"]())
    parts = [site.name for site in facts.sites if site.layer == "separable"]
    assert parts == [
        "separable_depthwise/kernel",
        "separable_depthwise/activation",
        "separable_pointwise/kernel",
        "separable_pointwise/bias",
        "separable_pointwise/activation",
    ]
    assert {site.layer_class for site in facts.sites if site.layer == "separable"} == {"SeparableConv2D"}
