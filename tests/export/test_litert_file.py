"""LiteRT files against the integer reference: each feature map is recomputed from the codes that the file gave it."""

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from mpsearch import models
from mpsearch.config import Config
from mpsearch.errors import ExportError, MissingPackageError
from mpsearch.export import litert_graph
from mpsearch.export.aligned_biases import with_aligned_biases
from mpsearch.export.building import program_of
from mpsearch.export.functions import Function
from mpsearch.export.integer import execute, outputs_of
from mpsearch.export.litert_file import write_litert
from mpsearch.export.litert_limits import nearest_config, obstacles
from mpsearch.export.litert_runtime import LitertRuntime
from mpsearch.export.program import Grid, Operation, Program, Weight
from mpsearch.menu import bits
from mpsearch.network.elastic import ElasticNetwork
from mpsearch.space import Space
from tests.conftest import randomise
from tests.export.models import with_biases

pytest.importorskip("ai_edge_litert", reason="ai-edge-litert isn't installed: pip install 'mpsearch[litert]'")

BIAS = bits(16, 31, alpha="auto_po2")


def searched(
    model: keras.Model, x: Any, kernel: Any = None, activation: Any = None, seed: int = 0, **options: Any
) -> tuple[ElasticNetwork, Config]:
    """A network with a config drawn from menus set, by default of 8 bits and float a last softmax."""
    space = Space(kernel=kernel or bits(8), bias=BIAS, activation=activation or bits(8), **options)
    softmax = model.layers[-1].name
    if getattr(model.layers[-1], "activation", None) is keras.activations.softmax and softmax == "softmax":
        space.skip(softmax)
    network = ElasticNetwork(model, space, x)
    config = network.space.sample(random.Random(seed))
    network.set_config(config)
    return network, config


def written(network: ElasticNetwork, config: Config, folder: Path) -> tuple[Program, LitertRuntime]:
    """The program of the nearest config that a file can hold, with that file."""
    config = nearest_config(config, program_of(network, config))
    network.set_config(config)
    program = program_of(network, config)
    assert obstacles(program) == []
    biases = write_litert(program, folder / "model.tflite", {}).biases
    return with_biases(program, biases), LitertRuntime(folder / "model.tflite")


