"""Tests of the canonical form: BatchNorm folded exactly, activation functions apart, everything else refused."""

import keras
import numpy as np
import pytest
from keras import Input, layers

from mpsearch import models
from mpsearch.errors import ModelError
from mpsearch.network.canonical import canonical, has_batch_norm
from mpsearch.network.graph import functional, graph_of
from mpsearch.network.sites import place_sites


def assert_same_outputs(model: keras.Model, folded: keras.Model, x: np.ndarray) -> None:
    """Equal within 1e-4 of the logits' spread; a softmax is undone first, as it hides what its logits were."""
    ends = []
    for network in (model, folded):
        if isinstance(network.layers[-1], layers.Activation) or getattr(network.layers[-1], "activation", None):
            probability = np.asarray(network(x, training=False), np.float64)
            softmax = np.allclose(probability.sum(axis=-1), 1.0, atol=1e-4)
            logs = np.log(np.maximum(probability, 1e-30))
            ends.append(logs - logs.mean(axis=-1, keepdims=True) if softmax else probability)
        else:
            ends.append(np.asarray(network(x, training=False), np.float64))
    spread = ends[0].max() - ends[0].min()
    assert spread > 0.1
    np.testing.assert_allclose(ends[1], ends[0], rtol=0, atol=1e-4 * spread)


