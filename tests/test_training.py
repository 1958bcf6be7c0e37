"""The training loop: reproducible, with the recipe's learning rates, stopping when it should."""

import numpy as np
import pytest

from mpsearch.errors import ConfigError
from mpsearch.task import Training
from mpsearch.training import Batches


def test_shuffling_depends_on_seed_and_epoch_alone(tiny_engine):
    data = tiny_engine.data

    def epochs(seed):
        batches = Batches(data, data.train, 100, seed)
        found = []
        for epoch in range(2):
            batches.start(epoch)
            found.append(np.concatenate([batches[i][0] for i in range(batches.num_batches)]))
        return found

    first, second = epochs(1)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, epochs(1)[0])
    assert not np.array_equal(first, epochs(2)[0])
    assert np.array_equal(np.sort(first, axis=0), np.sort(data.inputs(data.train.x), axis=0))


def test_the_same_seed_gives_the_same_weights_to_the_bit(tiny_engine):
    config = tiny_engine.network.space.uniform(4)
    runs = []
    for seed in (5, 5, 6):
        tiny_engine.train(config, seed)
        runs.append(tiny_engine.network.state())
    assert all(np.array_equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(runs[0], runs[2], strict=True))


def test_learning_rates_follow_the_recipe_and_patience_stops(tiny_engine):
    rates = []
    optimizer = tiny_engine.session("adam").model.optimizer
    recipe = Training(epochs=9, learning_rate=lambda epoch: 1e-9 / (epoch + 1), patience=2)
    outcome = tiny_engine.train(
        tiny_engine.network.space.uniform(8), 0, recipe, report=lambda *_: rates.append(float(optimizer.learning_rate))
    )
    assert rates == pytest.approx([1e-9, 5e-10, 1e-9 / 3])
    assert outcome.history.best_epoch == 0
    assert len(outcome.history.epochs) == 3


def test_the_best_epoch_is_what_is_kept(tiny_engine):
    outcome = tiny_engine.train(tiny_engine.network.space.uniform(8), 0, Training(epochs=3, learning_rate=1e-2))
    values = [logs["val_accuracy"] for logs in outcome.history.epochs]
    assert outcome.metric == max(values)
    tiny_engine.network.load_state(outcome.state)
    session = tiny_engine.session("adam")
    assert session.evaluate(tiny_engine.data, tiny_engine.data.validation)["accuracy"] == pytest.approx(max(values))


@pytest.mark.parametrize("options", [{"epochs": 0}, {"batch_size": 1.5}, {"patience": 0}])
def test_impossible_recipes_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Training(**options)
