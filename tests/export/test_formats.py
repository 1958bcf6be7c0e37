"""What holds of every file format: files agree with the network, hold its codes, and are refused where damaged."""

import dataclasses
import itertools

import keras
import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras import Input, layers

from mpsearch.config import Config, QuantizerSpec
from mpsearch.costs.flash import FlashBytes
from mpsearch.errors import ConfigError, ExportError
from mpsearch.export.aligned_biases import with_aligned_biases
from mpsearch.export.building import program_of
from mpsearch.export.formats import FORMATS, format_of, parse_formats
from mpsearch.export.integer import execute, outputs_of
from mpsearch.export.keras_file import write_keras
from mpsearch.menu import bits
from mpsearch.network.elastic import ElasticNetwork
from mpsearch.space import Space
from tests.export.models import MODELS, configured, gated, inputs_of, network_codes, network_of, with_biases

ONNX = ("onnx", "qonnx")


def written(name, program, folder):
    """A format's file of a program, opened: (path, what was written, runtime)."""
    made = FORMATS[name]
    path = folder / made.file
    found = made.write(program, path, {"mpsearch.config": "{}"})
    return path, found, made.run(path, found)


def codes_of(runtime, program, x):
    """Codes of all feature maps in a file."""
    values = runtime.values([x], list(program.grids))
    return {tensor: values[tensor] / program.grids[tensor].scale for tensor in program.grids}


@pytest.mark.parametrize("name", ONNX)
@pytest.mark.parametrize("alpha", ["auto", "auto_po2"])
@pytest.mark.parametrize("model", MODELS)
def test_files_compute_what_the_network_computes(name, alpha, model, tmp_path):
    float_model = MODELS[model]()
    network, x = network_of(float_model, alpha), inputs_of(float_model, 32, seed=2)
    for seed in range(2):
        program = program_of(network, configured(network, seed))
        expected = network_codes(network, program, x)
        _, _, runtime = written(name, program, tmp_path)
        for tensor, codes in codes_of(runtime, program, x).items():
            np.testing.assert_allclose(codes, np.round(codes), atol=2e-3)
            differing = np.abs(np.round(codes) - expected[tensor])
            assert differing.max() <= 2, tensor  # a code beside a boundary moves those behind it
            assert (differing > 0).mean() < 0.02, tensor
        (ours,), (found,) = [np.asarray(network.model(x, training=False))], runtime([x])
        np.testing.assert_allclose(found, ours, atol=0.02)


@pytest.fixture(scope="module")
def small():
    model = MODELS["plain"]()
    return network_of(model, "auto_po2", widths=tuple(range(2, 17)), biases=(8, 16, 31)), inputs_of(model, 16, seed=2)


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_configs_are_written_and_agree_with_the_integer_reference(name, small, tmp_path, data):
    """With powers of two and sums that float32 holds the files compute the very same codes."""
    network, x = small
    drawn = {
        site: QuantizerSpec(
            data.draw(st.sampled_from([spec.bits for spec in menu.specs]), label=site), menu.specs[0].alpha
        )
        for site, menu in network.space.menus.items()
    }
    config, made = Config(drawn), FORMATS[name]
    network.set_config(config)
    if made.limits is not None:
        config = made.limits.nearest(config, program_of(network, config))
        network.set_config(config)
    program = program_of(network, config)
    if made.write is None:
        write_keras(network, config, tmp_path / made.file)
        runtime = made.run(tmp_path / made.file, None)
        sites = list(program.sites.values())
        values = runtime.values([x], sites)
        codes = {tensor: values[site] / program.grids[tensor].scale for tensor, site in program.sites.items()}
    else:
        path, found, runtime = written(name, program, tmp_path)
        codes = codes_of(runtime, program, x)
        if name == "onnx":
            assert found.payload == FlashBytes(network.facts)(config)
            assert path.stat().st_size > found.payload
    if name == "litert":  # from the file's own codes and biases: it rounds halves upwards
        rounded = {tensor: np.round(values).astype(np.int64) for tensor, values in codes.items()}
        expected = execute(with_biases(program, found.biases), [x], rounded)
    else:
        expected = execute(program, [x])
    for tensor, values in codes.items():
        steps = np.abs(np.round(values) - expected[tensor])
        width = program.grids[tensor].bits
        # a sum of more than 24 bits is rounded in float32, which a narrow step seldom shows
        assert steps.max() <= max(1, 2 ** (width - (13 if name != "litert" else 11))), tensor
        if name != "litert" or width <= 8:
            assert (steps > 0).mean() < (0.02 if name != "litert" else 0.4), tensor


