"""Distillation: Hinton's loss, what are logits and what probabilities, masks and weights."""

import keras
import numpy as np
import pytest
from keras import Input, layers, ops

from mpsearch.batches import Ends
from mpsearch.data import Data, Split
from mpsearch.distillation import gives_probabilities, soft_loss
from mpsearch.errors import ConfigError
from mpsearch.network.canonical import canonical
from mpsearch.network.graph import graph_of
from mpsearch.task import Distillation, Training
from mpsearch.training import Session
from tests.conftest import randomise

CLASSES = 3


def dense(activation=None, outputs=CLASSES):
    return randomise(keras.Sequential([Input((4,)), layers.Dense(outputs, activation=activation)]))


def softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)


def divergence(theirs, ours, temperature):
    """KL of the class probabilities of logits, one for each row."""
    p, q = softmax(theirs / temperature), softmax(ours / temperature)
    return np.sum(p * np.log(p / q), axis=-1)


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_the_loss_of_distillation_is_hintons(activation):
    rng = np.random.default_rng(1)
    x, ours = rng.normal(size=(6, 4)).astype(np.float32), rng.normal(size=(6, 3))
    taught = np.asarray(dense()(x), np.float64)
    expected = 0.5 + 0.3 * 2.0 + 0.7 * 9.0 * np.mean(divergence(taught, ours, 3.0))
    outputs = ours if activation is None else softmax(ours)
    loss = soft_loss(Distillation(3.0, 0.7), dense(activation))
    found = loss(x, ops.convert_to_tensor(outputs.astype(np.float32)), 2.5, 0.5)  # 0.5 of it is regularization
    assert float(found) == pytest.approx(expected, rel=1e-4)


def test_distillation_without_class_scores_or_teacher_is_refused():
    with pytest.raises(ConfigError, match="at least 2 classes"):
        soft_loss(Distillation(), dense(outputs=1))
    with pytest.raises(ConfigError, match="needs a teacher"):
        soft_loss(Distillation(), None)


def head(*parts):
    """An image model whose last layers are these, on a 1×1 feature map of a channel for each class."""
    x = inputs = Input((2, 2, 2), name="input")
    x = layers.Conv2D(CLASSES, 2, name="conv")(x)
    for part in parts:
        x = part(x)
    return randomise(keras.Model(inputs, x))


def nested():
    inner = Input((4,))
    scores = keras.Model(inner, layers.Softmax()(layers.Dense(CLASSES)(inner)), name="scores")
    inputs = Input((4,))
    return keras.Model(inputs, layers.Dropout(0.5)(scores(inputs)))


PROBABILITIES = {
    "layer": lambda: head(layers.Flatten(), layers.Softmax()),
    "operator": lambda: head(layers.Flatten(), ops.softmax),
    "activation": lambda: head(layers.Activation("softmax")),
    "fused": lambda: head(layers.Flatten(), layers.Dense(CLASSES, activation="softmax")),
    "flatten": lambda: head(layers.Softmax(), layers.Flatten()),
    "reshape": lambda: head(layers.Softmax(), layers.Reshape((CLASSES,))),
    "linear": lambda: head(layers.Softmax(), layers.Activation("linear")),
    "identity": lambda: head(layers.Softmax(), layers.Identity()),
    "dropout": lambda: head(layers.Softmax(), layers.Dropout(0.5)),
    "relu": lambda: head(layers.Softmax(), layers.ReLU(6.0)),
    "several": lambda: head(layers.Softmax(), layers.Reshape((1, CLASSES)), layers.Dropout(0.5), layers.Flatten()),
    "one step": lambda: head(layers.Softmax(), lambda x: x[:, 0, 0]),
    "moved axis": lambda: head(layers.Permute((3, 1, 2)), layers.Softmax(axis=1), layers.Permute((2, 3, 1))),
    "all axes": lambda: head(layers.Softmax(axis=(1, 2, 3)), layers.Flatten()),
    "nested": nested,
}


@pytest.mark.parametrize("form", [lambda model: model, canonical], ids=["given", "canonical"])
@pytest.mark.parametrize("kind", PROBABILITIES)
def test_probabilities_are_known_wherever_layers_move_them(kind, form):
    teacher = form(PROBABILITIES[kind]())
    x = np.random.default_rng(0).normal(size=(5, *teacher.inputs[0].shape[1:])).astype(np.float32)
    taught = np.log(np.asarray(teacher(x), np.float64))
    ours = np.random.default_rng(1).normal(size=taught.shape)
    loss = soft_loss(Distillation(temperature=2.0, weight=1.0), teacher)
    found = loss(x, ops.convert_to_tensor(softmax(ours).astype(np.float32)), 0.0, 0.0)
    assert float(found) == pytest.approx(4 * np.mean(divergence(taught, ours, 2.0)), rel=1e-4)


def attended(x):
    weights = layers.Softmax()(layers.Dense(4)(x))
    return layers.Flatten()(ops.matmul(weights, ops.transpose(layers.Conv2D(4, 1)(x), (0, 1, 3, 2))))


LOGITS = {
    "linear": lambda: head(layers.Flatten()),
    "log of a softmax": lambda: head(layers.Flatten(), layers.Activation("log_softmax")),
    "pooled": lambda: head(layers.ReLU(), layers.GlobalAveragePooling2D()),
    "normalized": lambda: head(layers.Softmax(), layers.BatchNormalization()),
    "attention": lambda: head(attended),
    "gate": lambda: head(lambda x: layers.Multiply()([x, layers.Activation("sigmoid")(x)])),
}