def sequential() -> keras.Sequential:
    return keras.Sequential(
        [
            Input((10, 10, 3)),
            layers.Rescaling(0.5, offset=-0.2),
            layers.Conv2D(8, 3, strides=2, name="conv"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, use_bias=False, depth_multiplier=2, name="dw"),
            layers.BatchNormalization(),
            layers.Activation("relu6"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(6, use_bias=False, name="hidden"),
            layers.BatchNormalization(),
            layers.Activation("tanh"),
            layers.Dense(4, name="out"),
        ],
        name="chain",
    )


CASES = {
    "sequential": (sequential, (10, 10, 3)),
    "resnet8": (lambda: models.resnet8((16, 16, 3)), (16, 16, 3)),
    "ds_cnn": (models.ds_cnn, (49, 10, 1)),
    "fc_autoencoder": (lambda: models.fc_autoencoder(64), (64,)),
    "mbv2": (lambda: models.mbv2((32, 32, 3), alpha=0.35), (32, 32, 3)),
}


@pytest.mark.parametrize("name", CASES)
def test_folding_changes_no_output(name, randomise):
    build, shape = CASES[name]
    model = randomise(build())
    folded = canonical(model)
    assert has_batch_norm(model)
    assert not has_batch_norm(folded)
    assert_same_outputs(model, folded, np.random.default_rng(0).random((16, *shape), dtype=np.float32))


def test_folding_the_small_model_changes_no_output(small_model, small_samples):
    assert_same_outputs(small_model, canonical(small_model), small_samples)


def test_the_model_itself_is_not_changed(small_model, small_samples):
    before, weights = small_model.get_config(), small_model.get_weights()
    canonical(small_model).get_layer("conv").set_weights([np.zeros((3, 3, 2, 6)), np.zeros(6)])
    assert small_model.get_config() == before
    for now, then in zip(small_model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(now, then)


def test_layers_keep_their_names_and_fused_functions_get_one(small_model):
    names = [layer.name for layer in canonical(small_model).layers]
    expected = [layer.name for layer in small_model.layers if not layer.name.endswith("_bn")]
    expected.insert(expected.index("dense") + 1, "dense_relu")
    assert names == [*expected, "logits_softmax"]
    folded = canonical(small_model)
    assert folded.get_layer("dense").activation is keras.activations.linear
    assert folded.get_layer("dense_relu").activation is keras.activations.relu


def test_regularizers_survive(small_model):
    folded = canonical(small_model)
    assert folded.get_layer("conv").kernel_regularizer.l2 == pytest.approx(0.01)
    assert folded.get_layer("dw").depthwise_regularizer.l2 == pytest.approx(0.02)
    kernels = [np.asarray(folded.get_layer(name).kernel, np.float64) for name in ("conv", "dw")]
    expected = 0.01 * (kernels[0] ** 2).sum() + 0.02 * (kernels[1] ** 2).sum()
    assert float(sum(folded.losses)) == pytest.approx(expected, rel=1e-5)


def test_folding_twice_changes_nothing(small_model, small_samples):
    once = canonical(small_model)
    assert [layer.name for layer in canonical(once).layers] == [layer.name for layer in once.layers]
    np.testing.assert_array_equal(canonical(once)(small_samples), once(small_samples))


def test_folding_is_exact_in_float64():
    """The kernel is g·w and the bias β + g·(b - μ), each rounded once."""
    model = keras.Sequential(
        [Input((4, 4, 2)), layers.Conv2D(3, 2, name="conv"), layers.BatchNormalization(epsilon=0.1)]
    )
    kernel, bias, gamma, beta, mean, variance = (
        np.random.default_rng(0).uniform(0.5, 2, shape) for shape in ((2, 2, 2, 3), *[(3,)] * 5)
    )
    model.layers[0].set_weights([kernel, bias])
    model.layers[1].set_weights([gamma, beta, mean, variance])
    kernel, bias, gamma, beta, mean, variance = (
        a.astype(np.float32).astype(np.float64) for a in (kernel, bias, gamma, beta, mean, variance)
    )
    g = gamma / np.sqrt(variance + 0.1)
    found = canonical(model).get_layer("conv").get_weights()
    np.testing.assert_array_equal(found[0], (kernel * g).astype(np.float32))
    np.testing.assert_array_equal(found[1], (beta + g * (bias - mean)).astype(np.float32))


# What is refused


def functional_of(body, shape=(8, 8, 3)) -> keras.Model:
    inputs = Input(shape, name="input")
    return keras.Model(inputs, body(inputs), name="net")


class Subclassed(keras.Model):
    def call(self, x):
        return x


def bn_after_add(x):
    y = layers.Add(name="sum")([layers.Conv2D(3, 1, name="a")(x), x])
    return layers.BatchNormalization(name="bn")(y)


def bn_after_relu(x):
    return layers.BatchNormalization(name="bn")(layers.Conv2D(3, 1, activation="relu", name="a")(x))


def bn_of_a_shared_map(x):
    y = layers.Conv2D(3, 1, name="a")(x)
    return layers.Add(name="sum")([layers.BatchNormalization(name="bn")(y), y])


def bn_of_rows(x):
    return layers.BatchNormalization(axis=1, name="bn")(layers.Conv2D(3, 1, name="a")(x))


def bn_of_a_layer_used_twice(x):
    conv = layers.Conv2D(3, 1, name="twice")
    return layers.BatchNormalization(name="bn")(conv(conv(x)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: functional_of(bn_after_add), r"`bn` can't be folded: it follows `sum` \(Add\), which has no kernel"),
        (lambda: functional_of(bn_after_relu), "`bn` can't be folded: `a` applies relu first; keep it as a scale"),
        (lambda: functional_of(bn_of_a_shared_map), "`bn` can't be folded: `a` is also read by sum"),
        (lambda: functional_of(bn_of_rows), "`bn` can't be folded: it normalizes axis 1"),
        (lambda: functional_of(layers.BatchNormalization(name="bn")), r"`bn` can't be folded: it follows `input`"),
        (lambda: functional_of(bn_of_a_layer_used_twice), "`bn` can't be folded: .* more than once"),
    ],
)
def test_a_batch_norm_that_cannot_be_folded_is_kept_or_refused_by_name(build, message, randomise):
    with pytest.raises(ModelError, match=message):
        canonical(build(), keep_batch_norm=False)
    model = randomise(build())
    kept = canonical(model)
    assert has_batch_norm(kept)
    scale_and_shift = next(layer for layer in kept.layers if layer.name == "bn")
    np.testing.assert_array_equal(scale_and_shift.moving_mean, 0.0)
    np.testing.assert_array_equal(scale_and_shift.moving_variance, 1.0)
    assert_same_outputs(model, kept, np.random.default_rng(0).normal(0, 1, (8, 8, 8, 3)).astype(np.float32))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: functional_of(layers.Resizing(4, 4, name="resize")),
            "`resize` is a Resizing, which has no quantized form; known are .*Conv2D.*register_layer",
        ),
        (lambda: functional_of(lambda x: keras.ops.sort(x)), "`sort` is the operator Sort, .* known are .*Add"),
        (
            lambda: functional_of(layers.Conv2D(3, 1, name="a"), (None, None, 3)),
            "of open shape .* give keras.Input a full shape",
        ),
        (
            lambda: functional_of(layers.Conv2D(3, 1, name="half", dtype="mixed_float16")),
            "`half` computes in float16: .* build the model with the policy float32",
        ),
        (lambda: Subclassed(name="own"), "`own` is a subclass of keras.Model without a graph of layers: build it with"),
        (lambda: keras.Sequential([layers.Dense(3)], name="late"), "`late` isn't built: start it with keras.Input"),
        (lambda: "model.h5", "expected a keras.Model, but got str"),
    ],
)
def test_what_cannot_be_quantized_is_refused_by_name(build, message):
    with pytest.raises(ModelError, match=message):
        canonical(build())


def test_a_layer_of_the_users_own_is_refused_even_under_a_known_name():
    class Conv2D(layers.Conv2D):
        pass

    with pytest.raises(ModelError, match="`mine` is a Conv2D, which has no quantized form"):
        canonical(functional_of(Conv2D(3, 1, name="mine")))


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(4, 1, groups=2, name="grouped"),
        layers.Dense(4, activation="tanh", name="a"),
        layers.Dense(4, activation=keras.activations.leaky_relu, name="a"),
    ],
)
def test_options_of_known_layers_are_kept_or_refused(layer, randomise):
    model = randomise(functional_of(layer, (6, 6, 4)))
    assert_same_outputs(model, canonical(model), np.random.default_rng(0).normal(0, 1, (4, 6, 6, 4)).astype(np.float32))


