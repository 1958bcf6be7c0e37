"""Tests of the quantizers of kernels and biases against QKeras and against brute force."""

from functools import cache

import keras
import numpy as np
import pytest
import qkeras
import tensorflow as tf

from mpsearch.config import Alpha, QuantizerSpec
from mpsearch.quantizers.weights import OF_ITS_OWN, WeightQuantizer, encode, weight_codes

WIDTHS = range(2, 17)


@cache
def built(shape: tuple[int, ...], axes: tuple[int, ...], integer: int | None = None):
    """A quantizer for tensors of a shape, and its traced call."""
    layer = WeightQuantizer(axes, OF_ITS_OWN, integer)
    layer.build(shape)
    return layer, tf.function(layer, jit_compile=False)


def quantize(w: np.ndarray, spec: QuantizerSpec | None, axes: tuple[int, ...]) -> np.ndarray:
    layer, call = built(w.shape, axes, None if spec is None else spec.integer)
    layer.spec.assign(encode(spec))
    return call(tf.constant(w)).numpy()


def oracle(w: np.ndarray, channel: int, *arguments, **options) -> np.ndarray:
    """QKeras's `quantized_bits`: by default it takes the last axis; a depthwise kernel's channels are before it."""
    axis = None if channel == w.ndim - 1 else channel
    return np.asarray(qkeras.quantized_bits(*arguments, scale_axis=axis, **options)(w))