@pytest.mark.parametrize("kind", LOGITS)
def test_what_a_layer_with_weights_computes_are_logits(kind):
    graph = graph_of(LOGITS[kind]())
    assert not gives_probabilities(graph, graph.output_tensors[0])


@keras.saving.register_keras_serializable("test_distillation")
def own(x):
    return ops.softmax(x)


NEITHER = {
    "scaled": (lambda: head(layers.Softmax(), layers.Rescaling(2.0)), "changes its probabilities"),
    "mirrored": (lambda: head(layers.Softmax(), lambda x: 1.0 - x), "changes its probabilities"),
    "parted": (lambda: head(layers.Softmax(), lambda x: x[..., :2]), "changes its probabilities"),
    "other axis": (
        lambda: head(layers.Permute((3, 1, 2)), layers.Softmax(axis=1), layers.Reshape((1, CLASSES)),
                     layers.ZeroPadding1D(1)),
        "changes its probabilities",
    ),
    "other rows": (lambda: head(layers.UpSampling2D(2), layers.Softmax(axis=1)), "changes its probabilities"),
    "mean": (
        lambda: head(lambda x: layers.Average()([layers.Softmax()(x), layers.Softmax()(2.0 * x)])),
        "changes its probabilities",
    ),
    "sigmoid": (lambda: head(layers.Activation("sigmoid"), layers.Flatten()), r"\(Activation\) applies sigmoid"),
    "own": (lambda: head(layers.Activation(own)), "a function of your own"),
}  # fmt: skip


@pytest.mark.parametrize("kind", NEITHER)
def test_scores_that_are_neither_are_refused_by_what_makes_them(kind):
    build, message = NEITHER[kind]
    with pytest.raises(ConfigError, match=f"logits or class probabilities: .*{message}; end the model"):
        soft_loss(Distillation(), build())


STEPS = 5


def tagger(mask=True):
    words = Input((STEPS,), dtype="int32", name="words")
    x = layers.Embedding(9, 6, mask_zero=mask, name="embedding")(words)
    return randomise(keras.Model(words, layers.Dense(CLASSES, name="tags")(x)))


def fitted(model, data, loss, distillation, **recipe):
    """Loss of the first batch, before anything was learned from it."""
    teacher = tagger() if len(model.outputs[0].shape) == 3 else dense()
    session = Session(model, "sgd", loss, "accuracy", distillation=distillation, teacher=teacher)
    plan = Training(epochs=1, batch_size=64, learning_rate=1e-9, optimizer="sgd", distillation=distillation, **recipe)
    return session.fit(data, plan, 0).epochs[0]["loss"]


@pytest.mark.parametrize("mask", [True, False])
def test_padded_steps_count_neither_in_the_hard_loss_nor_in_the_soft_one(mask):
    rng = np.random.default_rng(3)
    real = np.arange(STEPS) < rng.integers(1, STEPS, (20, 1))
    x = np.where(real, rng.integers(1, 9, real.shape), 0).astype("int32")
    split = Split(x, rng.integers(0, CLASSES, x.shape))
    student = tagger(mask)
    student.set_weights([w * 0.5 for w in student.get_weights()])
    each = divergence(*(np.asarray(m(x), np.float64) for m in (tagger(mask), student)), 2.0)
    expected = 4 * (each[real].mean() if mask else each.mean())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    found = fitted(student, Data(split, split, split), loss, Distillation(2.0, 1.0))
    assert found == pytest.approx(expected, rel=1e-4)


def test_class_weights_count_in_the_soft_loss():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(30, 4)).astype(np.float32)
    y = rng.integers(0, CLASSES, 30)
    split = Split(x, y)
    student = dense()
    student.set_weights([w * 0.5 for w in student.get_weights()])
    each = divergence(*(np.asarray(m(x), np.float64) for m in (dense(), student)), 2.0)
    weights = np.array([1.0, 4.0, 0.5])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    found = fitted(
        student, Data(split, split, split), loss, Distillation(2.0, 1.0), class_weights=dict(enumerate(weights))
    )
    assert found == pytest.approx(4 * np.mean(weights[y] * each), rel=1e-4)


def test_outputs_in_a_mapping_are_taught_each_by_its_own():
    i = Input((4,), name="i")
    outputs = {name: layers.Dense(CLASSES, end, name=name)(i) for name, end in (("a", "softmax"), ("b", None))}
    teacher = randomise(keras.Model({"i": i}, outputs))
    x = np.random.default_rng(5).normal(size=(8, 4)).astype(np.float32)
    taught = {name: np.asarray(value, np.float64) for name, value in teacher({"i": x}).items()}
    student = randomise(keras.models.clone_model(teacher), seed=1)
    ours = {name: np.asarray(value, np.float64) for name, value in student({"i": x}).items()}
    expected = np.mean(divergence(np.log(taught["a"]), np.log(ours["a"]), 1.0))
    expected += np.mean(divergence(taught["b"], ours["b"], 1.0))
    split = Split({"i": x}, {name: np.zeros((8, CLASSES), np.float32) for name in "ab"})
    session = Session(
        student, "sgd", {"a": "mse", "b": "mse"}, "a/accuracy", ends=Ends(("i",), ("a", "b")),
        distillation=Distillation(1.0, 1.0), teacher=teacher,
    )  # fmt: skip
    plan = Training(epochs=1, batch_size=8, learning_rate=1e-9, optimizer="sgd", distillation=Distillation(1.0, 1.0))
    found = session.fit(Data(split, split, split), plan, 0).epochs[0]["loss"]
    assert found == pytest.approx(expected, rel=1e-4)
