"""The training loop: reproducible, with the recipe's learning rates, stopping when it should."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from mpsearch import schedules
from mpsearch.batches import Batches, Ends, augmenter
from mpsearch.data import Data, Split
from mpsearch.errors import ConfigError, DataError
from mpsearch.task import Distillation, Training
from mpsearch.training import Session, Trainee, check_task


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


def test_each_step_is_traced_once_though_metrics_have_variables(tiny_engine, monkeypatch):
    traced, data = [], tiny_engine.data

    def note(step):
        original = getattr(Trainee, step)
        monkeypatch.setattr(Trainee, step, lambda self, batch: traced.append(step) or original(self, batch))

    note("train_step")
    note("test_step")
    further = ("sparse_top_k_categorical_accuracy",)
    session = Session(tiny_engine.task.build(), "sgd", "sparse_categorical_crossentropy", "accuracy", further=further)
    session.fit(data, Training(epochs=2), 0)
    assert traced == ["train_step", "test_step"]
    session.evaluate(data, data.test, further=False)
    assert len(traced) == 2
    session.evaluate(data, data.test)
    assert traced[2:] == ["test_step"]  # of the further metrics


def test_a_subset_is_the_first_samples_of_the_training_split(tiny_engine, monkeypatch):
    data, seen = tiny_engine.data, []
    original = Batches.__getitem__

    def noted(self, index):
        batch = original(self, index)
        if self._seed is not None:  # training alone is shuffled
            seen.append(batch[0])
        return batch

    monkeypatch.setattr(Batches, "__getitem__", noted)
    tiny_engine.train(tiny_engine.network.space.uniform(8), 0, Training(epochs=1, learning_rate=1e-4, subset=70))
    rows = {row.tobytes() for row in np.concatenate(seen).reshape(-1, 64)}
    assert rows == {row.tobytes() for row in data.inputs(data.train.x[:70]).reshape(-1, 64)}


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


@pytest.fixture
def traces(tiny_engine, monkeypatch):
    """Grows by one whenever Python runs through the network: in tracing, not in a traced step."""
    inner, found = tiny_engine.network.model.get_layer("logits").inner, []
    original = inner.call
    monkeypatch.setattr(inner, "call", lambda *a, **k: found.append(1) or original(*a, **k))
    return found


def noise(x, rng):
    return x + rng.normal(0, 0.2, x.shape)


OPTIONS = {
    "class weights": {"class_weights": {label: 1.0 + label for label in range(10)}},
    "balanced": {"class_weights": "balanced"},
    "augmentation by a function": {"augmentation": noise},
    "augmentation by layers": {"augmentation": [keras.layers.RandomTranslation(0.2, 0.2)]},
    "distillation": {"distillation": Distillation(3.0, 0.7)},
    "schedule": {"learning_rate": schedules.exponential(2e-3, 0.1)},
    "warm-up": {"warmup_epochs": 1, "warmup_bits": 16},
    "all": {
        "class_weights": "balanced",
        "augmentation": noise,
        "distillation": Distillation(),
        "learning_rate": schedules.cosine(2e-3, 2),
        "warmup_epochs": 1,
    },
}


@pytest.mark.parametrize("option", OPTIONS)
def test_each_option_matters_repeats_to_the_bit_and_retraces_nothing(tiny_engine, traces, option):
    space = tiny_engine.network.space
    config, recipe = space.uniform(4), Training(epochs=2, learning_rate=2e-3)
    tiny_engine.train(config, 5, recipe)
    plain = tiny_engine.network.state()
    changed = replace(recipe, **OPTIONS[option])
    tiny_engine.train(config, 5, changed)
    first, traced = tiny_engine.network.state(), len(traces)
    tiny_engine.train(space.uniform(2), 6, recipe)
    tiny_engine.train(space.uniform(8), 6, changed)
    tiny_engine.train(config, 5, changed)
    assert all(np.array_equal(a, b) for a, b in zip(first, tiny_engine.network.state(), strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, plain, strict=True))
    assert len(traces) == traced


def test_warm_up_trains_wide_and_validates_the_config_itself(tiny_engine):
    network, seen = tiny_engine.network, []
    config = network.space.uniform(4)

    class Look(keras.callbacks.Callback):
        def widths(self):
            return {int(np.asarray(network.quantizer(site).spec)[0]) for site in network.space.sites}

        def on_train_batch_end(self, batch, logs=None):
            if batch == 0:
                seen.append(("train", self.widths()))

        def on_test_batch_end(self, batch, logs=None):
            seen.append(("test", self.widths()))

    own = {spec.bits for spec in config.values()}
    logged = []
    recipe = Training(epochs=2, warmup_epochs=1, warmup_bits=12)
    tiny_engine.train(config, 0, recipe, report=lambda epoch, logs: logged.append(logs), callbacks=[Look()])
    assert ["accuracy" in logs for logs in logged] == [False, True]  # the first is of other widths
    assert 0 < logged[0]["warmup_accuracy"] <= 1
    raised = {max(bits, 12) for bits in own}
    assert seen == [("train", raised), ("test", own), ("train", own), ("test", own)]


IMPOSSIBLE = [
    {"epochs": 0},
    {"batch_size": 1.5},
    {"patience": 0},
    {"subset": 0},
    {"subset": 2.5},
    {"learning_rate": keras.optimizers.schedules.ExponentialDecay(1e-3, 10, 0.9)},
    {"class_weights": {0: -1.0}},
    {"class_weights": "equal"},
    {"warmup_epochs": 3},
    {"warmup_bits": 64},
    {"distillation": 0.5},
    {"epochs": True},
    {"patience": 1.5},
    {"optimizer": 5},
    {"learning_rate": -1.0},
    {"warmup_epochs": 0.5},
    {"class_weights": {}},
    {"tensorboard": "no"},
]


@pytest.mark.parametrize("options", IMPOSSIBLE)
def test_impossible_recipes_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Training(**options)


@pytest.mark.parametrize("options", [{"temperature": 0}, {"weight": 0}, {"weight": 1.5}])
def test_impossible_distillations_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        Distillation(**options)


def dense(activation=None, outputs=3):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(outputs, activation=activation)])
    rng = np.random.default_rng(0)
    model.layers[-1].set_weights([rng.normal(size=w.shape) for w in model.layers[-1].weights])
    return model


X = np.random.default_rng(2).normal(size=(40, 4)).astype(np.float32)


def data_of(x, y):
    return Data(Split(x, y), Split(x, y), Split(x, y))


def first_loss(model, loss, data, **recipe):
    session = Session(model, "adam", loss, "accuracy")
    return session.fit(data, Training(epochs=1, batch_size=40, learning_rate=1e-9, **recipe), 0).epochs[0]["loss"]


def test_losses_are_named_or_objects_or_functions():
    y = X[:, :3].argmax(axis=1)
    scores = np.asarray(dense()(X), np.float64)
    expected = np.mean(np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(40), y])
    own = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert first_loss(dense("softmax"), "sparse_categorical_crossentropy", data_of(X, y)) == pytest.approx(expected)
    assert first_loss(dense(), own, data_of(X, y)) == pytest.approx(expected, rel=1e-5)
    assert first_loss(dense(), lambda t, p: keras.ops.mean(p) * 0 + 2.0, data_of(X, y)) == pytest.approx(2.0)
    with pytest.raises(ConfigError, match="did you mean 'sparse_categorical_crossentropy'"):
        Session(dense(), "adam", "sparse_categorical_crosentropy", "accuracy")
    with pytest.raises(ConfigError, match="must be a name, an object"):
        Session(dense(), "adam", 3, "accuracy")


def test_class_weights_weigh_the_loss():
    y = X[:, :3].argmax(axis=1)
    model = dense("softmax")
    p = np.asarray(model(X), np.float64)
    weights = np.array([1.0, 5.0, 2.0])
    expected = np.mean(weights[y] * -np.log(p[np.arange(40), y]))
    found = first_loss(model, "sparse_categorical_crossentropy", data_of(X, y), class_weights={0: 1.0, 1: 5.0, 2: 2.0})
    assert found == pytest.approx(expected, rel=1e-5)


def test_several_outputs_have_losses_and_a_metric_by_name():
    from keras import Input, Model, layers

    a, b = Input((4,), name="a"), Input((4,), name="b")
    both = layers.Concatenate(name="both")([a, b])
    outputs = [layers.Dense(3, "softmax", name="kind")(both), layers.Dense(1, name="size")(both)]
    model = Model([a, b], outputs)
    y = X[:, :3].argmax(axis=1)
    data = data_of({"b": -X, "a": X}, {"size": X[:, :1], "kind": y})
    loss = {"kind": "sparse_categorical_crossentropy", "size": keras.losses.MeanSquaredError()}
    session = Session(model, "adam", loss, "kind/accuracy")
    kind, size = (np.asarray(o) for o in model([X, -X]))
    logs = session.evaluate(data, data.validation)
    assert logs["kind/accuracy"] == pytest.approx(np.mean(kind.argmax(axis=1) == y))
    expected = np.mean(-np.log(kind[np.arange(40), y])) + np.mean((size - X[:, :1]) ** 2)
    assert logs["loss"] == pytest.approx(expected, rel=1e-4)
    history = session.fit(data, Training(epochs=8, batch_size=8, learning_rate=0.05), 0)
    assert history.best("val_kind/accuracy") > logs["kind/accuracy"]
    judged = Session(model, "adam", loss, "kind/accuracy", further=("size/mse", "kind/SparseCategoricalAccuracy"))
    further = judged.evaluate(data, data.validation)
    kind, size = (np.asarray(o) for o in model([X, -X]))
    assert further["size/mse"] == pytest.approx(np.mean((size - X[:, :1]) ** 2), rel=1e-4)
    assert further["kind/SparseCategoricalAccuracy"] == further["kind/accuracy"]
    assert further["kind/accuracy"] == pytest.approx(np.mean(kind.argmax(axis=1) == y))
    with pytest.raises(ConfigError, match="names the output 'sort'"):
        Session(model, "adam", loss, "sort/accuracy")
    with pytest.raises(ConfigError, match=r"`loss` names the outputs \['kind'\]"):
        Session(model, "adam", {"kind": "mse"}, "kind/accuracy")


def test_a_stream_trains_the_same_each_time_and_is_judged_as_its_arrays(tiny_engine):
    data = tiny_engine.data
    split = data.train

    def batches():
        return (split.take(slice(i, i + 50)) for i in range(0, len(split), 50))

    stream = Data(lambda: ((b.x, b.y) for b in batches()), data.validation, data.test)
    runs = []
    for chosen in (stream, stream):
        tiny_engine.network.set_config(tiny_engine.network.space.uniform(4))
        session = tiny_engine.session("adam")
        history = session.fit(chosen, Training(epochs=2, learning_rate=2e-3), 3)
        runs.append((tiny_engine.network.state(), history.best("val_accuracy")))
    assert all(np.array_equal(a, b) for a, b in zip(runs[0][0], runs[1][0], strict=True))
    assert runs[0][1] > 0.5
    assert session.evaluate(stream, stream.train) == session.evaluate(data, data.train)


def test_the_outputs_of_a_model_are_named_by_its_keys_or_layers():
    i = keras.Input((3,), name="i")
    shared = keras.layers.Dense(2, name="d")
    a, b = shared(i), shared(keras.layers.ReLU(name="r")(i))
    assert Ends.of(keras.Model(i, [a, b])) == Ends(("i",), ("d", "d.2"))
    nested = keras.Model(i, {"both": [a, b]})
    assert Ends.of(nested).outputs == ("d", "d.2")
    by_key = keras.Model({"i": i}, {"size": a, "kind": b})
    assert Ends.of(by_key) == Ends(("i",), ("kind", "size"))
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    session = Session(by_key, "sgd", {"kind": "mse", "size": "mae"}, "kind/accuracy")
    targets = {"size": np.zeros((6, 2), np.float32), "kind": np.ones((6, 2), np.float32)}
    split = Split({"i": x}, targets)
    found = session.evaluate(Data(split, split, split), split)
    predicted = by_key.predict({"i": x}, verbose=0)
    expected = np.mean((predicted["kind"] - 1) ** 2) + np.mean(np.abs(predicted["size"]))
    assert found["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "accurac"}, "no Keras metric 'accurac': did you mean 'accuracy'"),
        ({"metric": "mse"}, r"must rise from 0 \(bad\) to 1 \(good\), but 'mse' falls"),
        ({"metric": "RootMeanSquaredError"}, "falls as a model gets better"),
        ({"metric": "MeanIoU"}, "no Keras metric 'MeanIoU'"),
        ({"metric": "log_cosh_error"}, "falls as a model gets better"),
        ({"metric": "Mean"}, "or does neither"),
        ({"metric": "auc_by_fil"}, "did you mean 'auc_by_file'"),
        ({"metric": "auc_by_file"}, r"'auc_by_file' judges reconstructions .* reconstructs=True"),
        ({"further_metrics": ("pauc_by_file",)}, "'pauc_by_file' judges reconstructions"),
        ({"further_metrics": ("precison",)}, "did you mean 'Precision'"),
        ({"further_metrics": ("Sum",)}, "'Sum' rises or falls as a model gets better isn't known"),
        ({"further_metrics": ("logits/mae",)}, "names the output 'logits'"),
        ({"loss": "sparse_categorical_crosentropy"}, "did you mean"),
        ({"training": Training(optimizer="adm")}, "no Keras optimizer 'adm': did you mean 'Adam'"),
        ({"finetuning": Training(optimizer="nothing")}, "see keras.optimizers"),
        ({"training": Training(class_weights={0: 1.0})}, "no weight for class 1"),
    ],
)
def test_what_no_training_could_use_is_refused_before_there_is_a_study(tiny_engine, changes, message):
    task = replace(tiny_engine.task, **changes)
    check_task(tiny_engine.task, tiny_engine.network.float_model, tiny_engine.data)
    with pytest.raises(ConfigError, match=message):
        check_task(task, tiny_engine.network.float_model, tiny_engine.data)


def test_distillation_from_what_are_no_class_scores_is_refused_before_there_is_a_study(tiny_engine):
    task = replace(tiny_engine.task, finetuning=Training(distillation=Distillation()))
    model = tiny_engine.network.float_model
    check_task(task, model, tiny_engine.data)
    gates = keras.Model(model.inputs, keras.layers.Activation("sigmoid")(model.get_layer("logits").output))
    with pytest.raises(ConfigError, match="applies sigmoid"):
        check_task(task, gates, tiny_engine.data)


@pytest.mark.parametrize(
    ("hold", "held"),
    [
        (lambda one, two: one, lambda noise: [noise]),
        (lambda one, two: [one, two], list),
        (lambda one, two: (one, [two]), lambda noise: [noise[0], *noise[1]]),
        (lambda one, two: {"a": one, "b": {"c": (two,)}}, lambda noise: [noise["a"], *noise["b"]["c"]]),
    ],
    ids=["attribute", "list", "tuple", "dict"],
)
def test_every_generator_of_a_layer_is_seeded(hold, held):
    class Noise(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.noise = hold(keras.random.SeedGenerator(1), keras.random.SeedGenerator(2))

        def call(self, x, training=False):
            for generator in held(self.noise):
                x = x + keras.random.normal(keras.ops.shape(x), seed=generator) if training else x
            return x

    i = keras.Input((3,))
    layer = Noise()
    session = Session(keras.Model(i, keras.layers.Dense(2)(layer(i))), "sgd", "mse", "accuracy")
    states = []
    for seed in (5, 6, 5):
        session.reset(0.1, seed)
        states.append([np.array(generator.state).tolist() for generator in held(layer.noise)])
        layer(np.ones((1, 3), np.float32), training=True)
    assert states[0] == states[2]
    assert all(first != second for first, second in zip(states[0], states[1], strict=True))


def test_an_augmentation_that_fails_is_a_mistake_of_the_task_and_no_configs_fault():
    def augmentation(x, rng):
        return {}["missing"]

    split = Split(np.ones((4, 3), np.float32), np.zeros(4, np.int64))
    batches = Batches(Data(split, split, split), split, 2, 0, augment=augmenter(augmentation))
    with pytest.raises(DataError, match="augmentation failed: KeyError: 'missing'"):
        batches[0]


def test_generators_in_lists_of_augmenting_layers_are_seeded():
    class Noise(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.noise = [keras.random.SeedGenerator(1)]

        def call(self, x, training=False):
            return x + keras.random.normal(keras.ops.shape(x), seed=self.noise[0])

    augment = augmenter([Noise()])
    first, second, third = (augment(np.ones((2, 3), np.float32), np.random.default_rng(seed)) for seed in (5, 6, 5))
    assert np.array_equal(first, third)
    assert not np.array_equal(first, second)
