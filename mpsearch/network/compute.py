"""Layers that compute with quantized weights."""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import keras

from mpsearch.config import QuantizerSpec
from mpsearch.network.alignment import Alignment
from mpsearch.network.canonical import copied
from mpsearch.quantizers.featuremap import QuantizedBitsFeatureMap
from mpsearch.quantizers.weights import WeightQuantizer


@keras.saving.register_keras_serializable("mpsearch")
class QuantizedCompute(keras.layers.Layer):
    """A Keras layer that computes with quantized weights; the float weights are trained.

    Args:
        inner: the float layer, built.
        quantizers: weight attribute (`kernel`, `cell.bias`) to its quantizer.
        alignment: where the bias may be aligned.
    """

    def __init__(
        self,
        inner: keras.layers.Layer,
        quantizers: Mapping[str, WeightQuantizer],
        alignment: Alignment | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=inner.name, **kwargs)
        self.inner = inner
        self.weight_quantizers = {attribute.replace(".", "__"): q for attribute, q in quantizers.items()}
        self.supports_masking = inner.supports_masking
        self._alignment = alignment
        # the scales of an aligned bias follow from the kernel's
        self._attributes = sorted(quantizers, key=lambda name: alignment is not None and name == alignment.bias)
        self._is_scale_and_shift = isinstance(inner, keras.layers.BatchNormalization)  # see `canonical`
        for attribute, quantizer in quantizers.items():
            quantizer.build(tuple(attrgetter(attribute)(inner).shape))
        self.built = True

    def call(self, first: Any, /, *args: Any, training: bool | None = None, **kwargs: Any) -> Any:
        if self._is_scale_and_shift:
            kwargs["training"] = False
        elif self.inner._call_has_training_arg:
            kwargs["training"] = training
        # the layer's own code runs, reading quantized values in place of its variables
        # JAX's training step holds the values of all variables in a scope, which this one would hide
        values = {id(v): (v, keras.ops.convert_to_tensor(v)) for v in self.variables}
        weights = {attribute: attrgetter(attribute)(self.inner) for attribute in self._attributes}
        given = {attribute: values[id(weight)][1] for attribute, weight in weights.items()}
        scales: dict[str, Any] = {}
        for attribute, weight in weights.items():
            least = self._least_scales(attribute, given, scales)
            quantized, scales[attribute] = self._quantizer(attribute).quantized(given[attribute], least)
            values[id(weight)] = (weight, quantized)
        with keras.StatelessScope(state_mapping=list(values.values())) as scope:
            result = self.inner.call(first, *args, **kwargs)
        for variable, value in values.values():  # the state of a dropout's random numbers, say
            updated = scope.get_current_value(variable)
            if not variable.trainable and updated is not value:
                variable.assign(updated)
        return result

    def codes(self, attribute: str, spec: QuantizerSpec) -> tuple[Any, Any]:
        """Codes and scales of a weight, as of `WeightQuantizer.codes`, with the present values of all.

        Args:
            attribute: of the weight.
            spec: that it has at present.
        """
        given = {name: keras.ops.convert_to_tensor(attrgetter(name)(self.inner)) for name in self._attributes}
        scales: dict[str, Any] = {}
        for name in self._attributes[: self._attributes.index(attribute)]:
            least = self._least_scales(name, given, scales)
            scales[name] = self._quantizer(name).quantized(given[name], least)[1]
        return self._quantizer(attribute).codes(given[attribute], spec, self._least_scales(attribute, given, scales))

    def _quantizer(self, attribute: str) -> WeightQuantizer:
        return self.weight_quantizers[attribute.replace(".", "__")]

    def _least_scales(self, attribute: str, given: Mapping[str, Any], scales: Mapping[str, Any]) -> Any:
        """Of a weight, as of `WeightQuantizer.quantized`, for the values of all and the scales of those before it."""
        alignment = self._alignment
        if alignment is not None and attribute == alignment.kernel:
            spec = keras.ops.convert_to_tensor(self._quantizer(alignment.bias).spec)
            return alignment.least_scales(given[alignment.bias], spec)
        if alignment is not None and attribute == alignment.bias:
            return alignment.unit(scales[alignment.kernel], given[attribute].shape[0])
        return None

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner.compute_output_spec(*args, **kwargs)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        return self.inner.compute_mask(inputs, previous_mask)


@keras.saving.register_keras_serializable("mpsearch")
class QuantizedRecurrent(QuantizedCompute):
    """An LSTM, GRU or SimpleRNN with quantized weights, whose states are quantized before each step reads them.

    The states' range is the calibrated one: it does not move while training.

    Args:
        inner: the float layer, built; its cell is changed.
        quantizers: as in `QuantizedCompute`.
        state: quantizes the states; None leaves them in float.
    """

    def __init__(
        self,
        inner: Any,
        quantizers: Mapping[str, WeightQuantizer],
        state: QuantizedBitsFeatureMap | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(inner, quantizers, **kwargs)
        self.state_quantizer = state
        if hasattr(inner, "use_cudnn"):
            inner.use_cudnn = False  # the fused kernel runs past the cell
        if state is not None:
            state.build((None, inner.units))
            _before_each_step(inner.cell, lambda states: [state(value, training=False) for value in states])

    def call(  # type: ignore[override]  # Keras hands a mask to a layer that names it
        self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False
    ) -> Any:
        given = {} if initial_state is None else {"initial_state": initial_state}
        return super().call(sequences, mask=mask, training=training, **given)


def states_of(layer: Any, sequences: Any, *args: Any, **kwargs: Any) -> list[Any]:
    """All states that a recurrent float layer's steps read for a batch, each of shape (batch, units).

    Args:
        layer: LSTM, GRU or SimpleRNN, built.
        sequences: (batch, steps, features).
        *args, **kwargs: further arguments of the layer's call, such as initial states.
    """
    found: list[Any] = []
    inner = copied(layer, layer.name, unroll=True, return_sequences=True, return_state=True)
    if hasattr(inner, "use_cudnn"):
        inner.use_cudnn = False
    inner.build(sequences.shape)
    inner.set_weights(layer.get_weights())

    def keep(states: Sequence[Any]) -> Sequence[Any]:
        found.extend(states)
        return states

    _before_each_step(inner.cell, keep)
    inner(sequences, *args, **{**kwargs, "training": False})
    return found


def _before_each_step(cell: Any, change: Any) -> None:
    """Let a cell read changed states."""
    original = cell.call

    def call(inputs: Any, states: Any, **kwargs: Any) -> Any:
        return original(inputs, change(list(states)), **kwargs)

    cell.call = call
