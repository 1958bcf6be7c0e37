"""What the engine knows of each layer class: which weights are quantized, and what becomes of its output.

Keras's own layers and operators are listed here; `register_layer` adds a user's.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import prod
from operator import attrgetter
from typing import Any

from mpsearch.config import Role
from mpsearch.errors import ConfigError, ModelError

Shape = tuple[int, ...]


class Output(StrEnum):
    """What becomes of a layer's output.

    QUANTIZED: new values: an activation site, behind the activation function that follows.
    SAME: values of the input, moved or selected: they keep its codes, no site.
    FUNCTION: element by element, such as an activation function: the site of the layer before moves behind it.
    FLOAT: stays float, as a softmax.
    """

    QUANTIZED = "quantized"
    SAME = "same"
    FUNCTION = "function"
    FLOAT = "float"


@dataclass(frozen=True)
class Weight:
    """A quantized weight of a layer class.

    Attributes:
        name: in the site: `conv_0/kernel`.
        role: the menu that it takes: "kernel" or "bias".
        scale_axes: axes of the tensor that have a scale for each index, as in (-1,) for one scale per output
            channel; () for one scale for the tensor.
        attribute: of the layer, dots allowed; default: `name`.
    """

    name: str
    role: Role
    scale_axes: tuple[int, ...] = ()
    attribute: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "role", Role(self.role))
        if self.role is Role.ACTIVATION:
            raise ConfigError(f'the weight `{self.name}` must have the role "kernel" or "bias", but got "activation"')
        object.__setattr__(self, "attribute", self.attribute or self.name)

    def of(self, layer: Any) -> Any:
        """The layer's variable, None where it has none.

        Raises:
            ModelError: the layer has no such attribute.
        """
        try:
            return attrgetter(self.attribute)(layer)
        except AttributeError as error:
            raise ModelError(
                f"layer `{layer.name}` ({class_name(layer)}) has no attribute `{self.attribute}`, which "
                f'Weight("{self.name}", "{self.role}", attribute="{self.attribute}") was registered for: the attribute '
                'is where the layer keeps the variable, dots allowed, as in attribute="cell.kernel"'
            ) from error

    def scales(self, shape: Shape) -> int:
        """How many scales a tensor of this shape has."""
        shared = self.shared_axes(len(shape))
        return prod(size for axis, size in enumerate(shape) if axis not in shared)

    def shared_axes(self, ndim: int) -> tuple[int, ...]:
        """Axes of a tensor of `ndim` dimensions that share a scale."""
        own = {axis % ndim for axis in self.scale_axes}
        return tuple(axis for axis in range(ndim) if axis not in own)


Macs = Callable[[Shape, Shape, Shape], int]
"""(weight's shape, input's, output's; without batch) to multiply-accumulates of one sample."""


def _per_output(weight: Shape, inputs: Shape, output: Shape) -> int:
    return prod(weight) * prod(output[:-1])


def _per_input(weight: Shape, inputs: Shape, output: Shape) -> int:
    return prod(weight) * prod(inputs[:-1])


def _none(weight: Shape, inputs: Shape, output: Shape) -> int:
    return 0


@dataclass(frozen=True)
class Adapter:
    """A layer class.

    Attributes:
        weights: its quantized weights.
        output: what becomes of its output.
        merges: whether it joins several tensors, whose sites `requantize_merge_inputs` asks for.
        channels: how a factor per output channel is laid onto the kernel, so that a BatchNorm behind it can be
            folded: (kernel shape, factors) to an array that broadcasts; None where it can't.
        macs: of the kernels.
        recurrent: whether it has a state, quantized at each step.
        nonnegative: whether its output can't be below zero; None: see `can_be_negative`.
        float_weights: weights that stay float, in words, for users to know.
    """

    weights: tuple[Weight, ...] = ()
    output: Output = Output.QUANTIZED
    merges: bool = False
    channels: Callable[[Shape, Any], Any] | None = None
    macs: Macs = _none
    recurrent: bool = False
    nonnegative: bool | None = None
    float_weights: str = ""

    @property
    def kernels(self) -> tuple[Weight, ...]:
        """Its weights with the role of kernels."""
        return tuple(weight for weight in self.weights if weight.role is Role.KERNEL)


_KERNEL = Weight("kernel", Role.KERNEL, (-1,))
_BIAS = Weight("bias", Role.BIAS)


def _each(names: str, adapter: Adapter) -> dict[str, Adapter]:
    return dict.fromkeys(names.split(), adapter)


_SAME = Adapter(output=Output.SAME)
_FUNCTION = Adapter(output=Output.FUNCTION)
_MERGE = Adapter(merges=True)

_RECURRENT = Adapter(
    (
        Weight("kernel", Role.KERNEL, (-1,), "cell.kernel"),
        Weight("recurrent_kernel", Role.KERNEL, (-1,), "cell.recurrent_kernel"),
        Weight("bias", Role.BIAS, (), "cell.bias"),
    ),
    macs=_per_input,
    recurrent=True,
)

LAYERS: Mapping[str, Adapter] = {
    **_each(
        "Dense Conv1D Conv2D Conv3D",
        Adapter((_KERNEL, _BIAS), channels=lambda shape, factor: factor, macs=_per_output),
    ),
    **_each(
        "DepthwiseConv1D DepthwiseConv2D",
        Adapter(
            (Weight("kernel", Role.KERNEL, (-2,)), _BIAS),
            channels=lambda shape, factor: factor.reshape(shape[-2:]),
            macs=_per_output,
        ),
    ),
    **_each(
        "Conv1DTranspose Conv2DTranspose Conv3DTranspose",
        Adapter(
            (Weight("kernel", Role.KERNEL, (-2,)), _BIAS),
            channels=lambda shape, factor: factor.reshape(-1, 1),
            macs=_per_input,
        ),
    ),
    **_each("LSTM GRU SimpleRNN", _RECURRENT),
    "Embedding": Adapter((Weight("embeddings", Role.KERNEL),)),
    # one that can't be folded: y = gamma · x + beta, see `canonical`
    "BatchNormalization": Adapter(
        (Weight("gamma", Role.KERNEL), Weight("beta", Role.BIAS)), macs=lambda w, i, o: prod(o)
    ),
    "LayerScale": Adapter((Weight("gamma", Role.KERNEL),), macs=lambda w, i, o: prod(o)),  # of ConvNeXt
    **_each("LayerNormalization GroupNormalization RMSNormalization", Adapter(float_weights="gamma and beta")),
    **_each("Add Subtract Multiply Average Maximum Minimum Concatenate Dot CustomScaleLayer", _MERGE),
    **_each(
        "AveragePooling1D AveragePooling2D AveragePooling3D GlobalAveragePooling1D GlobalAveragePooling2D "
        "GlobalAveragePooling3D",
        Adapter(),
    ),
    **_each("ReLU Activation LeakyReLU ELU Identity Rescaling Normalization", _FUNCTION),
    "PReLU": Adapter(output=Output.FUNCTION, float_weights="alpha"),
    "Softmax": Adapter(output=Output.FLOAT, nonnegative=True),
    **_each(
        "InputLayer MaxPooling1D MaxPooling2D MaxPooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D "
        "ZeroPadding1D ZeroPadding2D ZeroPadding3D Cropping1D Cropping2D Cropping3D UpSampling1D UpSampling2D "
        "UpSampling3D Flatten Reshape Permute RepeatVector Dropout SpatialDropout1D SpatialDropout2D "
        "SpatialDropout3D GaussianNoise GaussianDropout AlphaDropout ActivityRegularization Masking StochasticDepth",
        _SAME,
    ),
}
"""Keras's layers, and those that keras.applications defines, by class name."""

SPLIT = frozenset({"SeparableConv1D", "SeparableConv2D"})
"""Layers that become two in the canonical model."""

INPUT_UNITS = frozenset({"Rescaling", "Normalization"})
"""Layers that only change the unit of a model's input: the input's site moves behind them, as behind arithmetic
with constants."""

_WITH_CONSTANT = frozenset({"Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Maximum", "Minimum", "Power"})
OPERATORS: Mapping[str, Adapter] = {
    **_each("Add Subtract Multiply Divide TrueDivide Maximum Minimum Power Matmul Concatenate Stack", _MERGE),
    **_each("Mean AveragePool Sum", Adapter()),
    **_each(
        "Negative Absolute Square Sqrt Exp Relu Relu6 LeakyRelu Elu Gelu Silu Selu Sigmoid HardSigmoid HardSilu "
        "Tanh HardTanh Softplus Softsign Clip",
        _FUNCTION,
    ),
    "Softmax": Adapter(output=Output.FLOAT, nonnegative=True),
    **_each(
        "Reshape Transpose Squeeze ExpandDims GetItem Flip Pad Split Repeat Tile Swapaxes Moveaxis Max Min MaxPool "
        "BroadcastTo Ravel Roll Take "
        # masks are truth values, no feature maps
        "NotEqual Equal Greater GreaterEqual Less LessEqual LogicalAnd LogicalOr LogicalNot Any All",
        _SAME,
    ),
}
"""Operators (`keras.ops`, and arithmetic between tensors), by class name."""

INSTEAD: Mapping[str, str] = {
    "Bidirectional": "build two recurrent layers, one with go_backwards=True (a sequence that it returns is turned "
    "round by keras.ops.flip(…, axis=1)), and join them with a Concatenate",
    "TimeDistributed": "apply the layer itself where it works on the last axis alone, such as a Dense, or else one "
    "layer to each step, x[:, i], and join the results with keras.ops.stack(…, axis=1)",
    "SpectralNormalization": "build the model with the wrapped layer itself, and give it the normalized weights",
    **{
        kind: "build it of Dense layers, keras.ops.reshape, keras.ops.transpose, keras.ops.matmul and a Softmax, which "
        "are quantized each; or quantize its output alone, with all inside it float and in no bit cost: "
        f"mpsearch.register_layer(keras.layers.{public})"
        for kind, public in (
            ("MultiHeadAttention", "MultiHeadAttention"),
            ("GroupedQueryAttention", "GroupQueryAttention"),
            ("Attention", "Attention"),
            ("AdditiveAttention", "AdditiveAttention"),
        )
    },
}
"""Keras's wrappers and attentions, which have no quantized form, to what does their work."""

_registered: dict[type, Adapter] = {}

_NONNEGATIVE = frozenset(
    {"relu", "relu6", "sigmoid", "hard_sigmoid", "sparse_sigmoid", "softmax", "sparsemax", "softplus", "sparse_plus"}
    | {"squareplus", "exponential", "exp", "absolute", "square", "sqrt"}
)
"""Functions that are never below zero."""

_KEEPS_NONNEGATIVE = frozenset(
    {"linear", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "swish", "hard_silu", "hard_swish", "mish"}
    | {"tanh", "hard_tanh", "tanh_shrink", "hard_shrink", "soft_shrink", "softsign"}
)
"""Functions that are below zero at most where their input is."""


def register_layer(
    layer_class: type,
    weights: Iterable[Weight] = (),
    output: str = "quantized",
    *,
    merges: bool = False,
    nonnegative: bool | None = None,
    macs: Macs | None = None,
) -> type:
    """Tell how a layer class of your own is quantized; call it once, before a model with it is searched.

    Args:
        layer_class: subclass of keras.layers.Layer with its own `get_config`. While it computes, its weights
            read as quantized values.
        weights: those that are quantized; others stay float.
        output: "quantized" (new values, the default), "same" (values of the input moved or selected), "function"
            (an activation function), "float" (never quantized).
        merges: whether it joins several tensors.
        nonnegative: whether its output can't be below zero; default: it can, except that of output="same" is as
            its inputs.
        macs: (weight's shape, input's, output's; without batch) to the multiply-accumulates of one sample;
            default: the kernel's size at each position of the output.

    Returns:
        The class, so that it can be used as a decorator's body.

    Raises:
        ConfigError: an argument of the wrong kind.
    """
    import keras

    if not (isinstance(layer_class, type) and issubclass(layer_class, keras.layers.Layer)):
        raise ConfigError(f"register_layer needs a subclass of keras.layers.Layer, but got {layer_class!r}")
    given = tuple(weights)
    if not all(isinstance(weight, Weight) for weight in given):
        raise ConfigError(f"`weights` needs Weight(name, role, scale_axes) entries, but got {given!r}")
    if output not in set(Output):
        raise ConfigError(f"`output` must be one of {[o.value for o in Output]}, but got {output!r}")
    _registered[layer_class] = Adapter(given, Output(output), merges, macs=macs or _per_output, nonnegative=nonnegative)
    return layer_class


def adapter_of(layer: Any, name: str = "") -> Adapter:
    """The adapter of a layer or operator.

    Raises:
        ModelError: there is none; the message shows how to register one, or what does the same.
    """
    import keras

    kind = type(layer)
    if kind in _registered:
        return _registered[kind]
    ours = kind.__module__.startswith("keras.")
    if not isinstance(layer, keras.layers.Layer):
        if ours and class_name(layer) in OPERATORS:
            known = Adapter() if _brings_values(layer) else OPERATORS[class_name(layer)]
            alone = class_name(layer) in _WITH_CONSTANT and _tensors_read(layer) == 1
            return _FUNCTION if alone else known
        raise ModelError(
            f"`{name or layer.name}` is the operator {class_name(layer)}, which has no quantized form; known are "
            f"{', '.join(sorted(OPERATORS))}: use these, or a layer of your own with `mpsearch.register_layer`"
        )
    if ours and class_name(layer) in LAYERS:
        if getattr(layer, "stateful", False):
            raise ModelError(
                f"layer `{name or layer.name}` has stateful=True, but its state isn't kept from batch to batch while a "
                "network is searched, trained or exported: build it with stateful=False"
            )
        return Adapter() if _interpolation(layer) != "nearest" else LAYERS[class_name(layer)]
    if ours and class_name(layer) in INSTEAD:
        raise ModelError(
            f"layer `{name or layer.name}` is a {class_name(layer)}, which has no quantized form; "
            f"{INSTEAD[class_name(layer)]}"
        )
    raise ModelError(
        f"layer `{name or layer.name}` is a {class_name(layer)}, which has no quantized form; known are "
        f"{', '.join(sorted((set(LAYERS) | SPLIT) - {'InputLayer'}))}: replace it by these, or tell how it is "
        f"quantized: mpsearch.register_layer({class_name(layer)}, weights=[{', '.join(_example_weights(layer))}])"
    )


def _example_weights(layer: Any) -> list[str]:
    """How the weights of a layer may be registered: kernels with a scale per last axis, biases with one."""
    found = []
    for i, (attribute, weight) in enumerate(_variables(layer)):
        name = attribute.replace(".", "_").strip("_")
        role = '"bias"' if i and len(weight.shape) < 2 else '"kernel", scale_axes=(-1,)'
        place = "" if name == attribute else f', attribute="{attribute}"'
        found.append(f'Weight("{name}", {role}{place})')
    return found


def _variables(layer: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """The weights of a layer with their attributes, dots for those of layers inside it."""
    import keras

    found: list[tuple[str, Any]] = []
    for name, value in vars(layer).items():
        if isinstance(value, keras.layers.Layer):
            found.extend(_variables(value, f"{prefix}{name}."))
        elif isinstance(value, keras.Variable):
            public = name.strip("_")  # a property of Keras's layers
            found.append((f"{prefix}{public if getattr(layer, public, None) is value else name}", value))
    return found


def is_registered(layer: Any) -> bool:
    """Whether `register_layer` told how a layer is quantized."""
    return type(layer) in _registered


def class_name(layer: Any) -> str:
    """The class of a layer as Keras names it."""
    return type(layer).__name__


def activation_name(layer: Any) -> str:
    """Name of a layer's or operator's function, as in keras.activations; `linear` for none, `relu` for ReLU layers."""
    import keras

    if class_name(layer) == "ReLU":
        return "relu"
    if class_name(layer) == "Softmax":
        return "softmax"
    if not isinstance(layer, keras.layers.Layer):
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", class_name(layer)).lower()
    function = getattr(layer, "activation", None)
    if function is None:
        return "linear"
    if getattr(function, "__name__", "") == "<lambda>":
        return "custom"
    name = keras.activations.serialize(function)
    return name if isinstance(name, str) else getattr(function, "__name__", "custom")


def is_function(layer: Any) -> bool:
    """Whether a layer is an activation function behind which the site of the layer before belongs."""
    return adapter_of(layer).output is Output.FUNCTION and activation_name(layer) != "softmax"


def is_clipping(layer: Any) -> bool:
    """Whether an activation function only turns values below zero into zero, so that codes stay codes."""
    if class_name(layer) == "ReLU":
        return not (layer.negative_slope or layer.threshold or layer.max_value is not None)
    if class_name(layer) in ("Identity", "Relu"):
        return True
    known = class_name(layer) == "Activation" and not is_own_function(layer)
    return known and activation_name(layer) in ("relu", "linear")


def splits_activation(layer: Any) -> bool:
    """Whether a layer computes with a kernel and applies an activation function that becomes a layer of its own."""
    return adapter_of(layer).channels is not None and hasattr(layer, "activation")


def can_be_negative(layer: Any, inputs: Sequence[bool]) -> bool:
    """Whether a layer's output can be below zero, given whether each of its inputs can."""
    adapter, name = adapter_of(layer), class_name(layer)
    if adapter.nonnegative is not None:
        return not adapter.nonnegative
    if is_registered(layer):
        return adapter.output is not Output.SAME or any(inputs)
    if adapter.output is Output.FUNCTION:
        function = activation_name(layer)
        if getattr(layer, "negative_slope", 0):
            return any(inputs) or getattr(layer, "threshold", 0) > 0
        if is_own_function(layer):
            return True
        if function in _NONNEGATIVE:
            return False
        if name in INPUT_UNITS or name in _WITH_CONSTANT or name == "Clip":
            return _constants_can_make_negative(layer, any(inputs))
        return any(inputs) or function not in _KEEPS_NONNEGATIVE
    if adapter.weights or adapter.float_weights or name in ("Subtract", "Dot", "Matmul", "CustomScaleLayer"):
        return True
    if name == "Pad":
        return any(inputs) or _smallest_constant(layer, 0.0) < 0
    if name in ("Max", "Min") and layer.initial is not None:
        below = layer.initial < 0
        return any(inputs) and below if name == "Max" else any(inputs) or below
    return any(inputs) or _interpolation(layer) not in ("nearest", "bilinear")


def is_own_function(layer: Any) -> bool:
    """Whether a layer's activation function is the user's own: not Keras's, nor taken for Keras's by its name."""
    import keras

    function = getattr(layer, "activation", None)
    if function is None or function.__module__.startswith("keras."):
        return False
    return activation_name(layer) == "custom" or not isinstance(keras.activations.serialize(function), str)


def _interpolation(layer: Any) -> str:
    """How a layer computes values between those of its input; bicubic and the lanczos go beyond them."""
    return getattr(layer, "interpolation", "nearest")


def _constants_can_make_negative(layer: Any, negative: bool) -> bool:
    import numpy as np

    name = class_name(layer)
    if name == "Rescaling":
        return negative or bool(np.min(layer.scale) < 0 or np.min(layer.offset) < 0)
    if name in ("Normalization", "Subtract", "Power"):
        return True
    if name == "Clip":
        return bool(np.min(layer.x_min) < 0 and (negative or np.min(layer.x_max) < 0))
    below = _smallest_constant(layer, -1.0) < 0
    return negative and below if name == "Maximum" else negative or below


def _brings_values(operator: Any) -> bool:
    """Whether an operator that moves or selects values puts others among them, which have no codes of the input."""
    import numpy as np

    if class_name(operator) in ("Max", "Min"):
        return operator.initial is not None
    if class_name(operator) != "Pad":
        return False
    return _tensors_read(operator) > 1 or any(np.any(constant != 0) for constant in _constants(operator))


def _constants(operator: Any) -> list[Any]:
    """An operator's arguments that are no symbolic tensors, as arrays, at its latest call."""
    import keras
    import numpy as np

    arguments = operator._inbound_nodes[-1].arguments
    return [
        np.asarray(leaf)
        for leaf in keras.tree.flatten((arguments.args, arguments.kwargs))
        if not isinstance(leaf, keras.KerasTensor) and leaf is not None
    ]


def _smallest_constant(operator: Any, default: float) -> float:
    """Smallest number among an operator's arguments that are no symbolic tensors, at its latest call."""
    return min((float(constant.min()) for constant in _constants(operator)), default=default)


def _tensors_read(operator: Any) -> int:
    """Number of symbolic tensors that an operator reads, at its latest call."""
    return len(operator._inbound_nodes[-1].input_tensors)


def check_precision(layer: Any, name: str) -> None:
    """Refuse mixed precision: quantization is simulated in float32.

    Raises:
        ModelError: the layer computes in another type.
    """
    policy = getattr(layer, "dtype_policy", None)
    if policy is not None and getattr(policy, "compute_dtype", "float32") not in ("float32", "int32", "int64", "bool"):
        raise ModelError(
            f"layer `{name}` computes in {policy.compute_dtype}: codes of up to 24 bits are exact in float32 alone, so "
            "that a half-precision policy would change what is measured; build the model with the policy float32"
        )
