"""Tests of the quantizer of feature maps: codes, ranges, gradients, and the fused path of training."""

import keras
import numpy as np
import pytest
import qkeras
import tensorflow as tf

from mpsearch.config import Alpha, QuantizerSpec
from mpsearch.quantizers.featuremap import MOMENTUM, QuantizedBitsFeatureMap, grid_of, sketch_of
from mpsearch.quantizers.weights import encode

RNG = np.random.default_rng(3)
SIZE = (8, 12, 12, 4)
GAUSSIAN = RNG.normal(0.2, 1.0, SIZE).astype(np.float32)
MAPS = {
    "relu": np.maximum(GAUSSIAN, 0),
    "uniform": RNG.uniform(0, 3, SIZE).astype(np.float32),
    "heavy": np.abs(RNG.standard_t(3, SIZE)).astype(np.float32),
    "gaussian": GAUSSIAN,
    "signed_heavy": RNG.standard_t(3, SIZE).astype(np.float32),
    "negative": -np.abs(GAUSSIAN),
}
NONNEGATIVE = ("relu", "uniform", "heavy")
AUTO_MODES = ("auto", "auto_po2")


def quantizer(x: np.ndarray, spec: QuantizerSpec | None, signed: bool = False) -> QuantizedBitsFeatureMap:
    """A layer calibrated on `x`, with the options of `spec`."""
    spec = spec or QuantizerSpec(8)
    layer = QuantizedBitsFeatureMap(
        signed=signed, affine=spec.affine, integer=spec.integer, alphas=_alphas(spec), range_rule=spec.range
    )
    layer.build(x.shape)
    layer.range.assign([x.min(), x.max()])
    layer.sketch.assign(sketch_of(x))
    layer.spec.assign(encode(spec))
    return layer


def _alphas(spec: QuantizerSpec) -> list[Alpha]:
    return [Alpha.FIXED] if spec.integer is not None else [Alpha.AUTO, Alpha.AUTO_PO2]


def grid(layer: QuantizedBitsFeatureMap) -> tuple[float, float, float, float]:
    """Scale, zero-point, smallest and largest code of the calibrated layer."""
    found = grid_of(layer.options, *(tf.convert_to_tensor(v.numpy()) for v in (layer.spec, layer.range, layer.sketch)))
    return tuple(np.float32(part) for part in (found.scale, found.zero, found.low, found.high))


def quantize_linear(x: np.ndarray, scale: float, zero: float, low: float, high: float) -> np.ndarray:
    """ONNX's QuantizeLinear and DequantizeLinear: divide, round half to even, add the zero-point, saturate."""
    codes = np.clip(np.rint(x / np.float32(scale)) + np.float32(zero), low, high)
    return (codes - np.float32(zero)) * np.float32(scale)


def mean_error(q: np.ndarray, x: np.ndarray) -> float:
    return float(np.mean((q.astype(np.float64) - x.astype(np.float64)) ** 2))


# Codes


@pytest.mark.parametrize("affine", [False, True], ids=["plain", "affine"])
@pytest.mark.parametrize("alpha", AUTO_MODES)
@pytest.mark.parametrize("bits", [2, 3, 4, 8, 12, 16])
def test_evaluation_gives_the_codes_of_quantize_linear(bits, alpha, affine):
    for name, x in MAPS.items():
        signed = name not in NONNEGATIVE
        layer = quantizer(x, QuantizerSpec(bits, alpha, affine=affine), signed)
        scale, zero, low, high = grid(layer)
        limit = 2 ** (bits - 1) - 1
        assert (low, high) == ((-limit, limit) if signed and not affine else (0, 2**bits - 1)), name
        wide = np.concatenate([x, x * 3])  # values beyond the range saturate
        wide.flat[:8] = (np.arange(8) + 0.5) * scale  # and some lie on ties
        np.testing.assert_array_equal(layer(wide), quantize_linear(wide, scale, zero, low, high), err_msg=name)


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_auto_takes_the_scale_from_the_largest_value(bits):
    unsigned, signed = quantizer(MAPS["relu"], QuantizerSpec(bits)), quantizer(GAUSSIAN, QuantizerSpec(bits), True)
    assert grid(unsigned)[0] == MAPS["relu"].max() / np.float32(2**bits - 1)
    assert grid(signed)[0] == np.abs(GAUSSIAN).max() / np.float32(2 ** (bits - 1) - 1)


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
@pytest.mark.parametrize("name", MAPS)
def test_auto_po2_of_the_sketch_is_nearly_the_best_power_of_two(name, bits):
    x, signed = MAPS[name], name not in NONNEGATIVE
    layer = quantizer(x, QuantizerSpec(bits, "auto_po2"), signed)
    scale, _, low, high = grid(layer)
    assert np.frexp(scale)[0] == 0.5
    exponents = np.arange(-24, 6)
    best = min(mean_error(quantize_linear(x, 2.0**e, 0, low, high), x) for e in exponents)
    found = mean_error(np.asarray(layer(x)), x)
    assert found <= 1.03 * best


