"""Post-training quantization, against a network computed with NumPy."""

import keras
import numpy as np
import pytest

from mpsearch import Data, Space, Split, Task, Training, bits
from mpsearch.baselines.posttraining import PostTraining, affine_codes, int8_config, int8_engine, kernels_of
from mpsearch.baselines.ranges import RangeMethod, min_max, range_of
from mpsearch.config import Role
from mpsearch.searching.engine import Engine
from mpsearch.spacefile import SpaceFile


def two_layers():
    inputs = keras.Input((6,), name="input")
    x = keras.layers.Dense(16, activation="relu", name="hidden")(inputs)
    return keras.Model(inputs, keras.layers.Dense(4, name="out")(x), name="two")


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    rng = np.random.default_rng(0)
    x = rng.normal(0.3, 1, (400, 6)).astype(np.float32)
    y = (x[:, :4].argmax(axis=1)).astype(np.int64)
    splits = (Split(x[:240], y[:240]), Split(x[240:320], y[240:320]), Split(x[320:], y[320:]))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    task = Task(two_layers, lambda: Data(*splits), training=Training(epochs=1, learning_rate=1e-2), loss=loss)
    space = Space(kernel=bits(4, 8), bias=bits(16), activation=bits(4, 8))
    space.skip("out", roles=["activation"])
    folder = tmp_path_factory.mktemp("two")
    patch = pytest.MonkeyPatch()
    patch.setenv("XDG_CACHE_HOME", str(folder))
    yield Engine(SpaceFile(folder / "two.py", "", task, space))
    patch.undo()


@pytest.fixture(scope="module")
def post(engine):
    return PostTraining(int8_engine(engine), 100)


def on_grid(x, low, high):
    """The nearest value of 256 evenly spaced ones, of which one is zero."""
    scale = (high - low) / 255
    zero = round(-low / scale)
    grid = (np.arange(256) - zero) * scale
    return grid[np.abs(x[..., None] - grid).argmin(axis=-1)]


def symmetric(kernel, width):
    scale = np.abs(kernel).max(axis=0) / (2 ** (width - 1) - 1)
    return np.round(kernel / scale) * scale


def predicted(engine):
    session = engine.session(engine.task.training)
    return session.predict(engine.data, engine.data.validation).astype(float)


def test_sites_that_the_space_leaves_float_stay_so(engine, post):
    config = int8_config(engine)
    assert set(config) == set(engine.network.space.sites) == set(post.network.space.sites)
    assert "out/activation" not in config
    assert {str(config[f"{layer}/kernel"]) for layer in ("hidden", "out")} == {"8 auto"}
    assert str(config["hidden/bias"]) == "32 auto"
    assert str(config["hidden/activation"]) == "8 auto affine"
    roles = {engine.network.facts.by_name[site].role for site in kernels_of(config, engine)}
    assert roles == {Role.KERNEL}


@pytest.mark.parametrize("method", RangeMethod)
def test_static_quantization_is_the_network_on_codes(engine, post, method):
    post.static(method)
    first, bias, second, last = (np.asarray(w, dtype=float) for w in engine.network.float_model.get_weights())
    samples = engine.data.train.spread(100).x
    hidden_seen = np.maximum(samples @ first + bias, 0.0)
    ranges = [range_of(method, observed) for observed in post.seen.sites.values()]
    if method is RangeMethod.MIN_MAX:
        assert ranges[0] == pytest.approx((samples.min(), samples.max()))
        assert ranges[1] == pytest.approx((0.0, hidden_seen.max()), rel=1e-5)
    x = on_grid(engine.data.validation.x.astype(float), *ranges[0])
    hidden = on_grid(np.maximum(x @ symmetric(first, 8) + bias, 0.0), *ranges[1])
    expected = hidden @ symmetric(second, 8) + last
    found = predicted(post.engine)
    step = (ranges[1][1] - ranges[1][0]) / 255
    assert np.quantile(np.abs(found - expected), 0.95) < 1e-4
    assert np.abs(found - expected).max() < 2 * step, "values on the edge of two codes may take either"
    engine.network.set_config(None)
    assert np.abs(found - predicted(engine)).max() > 1e-3, "something is quantized"


def test_dynamic_range_quantizes_kernels_alone(engine, post):
    post.dynamic_range()
    first, bias, second, last = (np.asarray(w, dtype=float) for w in engine.network.float_model.get_weights())
    first, second = (
        np.stack([on_grid(column, min(column.min(), 0), max(column.max(), 0)) for column in kernel.T], axis=1)
        for kernel in (first, second)
    )
    x = engine.data.validation.x.astype(float)
    expected = np.maximum(x @ first + bias, 0.0) @ second + last
    assert predicted(post.engine) == pytest.approx(expected, abs=1e-4)


def test_equalization_alone_changes_no_output_of_the_float_network(engine, post):
    post.static(RangeMethod.MIN_MAX, equalize=True)
    assert len(post.equalized[1]) == 1
    post.network.assign_specs(None)
    found = predicted(post.engine)
    engine.network.set_config(None)
    assert found == pytest.approx(predicted(engine), abs=1e-4)
    before = post.network.float_model.get_weights()
    for ours, theirs in zip(before, engine.network.float_model.get_weights(), strict=True):
        assert np.array_equal(ours, theirs), "calibration put the weights back"


def test_bias_correction_goes_with_equalization(engine, post):
    """Means are those of the equalized network, whose channels have other scales."""
    session, data = post.engine.session(engine.task.training), engine.data
    plain = {}
    for equalize in (False, True):
        post.static(RangeMethod.MIN_MAX, equalize)
        post.correction(post.config)
        plain[equalize] = session.predict(data, data.validation)
    engine.network.set_config(None)
    expected = predicted(engine)
    step = np.abs(expected).max() / 50
    assert np.abs(plain[False] - expected).max() < step
    assert np.abs(plain[True] - expected).max() < step


def test_ranges_after_equalization_are_those_of_the_equalized_network(engine, post):
    post.static(RangeMethod.MIN_MAX, equalize=True)
    kernel, bias = post.equalized[0]["hidden"]
    seen = np.maximum(engine.data.train.spread(100).x @ kernel + bias, 0.0).max()
    assert min_max(post.seen_equalized.sites["hidden/activation"])[1] == pytest.approx(seen, rel=1e-5)
    assert min_max(post.seen.sites["hidden/activation"])[1] != pytest.approx(seen, rel=1e-2)


@pytest.mark.parametrize("axes", [(0,), (0, 1), ()])
def test_affine_codes_are_256_of_each_scale(axes):
    w = np.random.default_rng(1).normal(0.5, 1, (300, 4)).astype(np.float32)
    found = affine_codes(w, axes)
    if axes == (0, 1):
        assert found == pytest.approx(on_grid(w.astype(float), w.min(), w.max()), abs=1e-6)
    elif axes == (0,):
        columns = [on_grid(c.astype(float), c.min(), c.max()) for c in w.T]
        assert found == pytest.approx(np.stack(columns, axis=1), abs=1e-6)
    else:
        assert found == pytest.approx(w, rel=1e-6), "a value with a scale of its own is exact"
    assert not affine_codes(np.zeros((3, 2), np.float32), (0,)).any()