def test_onnx_holds_codes_packed_in_the_least_type_with_the_scales_of_the_config(small, tmp_path):
    network, _ = small
    widths = itertools.cycle((3, 7, 12))
    config = Config(
        {site: dataclasses.replace(menu.specs[0], bits=next(widths)) for site, menu in network.space.menus.items()}
    )
    network.set_config(config)
    program = program_of(network, config)
    path, _, _ = written("onnx", program, tmp_path)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version >= 21
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    kinds = onnx.TensorProto.DataType
    seen = set()
    for operation in program.operations:
        for weight in operation.weights:
            width, tensor = config[weight.site].bits, constants[weight.site]
            if weight.site.endswith("bias"):
                expected = "INT16" if width <= 16 else "INT32"
            else:
                expected = "INT4" if width <= 4 else ("INT8" if width <= 8 else "INT16")
            assert kinds.Name(tensor.data_type) == expected
            seen.add(expected)
            elements = int(np.prod(tensor.dims))
            assert len(tensor.raw_data) == -(-elements * int(expected[3:]) // 8)
            scale = onnx.numpy_helper.to_array(constants[f"{weight.site}_scale"])
            np.testing.assert_array_equal(np.sort(scale.ravel()), np.sort(weight.scale.ravel()))
            assert np.all(np.frexp(scale)[0] == 0.5)  # powers of two
            codes = onnx.numpy_helper.to_array(tensor).astype(int)
            np.testing.assert_array_equal(np.sort(codes.ravel()), np.sort(weight.codes.ravel()))
    assert len(seen) >= 3
    quantized = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    types = {kinds.Name(attribute.i) for node in quantized for attribute in node.attribute}
    assert len(quantized) == len(program.grids)
    assert types <= {"UINT4", "INT4", "UINT8", "INT8", "UINT16", "INT16"}
    assert len(types) >= 3
    assert {prop.key: prop.value for prop in model.metadata_props} == {"mpsearch.config": "{}"}


def test_a_feature_map_that_does_not_fill_its_type_is_clipped_to_its_codes(tmp_path):
    model = MODELS["plain"]()
    network = network_of(model, "auto_po2", widths=(3,))
    program = program_of(network, configured(network, 0))
    _, _, runtime = written("onnx", program, tmp_path)
    x = 50 * inputs_of(model, 32, seed=3)  # far beyond what it was calibrated for
    reached = set()
    for tensor, codes in codes_of(runtime, program, x).items():
        grid = program.grids[tensor]
        assert grid.low <= codes.min() <= codes.max() <= grid.high, tensor
        reached |= {(grid.low, codes.min() == grid.low), (grid.high, codes.max() == grid.high)}
    assert {(-3, True), (3, True), (7, True)} <= reached


@pytest.mark.parametrize("name", ONNX)
def test_affine_feature_maps_keep_their_zero_points(name, tmp_path):
    model = MODELS["plain"]()
    x = inputs_of(model, 32)
    space = Space(kernel=bits(8), bias=bits(16), activation=bits(8, affine=True))
    network = ElasticNetwork(model, space, x)
    config = network.space.uniform(8)
    network.set_config(config)
    program = program_of(network, config)
    assert any(grid.low not in (0, -grid.high) for grid in program.grids.values())
    _, found, runtime = written(name, program, tmp_path)
    ours = np.asarray(network.model(x, training=False))
    np.testing.assert_allclose(runtime([x])[0], ours, atol=0.01)
    if name == "onnx":
        assert abs(found.payload - FlashBytes(network.facts)(config)) <= 8  # a zero-point of zero isn't written
    (reference,) = outputs_of(program, execute(program, [x]))
    np.testing.assert_allclose(reference, ours, atol=0.01)


@pytest.mark.parametrize("name", ONNX)
def test_a_float_network_and_sites_left_float_are_written_as_well(name, tmp_path):
    model = gated()
    x = inputs_of(model, 32)
    space = Space(kernel=bits(8), bias=bits(16), activation=bits(8)).skip("grouped").skip("both")
    network = ElasticNetwork(model, space, x)
    for config in (None, network.space.uniform(8)):
        network.set_config(config)
        program = program_of(network, config)
        _, found, runtime = written(name, program, tmp_path)
        ours = np.asarray(network.model(x, training=False))
        np.testing.assert_allclose(runtime([x])[0], ours, atol=1e-5 if config is None else 0.01)
        if config is None:
            assert found.payload == 4 * sum(w.codes.size for op in program.operations for w in op.weights)


def test_aligned_biases_are_written_in_32_bits_with_the_unit_of_the_sums(tmp_path):
    model = MODELS["plain"]()
    network, x = network_of(model, "auto", widths=(8,), biases=(16,)), inputs_of(model, 64)
    program = with_aligned_biases(program_of(network, configured(network, 0)))
    path, _, runtime = written("onnx", program, tmp_path)
    constants = {tensor.name: tensor for tensor in onnx.load(path).graph.initializer}
    for operation in program.operations:
        if operation.bias is not None:
            assert constants[operation.bias.site].data_type == onnx.TensorProto.INT32
    (reference,) = outputs_of(program, execute(program, [x]))
    assert np.mean(runtime([x])[0].argmax(-1) == reference.argmax(-1)) >= 0.98


def test_several_inputs_and_outputs_keep_their_order(tmp_path):
    a, b = Input((6,), name="a"), Input((4, 2), name="b")
    joined = layers.Concatenate(name="join")([a, layers.Flatten(name="flat")(b)])
    hidden = layers.Dense(8, activation="relu", name="hidden")(joined)
    model = keras.Model([a, b], [layers.Dense(3, name="first")(hidden), layers.Dense(2, name="second")(hidden)])
    rng = np.random.default_rng(0)
    x = [rng.normal(0, 1, (16, 6)).astype(np.float32), rng.normal(0, 1, (16, 4, 2)).astype(np.float32)]
    network = ElasticNetwork(model, Space(kernel=bits(8), bias=bits(16), activation=bits(8)), x)
    config = network.space.uniform(8)
    network.set_config(config)
    ours = [np.asarray(output) for output in network.model(x, training=False)]
    program = program_of(network, config)
    for name in ONNX:
        _, _, runtime = written(name, program, tmp_path)
        assert [entry for entry, _ in runtime.inputs] == ["a", "b"]
        for expected, found in zip(ours, runtime(x), strict=True):
            np.testing.assert_allclose(found, expected, atol=0.02)
    for expected, found in zip(ours, outputs_of(program, execute(program, x)), strict=True):
        np.testing.assert_allclose(found, expected, atol=0.02)


@pytest.mark.parametrize("name", FORMATS)
def test_missing_cut_off_and_damaged_files_are_refused_in_words(name, small, tmp_path):
    made = FORMATS[name]
    with pytest.raises(ExportError, match="there is no file"):
        made.run(tmp_path / made.file, None)
    network, _ = small
    config = network.space.uniform(4)
    network.set_config(config)
    path = tmp_path / made.file
    if made.write is None:
        write_keras(network, config, path)
    else:
        made.write(program_of(network, config), path, {})
    content = path.read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"\x00" * 64, bytes(reversed(content))):
        path.write_bytes(damaged)
        with pytest.raises(ExportError, match=r"can't be read as .*cut off or damaged"):
            made.run(path, None)


def test_formats_are_known_by_name_and_by_file(tmp_path):
    assert [made.name for made in parse_formats("onnx, keras,onnx")] == ["onnx", "keras"]
    for wrong in ("", "onnx,pb"):
        with pytest.raises(ConfigError, match="must be one of onnx, "):
            parse_formats(wrong)
    for made in FORMATS.values():
        assert format_of(tmp_path / made.file) is made
    with pytest.raises(ExportError, match=r"its name must end as one of \*\.onnx"):
        format_of(tmp_path / "model.pb")


def test_feature_maps_wider_than_onnx_has_are_refused_by_name(tmp_path):
    model = MODELS["plain"]()
    network = network_of(model, "auto_po2", widths=(20,))
    program = program_of(network, configured(network, 0))
    with pytest.raises(ExportError, match="`input` has codes of 20 bits"):
        written("onnx", program, tmp_path)