@pytest.mark.parametrize("alpha", AUTO_MODES)
@pytest.mark.parametrize("bits", [4, 8])
def test_affine_codes_hold_zero_exactly_and_use_the_whole_range(bits, alpha):
    x = np.linspace(-1.0, 3.0, 4001, dtype=np.float32)
    layer = quantizer(x, QuantizerSpec(bits, alpha, affine=True), signed=True)
    scale, zero, _, _ = grid(layer)
    assert zero == np.rint(zero)
    assert 0 < zero < 2**bits - 1
    assert float(layer(np.zeros(1, np.float32))[0]) == 0.0
    if alpha == "auto":
        assert scale == pytest.approx(4.0 / (2**bits - 1))
        assert np.abs(np.asarray(layer(x)) - x).max() <= 1.001 * scale
        assert mean_error(np.asarray(layer(x)), x) < mean_error(
            np.asarray(quantizer(x, QuantizerSpec(bits), True)(x)), x
        )


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
@pytest.mark.parametrize("integer", [0, 1, 3])
@pytest.mark.parametrize("training", [False, True])
def test_unsigned_fixed_point_is_quantized_relu(bits, integer, training):
    x = np.concatenate([MAPS["signed_heavy"].ravel(), np.arange(-8, 40) * 2.0 ** (integer - bits - 1)]).astype(
        np.float32
    )
    ours = quantizer(x, QuantizerSpec(bits, "fixed", integer))(x, training=training)
    np.testing.assert_array_equal(ours, qkeras.quantized_relu(bits, integer)(x))


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
@pytest.mark.parametrize("integer", [0, 2])
@pytest.mark.parametrize("training", [False, True])
def test_signed_fixed_point_is_quantized_bits(bits, integer, training):
    x = MAPS["signed_heavy"]
    ours = quantizer(x, QuantizerSpec(bits, "fixed", integer), signed=True)(x, training=training)
    np.testing.assert_array_equal(ours, qkeras.quantized_bits(bits, integer, 1, 1, alpha=1.0)(x))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("affine", [False, True], ids=["plain", "affine"])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("alpha", AUTO_MODES)
def test_a_map_of_zeros_gives_zeros(alpha, signed, affine, training):
    x = np.zeros((4, 5), np.float32)
    for bits in (2, 8, 16, 32):
        q = quantizer(x, QuantizerSpec(bits, alpha, affine=affine), signed)(x, training=training)
        np.testing.assert_array_equal(q, 0.0)


@pytest.mark.parametrize("alpha", AUTO_MODES)
@pytest.mark.parametrize("factor", [1e-12, 1e20])
def test_tiny_and_huge_maps_keep_their_codes(alpha, factor):
    """Codes are those of the map at its ordinary size, but for `auto`'s rounding of the scale."""
    x = MAPS["relu"]
    power = np.float32(2.0 ** np.round(np.log2(factor)))
    small = np.asarray(quantizer(x * power, QuantizerSpec(8, alpha))(x * power))
    np.testing.assert_array_equal(small, np.asarray(quantizer(x, QuantizerSpec(8, alpha))(x)) * power)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("bits", [25, 31, 32])
