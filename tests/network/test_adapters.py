"""What becomes of layers' outputs: sites of their own, signs, and what is refused."""

import keras
import numpy as np
import pytest
from keras import Input, layers, ops

import mpsearch
from mpsearch import Weight, register_layer
from mpsearch.errors import ModelError
from mpsearch.menu import bits
from mpsearch.network import adapters
from mpsearch.network.canonical import canonical
from mpsearch.network.elastic import ElasticNetwork
from mpsearch.network.sites import place_sites
from mpsearch.space import Space


def facts_of(through, shape=(4, 4, 2), relu=True):
    """Facts of a model: an input, a convolution, by default a ReLU, `through`, a Dense."""
    x = inputs = Input(shape, name="input")
    x = layers.Dense(4, name="before")(x)
    x = layers.ReLU(name="relu")(x) if relu else x
    model = keras.Model(inputs, layers.Dense(2, name="last")(through(x)))
    return place_sites(canonical(model), model).facts


@pytest.mark.parametrize(
    ("interpolation", "negative"),
    [("nearest", None), ("bilinear", False), ("bicubic", True), ("lanczos3", True), ("lanczos5", True)],
)
def test_an_interpolating_upsampling_computes_new_values(interpolation, negative):
    facts = facts_of(layers.UpSampling2D(2, interpolation=interpolation, name="up"))
    site = facts.by_name.get("up/activation")
    assert (site and site.negative) is negative
    assert facts.by_name["last/kernel"].producers == (("before/activation",) if site is None else ("up/activation",))


@keras.saving.register_keras_serializable("test_adapters")
def shifted(t):
    return t - 1.0


@keras.saving.register_keras_serializable("test_adapters")
def square(t):
    return t * abs(t) - 1.0


@keras.saving.register_keras_serializable("test_adapters")
def relu(t):
    return ops.maximum(t, 0.0) - 1.0


class Shifted(layers.Layer):
    """A layer of one's own without weights: y = x - 1."""

    def call(self, x):
        return x - 1.0


class Moved(Shifted):
    """Told to move values only."""


class Function(Shifted):
    """Told to be a function."""


class Squared(Shifted):
    """Told never to be below zero."""


register_layer(Shifted)
register_layer(Moved, output="same")
register_layer(Function, output="function")
register_layer(Squared, nonnegative=True)


@pytest.mark.parametrize(
    ("layer", "negative"),
    [
        (layers.Activation(shifted, name="own"), True),
        (layers.Activation(square, name="own"), True),
        (Shifted(name="own"), True),
        (Function(name="own"), True),
        (Moved(name="own"), False),
        (Squared(name="own"), False),
        (layers.ReLU(negative_slope=0.1, threshold=1.0, name="own"), True),
        *(
            (layers.Activation(name, name="own"), False)
            for name in ("tanh", "silu", "gelu", "elu", "selu", "mish", "hard_silu", "softsign", "leaky_relu", "linear")
        ),
        *((layers.Activation(name, name="own"), True) for name in ("log_sigmoid", "log_softmax")),
    ],
)
def test_behind_a_relu_only_functions_known_to_stay_at_or_above_zero_are_unsigned(layer, negative):
    facts = facts_of(lambda x: layers.AveragePooling2D(2, name="mean")(layer(x)))
    assert facts.by_name["mean/activation"].negative is negative


def test_a_function_of_ones_own_has_a_site_whatever_its_name():
    for function, has_site in ((relu, True), (keras.activations.relu, False)):
        own = layers.Activation(function, name="own")
        facts = facts_of(lambda x, own=own: own(layers.MaxPooling2D(2, name="pool")(x)))
        assert ("own/activation" in facts.by_name) is has_site