def codes_of(program: Program, runtime: LitertRuntime, x: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Codes of the file's quantized tensors; whole numbers on their grids, or the test fails."""
    found = {}
    for tensor, values in runtime.values(x, list(program.grids)).items():
        grid = program.grids[tensor]
        exact = values.astype(np.float64) / grid.scale
        codes = np.round(exact).astype(np.int64)
        assert np.abs(exact - codes).max() < 1e-2, tensor
        assert grid.low <= codes.min(), tensor
        assert codes.max() <= grid.high, tensor
        found[tensor] = codes
    return found


def check(
    program: Program, runtime: LitertRuntime, x: list[np.ndarray], wide_steps: int = 1, differing: float = 0.06
) -> None:
    """Each feature map must be within a step of the reference's, computed from the file's own codes before it.

    LiteRT rounds twice, and halves upwards, so that codes near a half differ.
    """
    codes = codes_of(program, runtime, x)
    expected = execute(program, x, codes)
    for tensor, grid in program.grids.items():
        steps = np.abs(codes[tensor] - expected[tensor])
        assert codes[tensor].max() > codes[tensor].min(), f"{tensor} is constant: the test says nothing"
        assert steps.max() <= (1 if grid.bits <= 8 else wide_steps), tensor
        assert (steps > 0).mean() <= (differing if grid.bits <= 8 else 1.0), tensor
    for found, wanted in zip(runtime(x), outputs_of(program, codes), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


WIDTHS: Mapping[str, tuple[Any, Any]] = {
    "8": (bits(8), bits(8)),
    "narrow": (bits(2, 3, 4), bits(2, 3, 4, 5, 7)),
    "mixed": (bits(4, 5, 8), bits(4, 8, 16)),
    "wide": (bits(8), bits(9, 12, 15, 16)),
    "po2": (bits(4, 8, alpha="auto_po2"), bits(4, 8, 12, alpha="auto_po2")),
    "signed": (bits(4, 8), bits(3, 4, 8, 11, 16, signed=True)),
    "affine": (bits(4, 8), bits(3, 5, 8, 12, 15, affine=True)),
}


@pytest.mark.parametrize("widths", WIDTHS)
def test_every_feature_map_is_within_a_step(
    small_model: keras.Model, small_samples: np.ndarray, tmp_path: Path, widths: str
) -> None:
    kernel, activation = WIDTHS[widths]
    for seed in range(2):
        network, config = searched(small_model, small_samples, kernel, activation, seed)
        # between powers of two sums are often halves, which LiteRT rounds upwards and the reference to even codes
        check(*written(network, config, tmp_path), [small_samples], differing=0.3 if widths == "po2" else 0.06)


def convolutions() -> keras.Model:
    inputs = keras.Input((9, 11, 4))
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="strided")(inputs)
    y = layers.Conv2D(8, (3, 2), dilation_rate=2, padding="same", name="dilated")(x)
    y = layers.Conv2D(8, 3, groups=2, padding="same", use_bias=False, activation="relu6", name="grouped")(y)
    y = layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", name="multiplied")(y)
    y = layers.DepthwiseConv2D(3, strides=2, padding="same", activation="relu", use_bias=False, name="depthwise")(y)
    y = layers.SeparableConv2D(6, 2, name="separable")(y)
    y = layers.Dense(5, activation="relu", name="pointwise")(y)
    y = layers.Conv2D(4, 1, activation="tanh", name="tanh")(y)
    y = layers.Flatten()(y)
    return keras.Model(inputs, layers.Dense(3, use_bias=False, name="logits")(y))


def sequences() -> keras.Model:
    inputs = keras.Input((12, 4))
    x = layers.Conv1D(6, 3, padding="causal", dilation_rate=2, activation="relu", name="causal")(inputs)
    x = layers.BatchNormalization(name="kept")(layers.MaxPooling1D(2, padding="same")(x))
    x = layers.DepthwiseConv1D(3, padding="same", activation="silu", name="depthwise")(x)
    x = layers.ZeroPadding1D((1, 2))(x)
    x = layers.AveragePooling1D(3, strides=2, name="average")(x)
    x = layers.UpSampling1D(3)(x)
    x = layers.Cropping1D((1, 1))(x)
    x = layers.Permute((2, 1))(x)
    x = layers.Dense(4, name="transposed")(x)
    x = layers.GlobalMaxPooling1D()(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x))


def merges() -> keras.Model:
    inputs = [keras.Input((6, 6, 4), name=name) for name in ("left", "right")]
    a = layers.Conv2D(4, 3, padding="same", activation="relu", name="a")(inputs[0])
    b = layers.Conv2D(4, 3, padding="same", name="b")(inputs[1])
    c = layers.Conv2D(4, 1, activation="relu", name="c")(inputs[1])
    found = [
        layers.Activation("relu")(layers.Add(name="add")([a, b])),
        layers.Add(name="add_three")([a, b, c]),
        layers.Subtract(name="subtract")([a, c]),
        layers.Multiply(name="multiply")([a, b]),
        layers.Multiply(name="multiply_three")([a, b, c]),
        layers.Maximum(name="maximum")([a, b]),
        layers.Minimum(name="minimum")([a, b, c]),
        layers.Average(name="average")([a, b, c]),
    ]
    x = layers.ReLU(name="joined")(layers.Concatenate(name="concatenate")(found))
    x = layers.Conv2D(5, 1, name="all")(x)
    return keras.Model(inputs, [layers.GlobalAveragePooling2D(name="pooled")(x), layers.Activation("sigmoid")(x)])


