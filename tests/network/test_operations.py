"""What is executed: operations in order, feature maps between them, against models written out by hand."""

import keras
import pytest

from mpsearch import facts_of, models
from mpsearch.config import Config, QuantizerSpec
from mpsearch.costs.registry import make_cost
from mpsearch.facts import OperationFacts, ProductFacts, TensorFacts


def test_a_small_network_is_executed_layer_by_layer(small_model):
    facts = facts_of(small_model)
    names = ["conv", "pad", "dw", "pw", "add", "max_pool", "pool", "dense", "logits", "logits_softmax"]
    assert [operation.name for operation in facts.operations] == names
    by_name = {operation.name: operation for operation in facts.operations}
    products = ProductFacts("dw/kernel", ("conv/activation",), macs=8 * 8 * 6 * 9, fan_in=9)
    assert by_name["dw"] == OperationFacts(
        "dw", "DepthwiseConv2D", ("pad",), ("dw",), ("dw/kernel",), ("dw/bias",), (products,), rescales=True
    )
    assert [name for name in names if not by_name[name].rescales] == ["pad", "max_pool", "logits_softmax"]
    assert by_name["add"].inputs == ("conv", "pw")
    assert by_name["add"].in_place
    assert by_name["dense"].inputs == ("pool",), "flattening and dropout are no operations"
    assert by_name["dense"].products == (ProductFacts("dense/kernel", ("pool/activation",), 24 * 12, 24),)
    tensors = {tensor.name: tensor for tensor in facts.tensors}
    assert tensors["input"] == TensorFacts("input", (8, 8, 2), ("input/activation",))
    assert tensors["pad"] == TensorFacts("pad", (10, 10, 6), ("conv/activation",)), (
        "zeros beside the convolution's codes"
    )
    assert tensors["max_pool"] == TensorFacts("max_pool", (4, 4, 6), ("add/activation",))
    assert tensors["pool"] == TensorFacts("pool", (2, 2, 6), ("pool/activation",))
    assert tensors["logits_softmax"] == TensorFacts("logits_softmax", (4,), ())
    assert facts.outputs == ("logits_softmax",)
    assert facts.by_name["dw/kernel"].scales == 6
    assert facts.by_name["dense/kernel"].scales == 12
    assert facts.by_name["dense/bias"].scales == facts.by_name["add/activation"].scales == 1


@pytest.mark.parametrize("build", [models.resnet8, models.ds_cnn, models.mbv1, models.mbv2, models.efficientnetb0])
def test_every_tensor_is_made_before_it_is_read_and_no_macs_are_lost(build):
    facts = facts_of(build())
    there = {tensor.name for tensor in facts.tensors}
    made = there - {name for operation in facts.operations for name in operation.outputs}
    assert len(there) == len(facts.tensors)
    assert made == {"input"}
    for operation in facts.operations:
        assert made.issuperset(operation.inputs), operation.name
        assert not made & set(operation.outputs), operation.name
        made |= set(operation.outputs)
    assert made == there
    assert sum(operation.macs for operation in facts.operations) == sum(site.macs for site in facts.sites)
    kernels = [kernel for operation in facts.operations for kernel in operation.kernels]
    assert len(kernels) == len(set(kernels)) == sum(site.name.endswith("/kernel") for site in facts.sites)


def test_shared_layers_are_executed_each_time_and_recurrent_ones_have_states():
    inputs = keras.Input((5, 3), name="input")
    shared = keras.layers.Dense(3, name="shared")
    x = keras.layers.LSTM(4, name="lstm")(shared(shared(inputs)))
    facts = facts_of(keras.Model(inputs, keras.layers.GRU(2, name="gru")(keras.layers.Reshape((2, 2))(x))))
    first, second, lstm, gru = facts.operations
    assert (first.name, second.name) == ("shared", "shared.2")
    assert first.kernels == second.kernels == ("shared/kernel",)
    assert first.macs == second.macs == 5 * 3 * 3
    assert lstm.states == ("lstm/state",) * 2
    assert gru.states == ("gru/state",)
    assert gru.inputs == ("lstm",)
    assert lstm.products == (
        ProductFacts("lstm/kernel", ("shared.2/activation",), 5 * 3 * 16, 3),
        ProductFacts("lstm/recurrent_kernel", ("lstm/state",), 5 * 4 * 16, 4),
    )


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (keras.layers.DepthwiseConv2D(3, depth_multiplier=2, name="layer"), 9),
        (keras.layers.Conv2DTranspose(1, 3, strides=2, name="layer"), 2 * 2 * 16),
        (keras.layers.Conv2DTranspose(4, 2, strides=2, name="layer"), 16),
        (keras.layers.Conv2D(1, 3, name="layer"), 9 * 16),
        (keras.layers.Conv2D(4, 3, groups=2, name="layer"), 9 * 8),
        (keras.layers.Dense(5, name="layer"), 16),
    ],
)
def test_fan_in_is_the_number_of_products_in_a_sum(layer, expected):
    inputs = keras.Input((6, 6, 16), name="input")
    (operation,) = facts_of(keras.Model(inputs, layer(inputs))).operations
    assert operation.products[0].fan_in == expected


def test_a_recurrent_layer_of_one_unit_sums_its_features():
    inputs = keras.Input((10, 5), name="input")
    (operation,) = facts_of(keras.Model(inputs, keras.layers.SimpleRNN(1, name="layer")(inputs))).operations
    assert [product.fan_in for product in operation.products] == [5, 1]


def test_a_layer_with_several_outputs_and_a_model_with_several():
    inputs = keras.Input((5, 3), name="input")
    sequence, state = keras.layers.GRU(4, return_sequences=True, return_state=True, name="gru")(inputs)
    facts = facts_of(keras.Model(inputs, [keras.layers.Dense(2, name="last")(sequence), state]))
    assert facts.operations[0].outputs == ("gru:0", "gru:1")
    assert facts.outputs == ("last", "gru:1")


def test_a_function_that_reads_what_others_read_too_is_an_operation_of_its_own():
    inputs = keras.Input((4, 4, 2), name="input")
    x = keras.layers.Conv2D(3, 1, name="conv")(inputs)
    y = keras.layers.Activation("tanh", name="tanh")(x)
    facts = facts_of(keras.Model(inputs, keras.layers.Add(name="add")([x, y])))
    by_name = {operation.name: operation for operation in facts.operations}
    assert by_name["tanh"].inputs == ("conv",)
    assert by_name["tanh"].in_place
    assert by_name["add"].inputs == ("conv", "tanh")


def test_products_of_feature_maps_are_work():
    x = keras.Input((5, 8), name="input")
    query, key, value = (keras.layers.Dense(4, name=name)(x) for name in ("query", "key", "value"))
    similar = keras.ops.matmul(query, keras.ops.transpose(key, (0, 2, 1)))
    weights = keras.layers.Softmax(name="weights")(similar)
    facts = facts_of(keras.Model(x, keras.ops.matmul(weights, value)))
    found = [operation for operation in facts.operations if operation.layer_class == "Matmul"]
    assert [operation.macs for operation in found] == [5 * 5 * 4, 5 * 4 * 5]
    assert found[0].products == (ProductFacts("key/activation", ("query/activation",), 100, 4),)
    assert found[1].products == (ProductFacts("value/activation", (), 100, 5),), "a softmax is float"
    assert all(not operation.kernels for operation in found)
    config = Config({site.name: QuantizerSpec(8) for site in facts.sites})
    narrow = Config({**config, "key/activation": QuantizerSpec(4)})
    bops = make_cost("ebops", facts)
    assert bops(config) - bops(narrow) == 100 * 8 * 4
