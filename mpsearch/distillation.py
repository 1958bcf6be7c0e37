"""Distillation: the loss that trains a model on the class scores of another one, its teacher."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from mpsearch.errors import ConfigError
from mpsearch.network.adapters import Output, activation_name, adapter_of, class_name, is_own_function, is_registered
from mpsearch.network.graph import Graph, Node, Tensor, functional, graph_of
from mpsearch.task import Distillation

SoftLoss = Callable[..., Any]
"""(inputs, outputs, loss, regularization, sample weights) to the whole loss."""

_NEITHER = frozenset({"sigmoid", "hard_sigmoid", "sparse_sigmoid", "sparsemax", "exponential", "exp"})
"""Functions whose values are neither logits nor the probabilities of a softmax."""


def soft_loss(distillation: Distillation, teacher: keras.Model | None) -> SoftLoss:
    """The loss of distillation; masks and sample weights count in it as they do in Keras's losses.

    Args:
        distillation: temperature and weight.
        teacher: a model of the same inputs and outputs; it is not trained.

    Raises:
        ConfigError: there is no teacher, or an output isn't one of class scores.
    """
    if teacher is None:
        raise ConfigError("distillation needs a teacher: it trains quantized networks on their float model")
    graph = graph_of(teacher)
    divergences = []
    for tensor in graph.output_tensors:
        shape = graph.by_name[tensor.node].shapes[tensor.output]
        if not shape or shape[-1] < 2:
            raise ConfigError(
                f"distillation needs outputs with scores of at least 2 classes, but one has shape {(None, *shape)}"
            )
        divergences.append(_Divergence(distillation.temperature, gives_probabilities(graph, tensor)))
    temperature, weight = distillation.temperature, distillation.weight
    flat = keras.Model(functional(teacher).inputs, functional(teacher).outputs)  # lists, whatever the teacher takes

    def loss(x: Any, y_pred: Any, hard: Any, regularization: Any, sample_weight: Any = None) -> Any:
        taught, ours = (keras.tree.flatten(given) for given in (flat(keras.tree.flatten(x), training=False), y_pred))
        weights = keras.tree.flatten(sample_weight)
        weights = weights * len(ours) if len(weights) == 1 else weights
        soft = sum(
            divergence(keras.ops.stop_gradient(theirs), own, of_samples)
            for divergence, theirs, own, of_samples in zip(divergences, taught, ours, weights, strict=True)
        )
        return regularization + (1 - weight) * (hard - regularization) + weight * temperature**2 * soft

    return loss


class _Divergence(keras.losses.Loss):
    """KL(p ‖ q) over the last axis, of class probabilities at a temperature.

    Args:
        temperature: what logits are divided by.
        probabilities: whether the outputs are probabilities, not logits.
    """

    def __init__(self, temperature: float, probabilities: bool) -> None:
        super().__init__(name="divergence")
        self._temperature, self._probabilities = temperature, probabilities

    def call(self, y_true: Any, y_pred: Any) -> Any:
        p, q = self._log(y_true), self._log(y_pred)
        return keras.ops.sum(keras.ops.exp(p) * (p - q), axis=-1)

    def _log(self, outputs: Any) -> Any:
        """Logarithms of the class probabilities at the temperature; log p is a logit but for a constant."""
        if self._probabilities:
            outputs = keras.ops.log(keras.ops.maximum(outputs, keras.backend.epsilon()))
        return keras.ops.log_softmax(outputs / self._temperature, axis=-1)


def gives_probabilities(graph: Graph, tensor: Tensor) -> bool:
    """Whether an output gives class probabilities on its last axis, and not logits, as the graph shows.

    Logits are what a layer with weights computes, whatever function but a softmax follows; probabilities are those of
    a softmax, wherever layers behind it move them as long as the last axis holds all classes of a softmax.

    Raises:
        ConfigError: they are neither.
    """
    origin = _origin(graph, tensor)
    if origin.cause:
        raise ConfigError(
            f"distillation can't tell whether the output `{tensor.node}` gives logits or class probabilities: "
            f"{origin.cause}; end the model with a layer without an activation function, or with a softmax over the "
            "last axis, behind which values are at most moved"
        )
    return origin.softmax is not None


@dataclass(frozen=True)
class _Origin:
    """Where scores come from: logits where neither attribute is set.

    Attributes:
        softmax: whose probabilities they are.
        cause: why they are neither logits nor probabilities.
    """

    softmax: Node | None = None
    cause: str = ""


def _origin(graph: Graph, tensor: Tensor, behind: Sequence[Tensor] = ()) -> _Origin:
    """Where a tensor comes from, from which those of `behind` are computed, the last one first."""
    node = graph.by_name[tensor.node]
    layer, what = node.layer, f"`{node.name}` ({class_name(node.layer)})"
    if node.is_input:
        return _Origin()
    if is_own_function(layer):
        return _Origin(cause=f"{what} applies a function of your own")
    function, adapter = activation_name(layer), adapter_of(layer)
    if function == "softmax":
        whole = _keeps_classes(graph, node, behind)
        return _Origin(node) if whole else _Origin(cause=f"what follows {what} changes its probabilities")
    if function in _NEITHER:
        return _Origin(cause=f"{what} applies {function}")
    if is_registered(layer) and (adapter.nonnegative or adapter.output in (Output.FUNCTION, Output.FLOAT)):
        return _Origin(cause=f"{what} is a layer of your own that may give either")
    if adapter.weights or adapter.float_weights:
        return _Origin()
    found = []
    for read in node.inputs:
        found.append(_origin(graph, read, (tensor, *behind)))
        if found[-1] == _Origin():  # arithmetic with logits gives logits
            return _Origin()
    if len(found) == 1:
        return found[0]
    return _Origin(cause=next((o.cause for o in found if o.cause), f"{what} computes with probabilities"))


def _keeps_classes(graph: Graph, softmax: Node, behind: Sequence[Tensor]) -> bool:
    """Whether tensors computed one from the other only move the probabilities of a softmax.

    It is tried: numbers that are all different are sent through, and must come out as they were, with the classes of
    one softmax in each row of the last axis.
    """
    shape = (1, *softmax.shape)
    axis = getattr(softmax.layer, "axis", -1) if class_name(softmax.layer) == "Softmax" else -1
    if axis is None:
        return False
    axes = {a % len(shape) for a in (axis if isinstance(axis, (tuple, list)) else (axis,))}
    rows = [1 if i in axes else size for i, size in enumerate(shape)]
    row_of = np.broadcast_to(np.arange(np.prod(rows)).reshape(rows), shape).ravel()
    count = len(row_of)
    sent = np.square(np.arange(1, count + 1) / (count + 1)).astype(np.float32)  # between 0 and 1, as probabilities are
    values: dict[Tensor, Any] = {softmax.tensors[0]: keras.ops.convert_to_tensor(sent.reshape(shape))}
    last = softmax.tensors[0]
    for last in behind:
        node = graph.by_name[last.node]
        if any(tensor not in values for tensor in node.inputs):
            return False
        args, kwargs = keras.tree.map_structure(
            lambda leaf: values[leaf] if isinstance(leaf, Tensor) else leaf, node.arguments
        )
        values[last] = keras.tree.flatten(node.layer(*args, **kwargs))[last.output]
    came = np.asarray(keras.ops.convert_to_numpy(values[last]))
    index = np.minimum(np.searchsorted(sent, came.ravel()), count - 1)
    if came.shape[-1] != np.prod([shape[i] for i in axes]) or not np.array_equal(sent[index], came.ravel()):
        return False
    index = np.sort(index.reshape(-1, came.shape[-1]), axis=1)
    return bool((row_of[index] == row_of[index[:, :1]]).all() and (np.diff(index, axis=1) > 0).all())