def movements() -> keras.Model:
    inputs = keras.Input((9, 8, 3))
    x = layers.Conv2D(4, 3, activation="relu", name="first")(layers.ZeroPadding2D(((2, 1), (0, 2)))(inputs))
    x = layers.AveragePooling2D(3, strides=2, padding="same", name="padded")(x)
    x = layers.UpSampling2D((3, 2))(layers.MaxPooling2D(3, strides=2, padding="same")(x))
    x = layers.Cropping2D(((1, 0), (0, 1)))(x)
    x = layers.Conv2D(4, 1, name="second")(layers.Permute((2, 1, 3))(x))
    x = layers.Reshape((-1, 8))(layers.AveragePooling2D(2, name="average")(x))
    return keras.Model(inputs, layers.Dense(3, name="logits")(layers.Flatten()(x)))


def excitation() -> keras.Model:
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="silu", name="conv")(inputs)
    x = layers.DepthwiseConv2D(3, padding="same", activation="hard_silu", name="depthwise")(x)
    y = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    y = layers.Conv2D(4, 1, activation="silu", name="reduce")(y)
    y = layers.Conv2D(8, 1, activation="sigmoid", name="excite")(y)
    x = layers.Multiply(name="scale")([x, y])
    x = layers.Dense(4, name="logits")(layers.GlobalAveragePooling2D(name="pool")(x))
    return keras.Model(inputs, layers.Activation("softmax", name="softmax")(x))


NETS: Mapping[str, Callable[[], keras.Model]] = {
    "convolutions": convolutions,
    "sequences": sequences,
    "merges": merges,
    "movements": movements,
    "excitation": excitation,
}


def samples(model: keras.Model, count: int = 16) -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    return [rng.normal(0, 1, (count, *tensor.shape[1:])).astype(np.float32) for tensor in model.inputs]


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("widths", ["8", "mixed", "signed"])
def test_every_operation_is_within_a_step(net: str, widths: str, tmp_path: Path) -> None:
    model = randomise(NETS[net]())
    x = samples(model)
    network, config = searched(model, x if len(x) > 1 else x[0], *WIDTHS[widths], seed=1)
    # sums before functions share 16 bits among all that could change the functions' codes
    check(*written(network, config, tmp_path), x, wide_steps=4, differing=0.03 if widths == "8" else 0.06)


@pytest.mark.parametrize("net", NETS)
def test_a_float_program_computes_what_keras_does(net: str, tmp_path: Path) -> None:
    model = randomise(NETS[net]())
    x = samples(model)
    network, _ = searched(model, x if len(x) > 1 else x[0])
    network.set_config(None)
    payload = write_litert(program_of(network, None), tmp_path / "model.tflite", {}).payload
    assert payload == 4 * sum(weight.codes.size for o in program_of(network, None).operations for weight in o.weights)
    expected = model(x if len(x) > 1 else x[0], training=False)
    for found, wanted in zip(LitertRuntime(tmp_path / "model.tflite")(x), keras.tree.flatten(expected), strict=True):
        np.testing.assert_allclose(found, np.asarray(wanted), rtol=1e-4, atol=1e-4)


FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {
    **{
        name: layers.Activation(name)
        for name in (
            "relu", "relu6", "leaky_relu", "sigmoid", "hard_sigmoid", "tanh", "silu", "hard_silu", "elu", "selu",
            "gelu", "softplus", "softsign", "exponential",
        )
    },
    "elu_half": layers.ELU(0.5),
    "relu_to_1": layers.ReLU(1.0, negative_slope=0.1),
    "clip": lambda x: keras.ops.clip(x, -0.5, 0.25),
    "at_most": lambda x: keras.ops.minimum(x, 0.3),
    "absolute": keras.ops.absolute,
    "square": keras.ops.square,
    "line": lambda x: 1.5 - 2.0 * x,
    "line_silu": lambda x: keras.ops.silu(0.5 * x + 1.0),
}  # fmt: skip


def functions(names: Any) -> keras.Model:
    """Each function behind a convolution of its own."""
    inputs = keras.Input((4, 4, 3))
    outputs = [FUNCTIONS[name](layers.Conv2D(4, 1, name=f"conv_{name}")(inputs)) for name in names]
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize("width", [4, 8, 12])
def test_every_function_is_within_a_step(width: int, tmp_path: Path) -> None:
    model = randomise(functions(FUNCTIONS))
    x = samples(model)
    network, config = searched(model, x[0], bits(8), bits(width))
    check(*written(network, config, tmp_path), x)