def test_widths_above_24_bits_are_nearly_the_identity(bits, training):
    for name, signed in (("relu", False), ("gaussian", True)):
        q = np.asarray(quantizer(MAPS[name], QuantizerSpec(bits), signed)(MAPS[name], training=training))
        assert np.abs(q - MAPS[name]).max() <= np.abs(MAPS[name]).max() * 2.0**-22


@pytest.mark.parametrize("alpha", AUTO_MODES)
def test_quantizing_twice_changes_nothing(alpha):
    for bits in (2, 4, 8, 12):
        layer = quantizer(MAPS["relu"], QuantizerSpec(bits, alpha))
        once = layer(MAPS["relu"])
        np.testing.assert_array_equal(layer(once), once)


def test_float_passes_unchanged():
    layer = quantizer(GAUSSIAN, None)
    layer.spec.assign(encode(None))
    for training in (False, True):
        np.testing.assert_array_equal(layer(GAUSSIAN, training=training), GAUSSIAN)


# Training


@pytest.mark.parametrize("bits", [2, 4, 8, 12, 16])
def test_the_fused_path_gives_the_same_values_for_powers_of_two(bits):
    for name, x in MAPS.items():
        layer = quantizer(x, QuantizerSpec(bits, "auto_po2"), name not in NONNEGATIVE)
        scale = grid(layer)[0]
        x = x.copy()
        x.flat[:16] = np.clip((np.arange(16) + 0.5) * scale * np.sign(x.sum()), x.min(), x.max())  # ties
        np.testing.assert_array_equal(layer(x, training=True), layer(x, training=False), err_msg=name)


@pytest.mark.parametrize("bits", [2, 4, 8, 12])
def test_the_fused_path_gives_the_same_codes_but_on_ties(bits):
    for name, x in MAPS.items():
        layer = quantizer(x, QuantizerSpec(bits), name not in NONNEGATIVE)
        scale = grid(layer)[0].astype(np.float64)
        fused, plain = (np.asarray(layer(x, training=training), np.float64) / scale for training in (True, False))
        np.testing.assert_allclose(fused, np.rint(fused), rtol=1e-6, err_msg=name)
        differs = np.rint(fused) != np.rint(plain)
        distance = np.abs(np.abs(x / scale - np.floor(x / scale)) - 0.5)
        assert (distance[differs] <= 1e-6 * 2**bits).all(), name
        assert differs.mean() < 1e-3, name


@pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize(
    ("spec", "signed"),
    [
        (None, True),
        (QuantizerSpec(4), False),
        (QuantizerSpec(4), True),
        (QuantizerSpec(4, "auto_po2"), False),
        (QuantizerSpec(8, "auto_po2"), True),
        (QuantizerSpec(4, affine=True), True),
        (QuantizerSpec(4, "fixed", 0), False),
        (QuantizerSpec(4, "fixed", 0), True),
        (QuantizerSpec(4, range="batch"), True),
    ],
    ids=str,
)
def test_the_gradient_is_the_identity_inside_and_zero_where_clipped(spec, signed, training, traced):
    upstream = tf.constant(np.random.default_rng(1).normal(0, 1, SIZE).astype(np.float32))
    layer = quantizer(np.clip(GAUSSIAN, -1.5, 1.0), spec, signed)
    if spec is None:
        layer.spec.assign(encode(None))
    x = tf.constant(GAUSSIAN)  # about a quarter of the values lies outside the calibrated range

    def gradient():
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x, training=training) * upstream)
        return tape.gradient(loss, x)

    found = (tf.function(gradient) if traced else gradient)().numpy()
    if spec is not None and spec.range == "batch":
        layer.range.assign([GAUSSIAN.min(), GAUSSIAN.max()])
    scale, zero, low, high = grid(layer)  # after a training step: the range has moved
    inside = ((low - zero) * scale <= GAUSSIAN) & ((high - zero) * scale >= GAUSSIAN)
    np.testing.assert_array_equal(found, np.where(inside if spec else True, upstream, 0.0))
    if spec is not None and spec.range != "batch":
        assert 0.02 < inside.mean() < 0.98


