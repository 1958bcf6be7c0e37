"""Watching a training: it must see what happens, and change nothing."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from mpsearch.errors import StudyError
from mpsearch.observing import Observer, oscillation, read_observed, write_observed


def test_a_training_that_is_watched_ends_as_one_that_isn_t(tiny_engine, tmp_path):
    engine = tiny_engine
    config = engine.network.space.uniform(4)
    alone = engine.train(config, seed=3)
    observer = Observer(engine, config, engine.task.training, tmp_path / "trial" / "observed.json")
    watched = engine.train(config, seed=3, callbacks=[observer])
    assert watched.history.epochs == alone.history.epochs
    for before, after in zip(alone.state, watched.state, strict=True):
        np.testing.assert_array_equal(before, after)
    assert len(observer.epochs) == engine.task.training.epochs
    assert read_observed(tmp_path / "trial" / "observed.json") == observer.epochs
    sites = {site.name for site in engine.network.facts.sites if site.role != "activation"}
    for epoch in observer.epochs:
        assert set(epoch) == sites
        for seen in epoch.values():
            assert 0 < seen.update < 1
            assert 0 <= seen.vanishing <= 1 - seen.exploding <= 1


@pytest.mark.parametrize("changed", ["as it is", "constrained", "weighted"])
def test_gradients_are_those_of_tensorflow(tiny_engine, changed, monkeypatch):
    import tensorflow as tf

    engine = tiny_engine
    recipe = replace(
        engine.task.training, class_weights={n: 0.1 + n for n in range(10)} if changed == "weighted" else None
    )
    config = engine.network.space.uniform(8)
    observer = Observer(engine, config, recipe)
    kernel = engine.network.model.get_layer("dw").inner.kernel
    if changed == "constrained":
        monkeypatch.setattr(kernel, "constraint", keras.constraints.MaxNorm(0.1))
    engine.network.set_config(config)
    before = engine.network.state()
    norms = observer._gradients.norms()
    for first, second in zip(before, engine.network.state(), strict=True):
        np.testing.assert_array_equal(first, second)
    x, y, *weights = observer._gradients.batch
    assert len(weights) == (changed == "weighted")
    model = engine.session(recipe).model
    with tf.GradientTape() as tape:
        loss = model.compute_loss(x, y, model(x, training=True), *weights)
    engine.network.set_config(config)
    for variable, gradient in zip(
        model.trainable_variables, tape.gradient(loss, [v.value for v in model.trainable_variables]), strict=True
    ):
        expected = float(tf.norm(gradient))
        np.testing.assert_allclose(norms[id(variable)], expected, rtol=1e-3, atol=1e-9)
        assert expected > 0


def test_a_warm_up_s_wider_widths_are_no_moves_of_scales(tiny_engine):
    engine = tiny_engine
    recipe = replace(engine.task.training, warmup_epochs=1, learning_rate=0.0)
    config = engine.network.space.uniform(2)
    observer = Observer(engine, config, recipe)
    engine.train(config, 0, recipe, callbacks=[observer])
    for epoch in observer.epochs:
        for seen in epoch.values():
            assert (seen.moves, seen.returns) == (0.0, 0.0)
    zeros = [epoch["logits/kernel"].zeros for epoch in observer.epochs]
    assert zeros[0] == zeros[1] > 0.3  # by the config's own widths


def test_updates_are_counted(tiny_engine):
    engine = tiny_engine
    config = engine.network.space.uniform(8)
    observer = Observer(engine, config, engine.task.training)
    observer.set_params({"steps": 2})
    engine.network.set_config(config)
    observer.on_epoch_begin(0)
    kernel = engine.network.model.get_layer("conv").inner.kernel
    change = np.zeros(kernel.shape, np.float32)
    change[..., 0], change[..., 1], change[..., 2] = 5e-4, 2e-3, -2e-3
    kernel.assign(np.asarray(kernel) + change)
    observer.on_train_batch_end(0)
    observer.on_epoch_end(0)
    seen = observer.epochs[0]["conv/kernel"]
    np.testing.assert_allclose(seen.vanishing, 5 / 8)
    np.testing.assert_allclose(seen.exploding, 2 / 8)
    np.testing.assert_allclose(seen.update, 4.5e-3 / 8, rtol=1e-4)
    other = observer.epochs[0]["logits/kernel"]
    assert (other.update, other.vanishing, other.exploding) == (0.0, 1.0, 0.0)
    engine.network.set_config(config)


@pytest.mark.parametrize(
    ("scales", "moves", "returns"),
    [
        ([1, 1, 1], 0, 0),
        ([1, 2, 4, 4], 2, 0),
        ([1, 2, 1, 2], 3, 2),
        ([1, 2, 2, 1], 2, 1),
        ([4, 2, 2, 1], 2, 0),
        ([1, 1.1, 1.2, 1.3, 1.5, 1.6], 1, 0),  # drifts by half an octave
        ([1, 1.1, 0.9, 1.1, 0.9], 0, 0),
    ],
)
def test_scales_that_go_back_oscillate(scales, moves, returns):
    looks = [np.array([scale, 1.0]) for scale in scales]
    assert oscillation(looks) == (moves / 2, returns / 2)


def test_a_damaged_file_is_refused(tmp_path):
    write_observed(tmp_path / "observed.json", [])
    assert read_observed(tmp_path / "observed.json") == []
    (tmp_path / "observed.json").write_text('[{"a/kernel": {"updates": 1}}]')
    with pytest.raises(StudyError, match="can't be read"):
        read_observed(tmp_path / "observed.json")