def test_every_function_in_float(tmp_path: Path) -> None:
    model = randomise(functions(FUNCTIONS))
    layer = layers.PReLU(alpha_initializer=keras.initializers.RandomUniform(0.1, 0.4, seed=0))
    model = keras.Model(model.inputs, [*model.outputs, layer(model.outputs[0])])
    x = samples(model)
    network, _ = searched(model, x[0])
    network.set_config(None)
    write_litert(program_of(network, None), tmp_path / "model.tflite", {})
    for found, wanted in zip(LitertRuntime(tmp_path / "model.tflite")(x), model(x, training=False), strict=True):
        np.testing.assert_allclose(found, np.asarray(wanted), rtol=1e-5, atol=1e-5)


def test_sums_that_may_be_far_larger_than_they_matter_are_held_finely(tmp_path: Path) -> None:
    inputs = keras.Input((512,))
    model = randomise(keras.Model(inputs, layers.Dense(8, activation="sigmoid", name="dense")(inputs)))
    x = samples(model, 64)
    network, config = searched(model, x[0], bits(8), bits(12))
    check(*written(network, config, tmp_path), x)


def test_a_unit_of_inputs_comes_before_their_quantization(tmp_path: Path) -> None:
    inputs = keras.Input((6, 6, 3))
    x = layers.Rescaling(1.0 / 127.5, offset=-1.0)(inputs)
    model = randomise(keras.Model(inputs, layers.Dense(3)(layers.Flatten()(layers.Conv2D(4, 3)(x)))))
    x = np.random.default_rng(0).uniform(0, 255, (16, 6, 6, 3)).astype(np.float32)
    network, config = searched(model, x)
    check(*written(network, config, tmp_path), [x])


def test_inputs_of_merges_have_codes_of_their_own(
    small_model: keras.Model, small_samples: np.ndarray, tmp_path: Path
) -> None:
    network, config = searched(small_model, small_samples, activation=bits(4, 8, 16), requantize_merge_inputs=True)
    program, runtime = written(network, config, tmp_path)
    assert any("input_" in site for site in program.sites.values())
    check(program, runtime, [small_samples])


def test_whole_models_decide_as_the_reference(tmp_path: Path) -> None:
    model = randomise(models.efficientnetb0(alpha=0.25, input_shape=(32, 32, 3)))
    x = np.random.default_rng(0).uniform(0, 1, (8, 32, 32, 3)).astype(np.float32)
    network, config = searched(model, x, bits(4, 8), bits(4, 8))
    program, runtime = written(network, config, tmp_path)
    check(program, runtime, [x])
    (expected,), (found,) = outputs_of(program, execute(program, [x])), runtime([x])
    assert (found.argmax(axis=-1) == expected.argmax(axis=-1)).mean() >= 0.75
    assert np.abs(found - expected).max() < 0.25


@pytest.mark.parametrize("seed", range(3))
def test_products_in_int8_give_the_codes_of_the_reference_exactly(tmp_path: Path, seed: int) -> None:
    """With scales of any size, so without halves: the kernels' second rounding is allowed for in the biases."""
    x = inputs = keras.Input((10, 10, 3))
    x = layers.Conv2D(8, 3, activation="relu", name="first")(x)
    x = layers.DepthwiseConv2D(3, name="signed")(x)
    x = layers.Conv2D(8, 1, activation="relu", name="second")(x)
    x = layers.Conv2D(6, 3, strides=2, name="third")(x)
    model = randomise(keras.Model(inputs, layers.Dense(5, name="logits")(layers.Flatten()(x))), seed)
    x = np.random.default_rng(seed).uniform(0, 1, (64, 10, 10, 3)).astype(np.float32)
    network, config = searched(model, x, bits(4, 8), bits(4, 8), seed)
    program, runtime = written(network, config, tmp_path)
    codes = codes_of(program, runtime, [x])
    expected = execute(program, [x], codes)
    for tensor in ("first_relu", "signed", "second_relu", "third", "logits"):
        assert np.ptp(codes[tensor]) > 3, tensor
        assert (codes[tensor] != expected[tensor]).mean() < 1e-4, tensor