def test_widths_and_modes_are_data():
    layer = quantizer(MAPS["relu"], QuantizerSpec(8))
    for training in (False, True):
        call = tf.function(lambda x, training=training: layer(x, training=training), jit_compile=False)
        seen = set()
        for bits in range(2, 13):
            for alpha in AUTO_MODES:
                layer.spec.assign(encode(QuantizerSpec(bits, alpha)))
                seen.add(call(tf.constant(MAPS["relu"])).numpy().tobytes())
        assert len(seen) == 22
        assert call.experimental_get_tracing_count() == 1


# Ranges


def test_the_range_moves_while_training_and_is_frozen_for_evaluation():
    layer = quantizer(GAUSSIAN, QuantizerSpec(8), signed=True)
    before = np.asarray(layer.range)
    layer(GAUSSIAN * 3, training=False)
    np.testing.assert_array_equal(layer.range, before)
    layer(GAUSSIAN * 3, training=True)
    np.testing.assert_allclose(layer.range, MOMENTUM * before + (1 - MOMENTUM) * 3 * before, rtol=1e-6)


def test_the_range_moves_in_a_float_network_too():
    """So that a site whose width is set after some training knows its range."""
    layer = quantizer(GAUSSIAN, None, signed=True)
    layer.spec.assign(encode(None))
    before = np.asarray(layer.range)
    layer(GAUSSIAN * 3, training=True)
    assert (np.abs(layer.range) > np.abs(before)).all()


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_broken_batch_does_not_break_the_range(broken):
    layer = quantizer(GAUSSIAN, QuantizerSpec(8), signed=True)
    x = GAUSSIAN.copy()
    x[0, 0, 0, 0] = broken
    layer(x, training=True)
    layer(np.full_like(x, broken), training=True)
    assert np.isfinite(layer.range).all()
    assert np.abs(layer.range).max() < 2 * np.abs(GAUSSIAN).max()
    assert np.isfinite(layer(GAUSSIAN)).all()


@pytest.mark.parametrize("training", [False, True])
def test_a_range_of_the_batch_ignores_calibration(training):
    layer = quantizer(MAPS["relu"], QuantizerSpec(8, range="batch"))
    x = MAPS["relu"] * np.float32(1.5)
    scale = np.float32(x.max() / np.float32(255))
    q = np.asarray(layer(x, training=training))
    np.testing.assert_allclose(q, quantize_linear(x, scale, 0, 0, 255), atol=1e-6 + (scale if training else 0))
    assert q.max() == pytest.approx(x.max())
    np.testing.assert_array_equal(layer.range, [MAPS["relu"].min(), MAPS["relu"].max()])


def test_fixed_point_needs_no_range():
    layer = quantizer(GAUSSIAN, QuantizerSpec(8, "fixed", 2), signed=True)
    expected = np.asarray(layer(GAUSSIAN))
    layer.range.assign([0.0, 0.0])
    np.testing.assert_array_equal(layer(GAUSSIAN), expected)


def test_a_sketch_runs_from_the_least_to_the_largest_value_over_the_largest_magnitude():
    x = RNG.normal(0, 2, 10_000)
    sketch = sketch_of(x)
    assert np.abs(sketch).max() == pytest.approx(1.0)
    assert (np.diff(sketch) >= 0).all()
    assert sketch[0] == pytest.approx(x.min() / np.abs(x).max())
    np.testing.assert_array_equal(sketch_of(np.zeros(5)), 0.0)
    np.testing.assert_allclose(sketch_of(x * 1e6), sketch, rtol=1e-5)


def test_a_quantizer_survives_its_config():
    layer = QuantizedBitsFeatureMap(True, affine=True, alphas=["auto"], range_rule="batch", name="a__activation")
    back = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert back.get_config() == layer.get_config()
    assert (back.signed, back.affine, back.alphas, back.range_rule) == (True, True, (Alpha.AUTO,), "batch")