def squared_error(q: np.ndarray, w: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return np.sum((q.astype(np.float64) - w.astype(np.float64)) ** 2, axis=axes)


def least_error(w: np.ndarray, bits: int, axes: tuple[int, ...]) -> np.ndarray:
    """The least squared error over all powers of two that could matter, per channel, in float64."""
    w, limit = w.astype(np.float64), 2 ** (bits - 1) - 1
    largest = np.abs(w).max(axis=axes, keepdims=True)
    top = np.ceil(np.log2(np.where(largest > 0, largest, 1.0)))
    errors = []
    for exponent in range(-bits - 40, 3):
        scale = 2.0 ** (top + exponent)
        errors.append(np.sum((np.clip(np.rint(w / scale), -limit, limit) * scale - w) ** 2, axis=axes))
    return np.min(errors, axis=0)


@pytest.mark.parametrize("bits", WIDTHS)
def test_auto_is_bit_identical_to_qkeras(bits, kernel):
    ours = quantize(kernel.all, QuantizerSpec(bits), kernel.axes)
    np.testing.assert_array_equal(ours, oracle(kernel.all, kernel.channel, bits, 0, 1, 1, alpha="auto"))


@pytest.mark.parametrize("integer", [0, 3])
@pytest.mark.parametrize("bits", WIDTHS)
def test_qkeras_po2_is_bit_identical_to_qkeras_where_its_epsilon_does_not_bite(bits, integer, kernel):
    w = kernel.tame * 64 * 2**integer  # s is 64 · 0.3 / 2^15 or more
    ours = quantize(w, QuantizerSpec(bits, "qkeras_po2", integer), kernel.axes)
    np.testing.assert_array_equal(ours, oracle(w, kernel.channel, bits, integer, 1, 1, alpha="auto_po2"))


@pytest.mark.parametrize("largest", [0.3, 0.05, 0.01])
@pytest.mark.parametrize("bits", [4, 8, 16])
def test_qkeras_po2_with_many_integer_bits_loses_what_qkeras_loses(bits, largest):
    w = np.random.default_rng(0).normal(0, largest / 3, (3, 3, 16, 8)).clip(-largest, largest).astype(np.float32)
    ours = quantize(w, QuantizerSpec(bits, "qkeras_po2", bits), (0, 1, 2))
    theirs = oracle(w, 3, bits, bits, 1, 1, alpha="auto_po2")
    # a logarithm next to a half may be rounded either way, which moves a channel by a factor of two
    assert np.mean(np.any(ours != theirs, axis=(0, 1, 2))) <= 1 / 8


@pytest.mark.parametrize("integer", [0, 3])
@pytest.mark.parametrize("bits", [2, 4, 7, 8, 16])
def test_fixed_point_is_bit_identical_to_qkeras(bits, integer, kernel):
    ours = quantize(kernel.tame, QuantizerSpec(bits, "fixed", integer), kernel.axes)
    np.testing.assert_array_equal(ours, oracle(kernel.tame, kernel.channel, bits, integer, 1, 1, alpha=1.0))


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
def test_auto_po2_has_the_least_error_of_all_powers_of_two(bits, kernel):
    q = quantize(kernel.all, QuantizerSpec(bits, "auto_po2"), kernel.axes)
    ours = squared_error(q, kernel.all, kernel.axes)
    np.testing.assert_allclose(ours, least_error(kernel.all, bits, kernel.axes), rtol=1e-5)


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
def test_auto_po2_is_never_worse_than_qkeras(bits, kernel):
    w = kernel.tame
    ours = squared_error(quantize(w, QuantizerSpec(bits, "auto_po2"), kernel.axes), w, kernel.axes)
    theirs = squared_error(oracle(w, kernel.channel, bits, 0, 1, 1, alpha="auto_po2"), w, kernel.axes)
    assert (ours <= theirs * (1 + 1e-5)).all()


@pytest.mark.parametrize("bits", [8, 16, 31])
@pytest.mark.parametrize("largest", [0.3, 0.05, 0.01, 1e-9])
def test_auto_po2_does_not_ruin_small_weights(bits, largest):
    """QKeras's zeroes or clips such kernels; each bit should bring 6 dB, less the power of two's 3 and a little."""
    w = np.random.default_rng(0).uniform(-largest, largest, (3, 3, 16, 4)).astype(np.float32)
    q = quantize(w, QuantizerSpec(bits, "auto_po2"), (0, 1, 2))
    signal, noise = np.sum(w.astype(np.float64) ** 2), squared_error(q, w, (0, 1, 2, 3))
    assert 10 * np.log10(signal / max(noise, 1e-300)) > 6.02 * min(bits, 24) - 8


@pytest.mark.parametrize("alpha", ["auto", "auto_po2"])
@pytest.mark.parametrize("bits", WIDTHS)
def test_quantizing_twice_changes_nothing(bits, alpha, kernel):
    once = quantize(kernel.all, QuantizerSpec(bits, alpha), kernel.axes)
    twice = quantize(once, QuantizerSpec(bits, alpha), kernel.axes)
    # the second scale of `auto` may be off by float32's own rounding
    np.testing.assert_allclose(twice, once, rtol=0 if alpha == "auto_po2" else 3e-7)


@pytest.mark.parametrize("alpha", ["auto", "auto_po2", "qkeras_po2"])
@pytest.mark.parametrize("bits", [2, 4, 8, 16, 31, 32])
def test_zeros_give_zeros_and_nothing_gives_nan(bits, alpha, kernel):
    q = quantize(kernel.all, QuantizerSpec(bits, alpha), kernel.axes)
    assert np.isfinite(q).all()
    np.testing.assert_array_equal(q[kernel.all == 0], 0.0)


@pytest.mark.parametrize("alpha", ["auto", "auto_po2"])
@pytest.mark.parametrize("bits", [24, 25, 31, 32])
def test_widths_above_24_bits_are_as_exact_as_float32(bits, alpha, kernel):
    w = kernel.all
    error = np.abs(quantize(w, QuantizerSpec(bits, alpha), kernel.axes).astype(np.float64) - w)
    assert (error <= np.abs(w).max(axis=kernel.axes, keepdims=True) * 2.0**-22).all()


@pytest.mark.parametrize("alpha", ["auto", "auto_po2", "fixed"])
@pytest.mark.parametrize("bits", [2, 5, 8, 16])
def test_codes_are_integers_within_symmetric_limits(bits, alpha, kernel):
    w, axes, limit = kernel.all, kernel.axes, 2 ** (bits - 1) - 1
    spec = QuantizerSpec(bits, alpha, 1 if alpha == "fixed" else None)
    codes, scale = (np.asarray(x) for x in weight_codes(w, bits, spec.alpha, axes, spec.integer or 0))
    np.testing.assert_array_equal(codes, np.rint(codes))
    assert scale.shape == tuple(1 if i in axes else n for i, n in enumerate(w.shape))
    np.testing.assert_array_equal(codes * scale, quantize(w, spec, axes))
    largest = np.abs(codes).max(axis=axes)
    assert (largest <= limit).all()
    if alpha == "auto":
        assert (largest[~kernel.zero] == limit).all()
    else:
        assert (np.frexp(scale)[0] == 0.5).all()


@pytest.mark.parametrize("spec", [QuantizerSpec(4), QuantizerSpec(16, "auto_po2"), QuantizerSpec(2, "auto_po2"), None])
def test_a_bias_has_one_scale(spec):
    bias = np.random.default_rng(0).normal(0, 1, 16).astype(np.float32)
    q = quantize(bias, spec, (0,))
    if spec is None:
        np.testing.assert_array_equal(q, bias)
    elif spec.alpha is Alpha.AUTO:
        scale = np.abs(bias).max() / np.float32(7)
        np.testing.assert_array_equal(q, np.trunc(bias / scale + np.copysign(np.float32(0.5), bias)) * scale)
    else:
        np.testing.assert_allclose(squared_error(q, bias, (0,)), least_error(bias, spec.bits, (0,)), rtol=1e-5)


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
@pytest.mark.parametrize(
    "spec", [None, *(QuantizerSpec(3, a, 0 if a is Alpha.FIXED else None) for a in OF_ITS_OWN)], ids=str
)
def test_the_gradient_passes_straight_through(spec, traced):
    w = tf.constant(np.random.default_rng(0).normal(0, 1, (3, 3, 2, 4)).astype(np.float32))
    upstream = tf.constant(np.random.default_rng(1).normal(0, 1, w.shape).astype(np.float32))
    layer = WeightQuantizer((0, 1, 2), OF_ITS_OWN, None if spec is None else spec.integer)
    layer.build(w.shape)
    layer.spec.assign(encode(spec))

    def gradient():
        with tf.GradientTape() as tape:
            tape.watch(w)
            loss = tf.reduce_sum(layer(w) * upstream)
        return tape.gradient(loss, w)

    np.testing.assert_array_equal((tf.function(gradient) if traced else gradient)(), upstream)


def test_widths_and_modes_are_data():
    """One trace serves every width and every scale mode, and none of them is the one of another."""
    w = np.random.default_rng(0).normal(0, 1, (3, 3, 2, 4)).astype(np.float32)
    layer = WeightQuantizer((0, 1, 2))
    layer.build(w.shape)
    call = tf.function(layer, jit_compile=False)
    seen = set()
    for bits in range(2, 13):
        for alpha in (Alpha.AUTO, Alpha.AUTO_PO2, Alpha.FIXED):
            layer.spec.assign(encode(QuantizerSpec(bits, alpha, 0 if alpha is Alpha.FIXED else None)))
            seen.add(call(tf.constant(w)).numpy().tobytes())
    layer.spec.assign(encode(None))
    np.testing.assert_array_equal(call(tf.constant(w)), w)
    assert len(seen) == 33
    assert call.experimental_get_tracing_count() == 1


def test_a_quantizer_survives_its_config():
    layer = WeightQuantizer((0, 1), [Alpha.FIXED], integer=2)
    back = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert (back.axes, back.alphas, back.integer) == ((0, 1), (Alpha.FIXED,), 2)