@pytest.mark.parametrize(
    "options",
    [
        {"padding": "same", "kernel_regularizer": keras.regularizers.L2(0.01)},
        {"strides": 2, "use_bias": False},
        {"dilation_rate": 2},
    ],
)
def test_a_convolution_with_a_group_for_each_channel_becomes_a_depthwise_one(options, randomise):
    x = inputs = Input((9, 9, 8))
    x = layers.Conv2D(8, 3, groups=8, name="conv", **options)(x)
    x = layers.BatchNormalization()(x)
    model = randomise(keras.Model(inputs, layers.Conv2D(8, 3, groups=8, activation="relu", name="last")(x)))
    folded = canonical(model)
    assert [type(folded.get_layer(name)) for name in ("conv", "last")] == [layers.DepthwiseConv2D] * 2
    values = np.random.default_rng(0).normal(0, 1, (4, 9, 9, 8)).astype("float32")
    assert_same_outputs(model, folded, values)
    regularized = layers.Conv2D(8, 3, groups=8, **options).kernel_regularizer is not None
    assert (folded.get_layer("conv").depthwise_regularizer is not None) == regularized
    facts = place_sites(folded, model).facts.by_name["conv/kernel"]
    assert (facts.layer, facts.layer_class, facts.shape) == ("conv", "Conv2D", (3, 3, 8, 1))


@pytest.mark.parametrize("options", [{"filters": 16}, {"strides": (1, 2)}, {"groups": 4}])
def test_other_grouped_convolutions_stay_what_they_are(options):
    layer = layers.Conv2D(**{"filters": 8, "kernel_size": 3, "groups": 8, "name": "conv", **options})
    model = functional_of(layer, (9, 9, 8))
    assert type(canonical(model).get_layer("conv")) is layers.Conv2D


def norm_by_keyword(x):
    return layers.BatchNormalization(name="bn")(inputs=layers.Conv2D(3, 1, name="a")(inputs=x))


def unfolded_norm_by_keyword(x):
    return layers.BatchNormalization(name="bn")(inputs=x, training=False)


def separable_by_keyword(x):
    return layers.SeparableConv2D(4, 3, name="a")(inputs=x)


def nested_by_keyword(x):
    body = keras.Sequential([Input((8, 8, 3)), layers.Conv2D(3, 1, name="a")], name="body")
    return layers.ReLU(name="relu")(inputs=body(inputs=x))


@pytest.mark.parametrize("body", [norm_by_keyword, unfolded_norm_by_keyword, separable_by_keyword, nested_by_keyword])
def test_layers_may_be_called_by_keyword(body, randomise):
    model = randomise(functional_of(body))
    assert_same_outputs(model, canonical(model), np.random.default_rng(0).normal(0, 1, (4, 8, 8, 3)).astype("float32"))


def twice(x):
    return 2.0 * keras.ops.tanh(x)


@pytest.mark.parametrize(("function", "name"), [(twice, "twice"), (lambda x: 2.0 * keras.ops.tanh(x), "custom")])
def test_plain_functions_are_activation_functions(function, name, randomise):
    def body(x):
        x = layers.Activation(function, name="act")(layers.Dense(6, activation=function, name="hidden")(x))
        return layers.SimpleRNN(4, activation=function, name="rnn")(x)

    model = randomise(functional_of(body, (5, 3)))
    ours = canonical(model)
    assert [layer.name for layer in ours.layers] == ["input", "hidden", f"hidden_{name}", "act", "rnn"]
    assert ours.get_layer("act").activation is function
    assert_same_outputs(model, ours, np.random.default_rng(0).normal(0, 1, (8, 5, 3)).astype("float32"))
    assert place_sites(ours, model, nonnegative_inputs=True).facts.by_name["hidden/activation"].negative


def test_a_lambda_without_source_is_refused_by_name():
    function = eval(compile("lambda x: 2.0 * x", "<nowhere>", "eval"))  # of "<string>" Python 3.13 may know a source
    with pytest.raises(ModelError, match="layer `a` has a lambda without a source file: decorate"):
        canonical(functional_of(layers.Conv2D(3, 1, activation=function, name="a")))


def test_a_recurrent_layer_may_be_called_by_keyword(randomise):
    """Its input comes first, though `initial_state` is before `sequences` in the alphabet."""
    inputs, state = Input((5, 3), name="input"), Input((4,), name="state")
    y = layers.GRU(4, name="gru")(sequences=inputs, initial_state=state)
    model = randomise(keras.Model([inputs, state], y))
    rng = np.random.default_rng(0)
    x = [rng.normal(0, 1, (4, *shape)).astype("float32") for shape in ((5, 3), (4,))]
    assert_same_outputs(model, canonical(model), x)
    gru = graph_of(model).by_name["gru"]
    assert [tensor.node for tensor in gru.inputs] == ["input", "state"]


def test_a_functional_model_is_taken_as_it_is(small_model):
    assert functional(small_model) is small_model