@pytest.mark.parametrize(
    ("function", "negative"),
    [
        (ops.hard_sigmoid, False),
        (ops.sigmoid, False),
        (ops.relu6, False),
        (ops.square, False),
        (lambda x: ops.clip(x, 0.0, 6.0), False),
        (lambda x: ops.clip(x, -1.0, 6.0), True),
        (lambda x: ops.maximum(x, 0.0), False),
        (lambda x: ops.maximum(x, -1.0), True),
        (lambda x: ops.clip(ops.relu(x), -1.0, 6.0), False),
        (lambda x: ops.clip(ops.relu(x), -2.0, -1.0), True),
        (lambda x: ops.maximum(ops.relu(x), -1.0), False),
        (lambda x: ops.hard_tanh(ops.relu(x)), False),
        (lambda x: ops.leaky_relu(ops.relu(x)), False),
        (lambda x: ops.negative(ops.relu(x)), True),
        (lambda x: ops.relu(x) - 1.0, True),
        (lambda x: ops.pad(ops.relu(x), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-1.0), True),
        (lambda x: ops.pad(ops.relu(x), ((0, 0), (1, 1), (1, 1), (0, 0))), False),
    ],
)
def test_operators_have_the_sign_of_their_results(function, negative):
    facts = facts_of(lambda x: layers.AveragePooling2D(2, name="mean")(function(x)), relu=False)
    assert facts.by_name["mean/activation"].negative is negative


AROUND = ((0, 0), (1, 1), (1, 1), (0, 0))


@pytest.mark.parametrize(
    ("move", "negative"),
    [
        (lambda x: ops.pad(x, AROUND), None),
        (lambda x: ops.pad(x, AROUND, constant_values=0), None),
        (lambda x: ops.pad(x, AROUND, mode="reflect"), None),
        (lambda x: ops.pad(x, AROUND, mode="symmetric"), None),
        (lambda x: ops.pad(x, AROUND, constant_values=0.3), False),
        (lambda x: ops.pad(x, AROUND, "constant", -0.3), True),
        (lambda x: ops.max(x, axis=-1, keepdims=True), None),
        (lambda x: ops.max(x, axis=-1, keepdims=True, initial=0.3), False),
        (lambda x: ops.min(x, axis=-1, keepdims=True, initial=-0.3), True),
    ],
)
def test_an_operator_that_brings_values_of_its_own_has_a_site(move, negative):
    facts = facts_of(move)
    new = {site for site in facts.by_name if site.endswith("/activation")} - {
        site for site in facts_of(lambda x: x).by_name if site.endswith("/activation")
    }
    assert [facts.by_name[site].negative for site in new] == ([] if negative is None else [negative])
    assert facts.by_name["last/kernel"].producers == (tuple(new) or ("before/activation",))


def test_what_a_padding_puts_around_is_on_the_grid_of_its_site():
    inputs = Input((4, 4, 2), name="input")
    model = keras.Model(inputs, ops.pad(layers.Dense(3, activation="relu", name="before")(inputs), AROUND,
                                        constant_values=0.3))  # fmt: skip
    x = np.random.default_rng(0).uniform(0, 1, (32, 4, 4, 2)).astype("float32")
    space = Space(kernel=bits(8), bias=bits(8), activation=bits(2, alpha="auto_po2"))
    network = ElasticNetwork(model, space, x)
    network.set_config(network.space.uniform(2))
    values = np.unique(np.asarray(network.model(x)))
    assert len(values) <= 4  # codes of two bits
    assert not np.isclose(values, 0.3).any()