def stored(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
    """Constants of a file by name: codes, scales, axis."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
    found = {}
    for tensor in model.subgraphs[0].tensors:
        data = model.buffers[tensor.buffer].data
        if data is None or tensor.quantization is None:
            continue
        raw = np.asarray(data, np.uint8)
        shape = tuple(tensor.shape)
        if tensor.type == schema.TensorType.INT4:
            halves = np.stack([raw & 15, raw >> 4], axis=1).reshape(-1)[: np.prod(shape)].astype(np.int64)
            codes = (halves ^ 8) - 8
            assert raw.size == -(-np.prod(shape) // 2)
        else:
            kinds = {schema.TensorType.INT8: "i1", schema.TensorType.INT32: "i4", schema.TensorType.INT64: "i8"}
            codes = raw.view(kinds.get(tensor.type, "i2")).astype(np.int64)
        found[tensor.name.decode()] = (
            codes.reshape(shape),
            tensor.quantization.scale,
            tensor.quantization.quantizedDimension,
        )
    return found


def test_codes_and_scales_are_stored_as_they_are(tmp_path: Path) -> None:
    model = randomise(convolutions())
    x = samples(model)
    network, config = searched(model, x[0], bits(3, 4, 5, 8), bits(8), seed=3)
    program, _ = written(network, config, tmp_path)
    found = stored(tmp_path / "model.tflite")
    widths = set()
    for operation in program.operations:
        kernel = operation.kernel
        if kernel is None:
            continue
        codes, scales, axis = found[kernel.site]
        order = {"dense": (1, 0), "convolution": (3, 0, 1, 2)}[operation.kind]
        if axis == 3:
            order = (2, 0, 1, 3)
        np.testing.assert_array_equal(codes, kernel.codes.transpose(order))
        np.testing.assert_array_equal(scales, kernel.scale.reshape(-1))
        assert scales.size in (1, codes.shape[axis])
        widths.add(kernel.bits)
        grid = program.grid(operation.inputs[0])
        if operation.bias is not None and grid is not None:
            unit = grid.scale * kernel.scale.reshape(-1)
            np.testing.assert_allclose(found[operation.bias.site][1], unit, rtol=1e-6)
    assert len(widths) == 4


def test_the_payload_is_what_kernels_biases_and_scales_take(
    small_model: keras.Model, small_samples: np.ndarray, tmp_path: Path
) -> None:
    network, config = searched(small_model, small_samples, bits(4, 8), bits(8), seed=1)
    program = program_of(network, config)
    expected = 4 * len(program.grids)
    for operation in program.operations:
        kernel, bias = operation.kernel, operation.bias
        if kernel is not None:
            size = kernel.codes.size
            expected += (-(-size // 2) if kernel.bits == 4 else size) + 4 * kernel.scale.size
            expected += 0 if bias is None else 4 * bias.codes.size + 4
    assert write_litert(program, tmp_path / "model.tflite", {}).payload == expected
    assert expected < (tmp_path / "model.tflite").stat().st_size


def test_metadata_and_names_are_in_the_file(
    small_model: keras.Model, small_samples: np.ndarray, tmp_path: Path
) -> None:
    from ai_edge_litert import schema_py_generated as schema

    network, config = searched(small_model, small_samples)
    program = program_of(network, config)
    write_litert(program, tmp_path / "model.tflite", {"mpsearch.fingerprint": config.fingerprint, "é": "ü"})
    model = schema.ModelT.InitFromPackedBuf((tmp_path / "model.tflite").read_bytes())
    found = {entry.name.decode(): bytes(model.buffers[entry.buffer].data).decode() for entry in model.metadata}
    assert found == {"mpsearch.fingerprint": config.fingerprint, "é": "ü"}
    assert set(program.grids) < {tensor.name.decode() for tensor in model.subgraphs[0].tensors}


def test_two_files_of_a_program_are_equal(small_model: keras.Model, small_samples: np.ndarray, tmp_path: Path) -> None:
    network, config = searched(small_model, small_samples, *WIDTHS["mixed"])
    config = nearest_config(config, program_of(network, config))
    network.set_config(config)
    for name in ("a", "b"):
        write_litert(program_of(network, config), tmp_path / name, {"x": "y"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_cannot_be_held_is_named(small_model: keras.Model, small_samples: np.ndarray, tmp_path: Path) -> None:
    network, config = searched(small_model, small_samples)

    def found(**widths: int) -> dict[str, int]:
        changed = Config({**config, **{s: replace(config[s], bits=b) for s, b in named(widths).items()}})
        network.set_config(changed)
        program = program_of(network, changed)
        nearest = nearest_config(changed, program)
        expected = {obstacle.site: obstacle.bits for obstacle in obstacles(program)}
        assert {site: nearest[site].bits for site in config if nearest[site] != changed[site]} == expected
        if expected:
            with pytest.raises(ExportError, match=f"(?s)can't hold all widths.*`{next(iter(expected))}`.*--round-up"):
                write_litert(program, tmp_path / "model.tflite", {})
        network.set_config(nearest)
        write_litert(program_of(network, nearest), tmp_path / "model.tflite", {})
        return expected

    def named(widths: Mapping[str, int]) -> dict[str, int]:
        return {name.replace("__", "/"): width for name, width in widths.items()}

    assert found() == {}
    assert found(conv__kernel=9) == {"conv/kernel": 8}
    assert found(pw__activation=16, conv__activation=16, input__activation=24) == {
        "conv/activation": 15,
        "input/activation": 16,
    }
    assert found(pw__activation=17) == {"pw/activation": 16}
    # the depthwise convolution computes in INT16 where the map before it or behind it is wide
    assert found(dw__kernel=4) == {}
    assert found(dw__kernel=4, conv__activation=9) == {"dw/kernel": 8}
    assert found(dw__kernel=3, dw__activation=12) == {"dw/kernel": 8}
    assert found(pw__kernel=4, dw__activation=12) == {}


def test_a_narrow_depthwise_kernel_before_a_function_is_refused(tmp_path: Path) -> None:
    inputs = keras.Input((6, 6, 4))
    model = keras.Model(inputs, layers.Flatten()(layers.DepthwiseConv2D(3, activation="silu", name="dw")(inputs)))
    network, config = searched(model, samples(model)[0], bits(4))
    program = program_of(network, config)
    assert [obstacle.site for obstacle in obstacles(program)] == ["dw/kernel"]
    assert nearest_config(config, program)["dw/kernel"].bits == 8


def tiny(*more: Operation, bias_scale: float = 2.0**-10, **grids: Grid) -> Program:
    """A dense layer on four inputs, and what follows it."""
    rng = np.random.default_rng(0)
    kernel = Weight("dense/kernel", 8, rng.integers(-127, 128, (4, 3)), np.full((1, 3), 2.0**-8, np.float32), 1)
    bias = Weight("dense/bias", 16, rng.integers(-999, 999, 3), np.full(1, bias_scale, np.float32))
    dense = Operation("dense", "dense", ("x",), (3,), kernel, bias)
    own = {"x": Grid(8, 2.0**-6, -127, 127), "dense": Grid(8, 2.0**-5, -127, 127), **grids}
    sites = {name: f"{name}/activation" for name in own}
    return Program("tiny", {"x": (4,)}, (dense, *more), ((dense, *more)[-1].name,), own, sites)


def test_a_tensor_with_the_codes_of_another_has_a_name_of_its_own(tmp_path: Path) -> None:
    same = Operation("same", "function", ("dense",), (3,), function=Function("identity"))
    program = tiny(same, same=Grid(8, 2.0**-5, -127, 127))
    write_litert(program, tmp_path / "a", {})
    x = np.random.default_rng(1).normal(0, 1, (32, 4)).astype(np.float32)
    check(program, LitertRuntime(tmp_path / "a"), [x])


def test_a_bias_beyond_32_bits_is_held_in_64(tmp_path: Path) -> None:
    program = tiny(bias_scale=2.0**10)
    program = replace(program, grids={**program.grids, "dense": Grid(8, 2.0**13, -127, 127)})
    (dense,) = program.operations
    assert dense.kernel is not None
    fine = replace(dense, kernel=replace(dense.kernel, scale=dense.kernel.scale * np.float32(2.0**-6)))
    program = replace(program, operations=(fine,))
    payload = write_litert(program, tmp_path / "a", {}).payload
    assert payload == 12 + 4 * 3 + 8 * 3 + 4 + 4 * 2
    x = np.random.default_rng(1).normal(0, 1, (32, 4)).astype(np.float32)
    codes = codes_of(program, LitertRuntime(tmp_path / "a"), [x])["dense"]
    assert np.abs(codes - execute(with_aligned_biases(program), [x])["dense"]).max() <= 1
    assert np.abs(codes).max() > 50


def test_addends_too_coarse_are_refused(tmp_path: Path) -> None:
    twice = Operation("twice", "add", ("dense", "dense"), (3,))
    program = tiny(twice, twice=Grid(16, 2.0**-28, -32767, 32767))
    with pytest.raises(ExportError, match="`twice` adds feature maps whose steps are too far"):
        write_litert(program, tmp_path / "a", {})


def refused(network: ElasticNetwork, config: Config | None, path: Path, match: str) -> None:
    network.set_config(config)
    with pytest.raises(ExportError, match=match):
        write_litert(program_of(network, config), path, {})
    assert not path.exists()


def test_what_stays_float_is_refused(small_model: keras.Model, small_samples: np.ndarray, tmp_path: Path) -> None:
    network = ElasticNetwork(small_model, Space(activation=bits(8)), small_samples)
    refused(network, network.space.sample(random.Random(0)), tmp_path / "a", "stays float")
    network = ElasticNetwork(small_model, Space(kernel=bits(8), bias=bits(8)), small_samples)
    config = network.space.sample(random.Random(0))
    network.set_config(config)
    space = Space(kernel=bits(8), bias=BIAS, activation=bits(8))
    space.skip("pool")
    network = ElasticNetwork(small_model, space, small_samples)
    refused(network, network.space.sample(random.Random(0)), tmp_path / "a", "stays float")


def test_other_operations_are_refused_by_name(tmp_path: Path) -> None:
    inputs = keras.Input((4, 4, 4, 2))
    model = keras.Model(inputs, layers.Conv3D(2, 2, name="volume")(inputs))
    refused(*searched(model, samples(model)[0]), tmp_path / "a", "`volume` works along three axes")
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, layers.Softmax(axis=1, name="other")(layers.Dense(3)(inputs)))
    refused(*searched(model, samples(model)[0]), tmp_path / "a", "`other` takes a softmax over another axis")
    model = keras.Model(inputs, layers.Dense(2)(layers.Softmax(name="attention")(layers.Dense(3)(inputs))))
    refused(*searched(model, samples(model)[0]), tmp_path / "a", "stays float")
    model = keras.Model(inputs, layers.ReLU(threshold=0.5, name="late")(layers.Dense(3)(inputs)))
    refused(*searched(model, samples(model)[0]), tmp_path / "a", "`late` applies relu with .*threshold")


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.9999])
def test_a_file_cut_off_is_refused(
    small_model: keras.Model, small_samples: np.ndarray, tmp_path: Path, part: float
) -> None:
    network, config = searched(small_model, small_samples)
    path = tmp_path / "model.tflite"
    write_litert(program_of(network, config), path, {})
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ExportError, match=r"model\.tflite can't be read as a LiteRT file, it may be cut off"):
        LitertRuntime(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="there is no file"):
        LitertRuntime(tmp_path / "model.tflite")


def test_a_missing_package_names_its_extra(
    small_model: keras.Model, small_samples: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    network, config = searched(small_model, small_samples)
    monkeypatch.setattr(litert_graph, "import_module", missing)
    with pytest.raises(MissingPackageError, match=r"pip install 'mpsearch\[litert\]'"):
        write_litert(program_of(network, config), tmp_path / "model.tflite", {})