class Nested(layers.Layer):
    """A layer of one's own, whose kernel is that of a Dense in it."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(3)

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return self.dense(x)


def test_a_registered_weight_that_is_not_there_is_named():
    register_layer(Nested, weights=[Weight("kernel", "kernel", (-1,))])
    with pytest.raises(
        ModelError, match=r"`own` \(Nested\) has no attribute `kernel`, .*Weight\(\"kernel\", \"kernel\""
    ):
        facts_of(Nested(name="own"))
    register_layer(Nested, weights=[Weight("kernel", "kernel", (-1,), attribute="dense.kernel")])
    assert "own/kernel" in facts_of(Nested(name="own")).by_name


def both_ways(x):
    forth = layers.LSTM(3, return_sequences=True, name="forth")(x)
    back = ops.flip(layers.LSTM(3, return_sequences=True, go_backwards=True, name="back")(x), axis=1)
    return layers.Concatenate(name="both")([forth, back])


def each_step(x):
    conv = layers.Conv1D(3, 1, name="each")
    return ops.stack([conv(x[:, i]) for i in range(4)], axis=1)


@pytest.mark.parametrize(
    ("wrapped", "instead", "shape", "message"),
    [
        (
            lambda x: layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="wrapped")(x),
            both_ways,
            (5, 2),
            "two recurrent layers, one with go_backwards=True .* keras.ops.flip.* Concatenate",
        ),
        (
            lambda x: layers.TimeDistributed(layers.Conv1D(3, 1), name="wrapped")(x),
            each_step,
            (4, 4, 2),
            r"Dense, .* keras.ops.stack",
        ),
        (
            lambda x: layers.SpectralNormalization(layers.Dense(3), name="wrapped")(x),
            layers.Dense(3, name="inner"),
            (4,),
            "the wrapped layer",
        ),
    ],
)
def test_a_wrapper_is_refused_with_what_to_build_instead(wrapped, instead, shape, message):
    with pytest.raises(ModelError, match=f"`wrapped` is a .*, which has no quantized form; .*{message}") as raised:
        facts_of(wrapped, shape)
    assert "register_layer" not in str(raised.value)
    assert facts_of(instead, shape).by_name["last/kernel"]


def attended(x):
    query, key, value = (layers.Dense(4, name=name)(x) for name in ("query", "key", "value"))
    weights = layers.Softmax(name="weights")(ops.matmul(query, ops.transpose(key, (0, 2, 1))) * 0.5)
    return ops.matmul(weights, value)


ATTENTIONS = {
    "MultiHeadAttention": lambda: layers.MultiHeadAttention(2, 4, name="own"),
    "GroupQueryAttention": lambda: layers.GroupQueryAttention(4, 2, 1, name="own"),
    "Attention": lambda: layers.Attention(name="own"),
    "AdditiveAttention": lambda: layers.AdditiveAttention(name="own"),
}


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_an_attention_is_refused_with_both_ways_that_work(kind, monkeypatch):
    def through(x):
        return ATTENTIONS[kind]()([x, x]) if kind in ("Attention", "AdditiveAttention") else ATTENTIONS[kind]()(x, x)

    with pytest.raises(ModelError, match=r"`own` is a \w+Attention|`own` is a Attention") as raised:
        facts_of(through, (5, 3))
    message = str(raised.value)
    assert len(message) < 400
    assert "Dense layers, keras.ops.reshape, keras.ops.transpose, keras.ops.matmul and a Softmax" in message
    assert "query/kernel" in facts_of(attended, (5, 3)).by_name
    monkeypatch.setattr(adapters, "_registered", dict(adapters._registered))
    exec(message[message.index("mpsearch.register_layer(") :], {"mpsearch": mpsearch, "keras": keras})
    sites = [site for site in facts_of(through, (5, 3)).by_name if site.startswith("own")]
    assert sites == ["own/activation"]


class Composed(layers.Layer):
    """A layer of one's own, of several that have weights."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self._second = layers.Dense(3), layers.Dense(3, use_bias=False)

    def build(self, shape):
        self.first.build(shape)
        self._second.build(shape)
        self.gain = self.add_weight(shape=(3,), name="gain")

    def call(self, x):
        return self.gain * (self.first(x) + self._second(x))


def test_the_example_of_a_refusal_can_be_copied(monkeypatch):
    with pytest.raises(ModelError, match="`own` is a Composed") as raised:
        facts_of(Composed(name="own"))
    message = str(raised.value)
    monkeypatch.setattr(adapters, "_registered", dict(adapters._registered))
    example = message[message.index("mpsearch.register_layer(") :]
    exec(example, {"mpsearch": mpsearch, "Composed": Composed, "Weight": Weight})
    roles = {name: site.role for name, site in facts_of(Composed(name="own")).by_name.items() if "own" in name}
    assert roles == {
        "own/gain": "bias",
        "own/first_kernel": "kernel",
        "own/first_bias": "bias",
        "own/second_kernel": "kernel",
        "own/activation": "activation",
    }


@pytest.mark.parametrize("kind", [layers.LSTM, layers.GRU, layers.SimpleRNN])
def test_a_stateful_recurrent_layer_is_refused(kind):
    inputs = Input(batch_shape=(2, 5, 3), name="input")
    model = keras.Model(inputs, kind(3, stateful=True, name="kept")(inputs))
    with pytest.raises(ModelError, match=r"`kept` .* stateful=True.* from batch to batch"):
        canonical(model)
