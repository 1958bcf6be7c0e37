"""Tests of the float reference models: layers, parameters, and the published sizes."""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from mpsearch import BitCost, Space, bits, facts_of, models
from mpsearch.floatmodel import with_weights

ROOT = Path(__file__).resolve().parents[2]
BUILDERS = [getattr(models, name) for name in models.__all__]

# (sum of kernels, sum of biases) x (16, 31) bits: `reference_parameter_bits` of
# shared/golden/forgiving_bits.json, from Y. Chen's thesis (Figures 3.2 and 3.5, section 3.7.2).
KERNEL_BITS, BIAS_BITS, ACTIVATION_BITS = 16, 31, 16
REFERENCE_PARAMETER_BITS = {"ds_cnn": 370_484, "fc_autoencoder": 4_278_904, "mbv2": 35_623_294}


def compute_layers(model: keras.Model) -> list[keras.Layer]:
    """The layers with a kernel."""
    kinds = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
    return [layer for layer in model.layers if isinstance(layer, kinds)]


def elements(tensor: keras.KerasTensor) -> int:
    return int(np.prod(tensor.shape[1:]))


def folded_sizes(model: keras.Model) -> tuple[int, int]:
    """Elements of all kernels and, once BatchNormalization is folded, of all biases."""
    layers = compute_layers(model)
    return sum(int(np.prod(layer.kernel.shape)) for layer in layers), sum(layer.output.shape[-1] for layer in layers)


def shared_model(name: str) -> Path:
    """A weights file of the shared folder; skips where it isn't there."""
    folders = [Path(os.environ["MPSEARCH_DATA"])] if "MPSEARCH_DATA" in os.environ else []
    folders.append(ROOT.parent / "shared")
    for folder in folders:
        for path in (folder / name, folder / "models" / name, folder.parent / "models" / name):
            if path.is_file():
                return path
    pytest.skip(f"no {name} in {' or '.join(map(str, folders))}: set MPSEARCH_DATA")


@pytest.mark.parametrize("build", BUILDERS, ids=models.__all__)
def test_layers_follow_the_naming(build):
    model = build()
    assert model.name == build.__name__
    assert model.built
    assert not model.compiled
    assert model.layers[0].name == "input"
    names = {layer.name for layer in model.layers}
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            assert layer.name.removesuffix("_bn") in names
        if isinstance(layer, keras.layers.ReLU):
            assert layer.name.removesuffix("_relu") in names
    for layer in compute_layers(model):
        assert layer.activation is keras.activations.linear
    if model.name != "fc_autoencoder":
        assert model.layers[-1].name == "softmax"
        assert "logits" in names


# Published: MLPerf Tiny's reference models (github.com/mlcommons/tiny, training/*), as Keras
# counts them with BatchNormalization; the shared weight files of the first and third agree.
@pytest.mark.parametrize(
    ("build", "parameters"),
    [(models.resnet8, 78_666), (models.ds_cnn, 24_908), (models.fc_autoencoder, 269_992)],
    ids=["resnet8", "ds_cnn", "fc_autoencoder"],
)
def test_parameters_are_those_of_mlperf_tiny(build, parameters):
    assert build().count_params() == parameters


@pytest.mark.parametrize("name", REFERENCE_PARAMETER_BITS)
def test_parameter_bits_are_those_of_the_thesis(name):
    kernels, biases = folded_sizes(getattr(models, name)())
    assert kernels * KERNEL_BITS + biases * BIAS_BITS == REFERENCE_PARAMETER_BITS[name]


def test_mbv2_activations_are_those_of_the_thesis():
    model = models.mbv2()
    adds = [layer for layer in model.layers if isinstance(layer, keras.layers.Add)]
    quantized = [model.inputs[0]]
    quantized += [layer.output for layer in compute_layers(model)]
    # A branch that ends in a convolution is quantized there; the shortcut has a quantizer of its own.
    quantized += [add.input[0] for add in adds]
    quantized += [add.output for add in adds]
    quantized.append(model.get_layer("pool").output)
    assert len(compute_layers(model)) == 54
    assert len(adds) == 10
    assert len(quantized) == 76
    bits = ACTIVATION_BITS * sum(map(elements, quantized)) + 8 * elements(model.inputs[0])
    assert bits + 8 * elements(model.outputs[0]) == 22_761_008


def test_mbv2_width_multiplier_gives_the_channels_of_keras_applications():
    ours = models.mbv2(alpha=0.5)
    theirs = keras.applications.MobileNetV2((96, 96, 3), alpha=0.5, weights=None, classes=2)
    widths = [layer.output.shape[-1] for layer in compute_layers(ours) if layer.name != "block_1_expand"]
    assert widths == [layer.output.shape[-1] for layer in compute_layers(theirs)]


# Published: a comparison on Fashion-MNIST for cnn and vgg16 (their paper's tables), MLPerf Tiny's file for mbv1
@pytest.mark.parametrize(
    ("build", "parameters"), [(models.cnn, 20_410), (models.vgg16, 14_781_642), (models.mbv1, 221_794)]
)
def test_parameters_are_the_published_ones(build, parameters):
    assert build().count_params() == parameters


@pytest.mark.parametrize(
    ("ours", "theirs", "extra"),
    [
        (lambda: models.mobilenet(), lambda a: a.MobileNet((32, 32, 3), classes=10, weights=None), 0),
        (
            lambda: models.mobilenet((96, 96, 3), 7, 0.5),
            lambda a: a.MobileNet((96, 96, 3), alpha=0.5, classes=7, weights=None),
            0,
        ),
        (
            lambda: models.mobilenetv3large(),
            lambda a: a.MobileNetV3Large((224, 224, 3), classes=43, weights=None, include_preprocessing=False),
            0,
        ),
        (
            lambda: models.mobilenetv3large((96, 96, 3), 5, 0.75),
            lambda a: a.MobileNetV3Large((96, 96, 3), alpha=0.75, classes=5, weights=None, include_preprocessing=False),
            0,
        ),
        # Keras's has a Normalization of the inputs, with 7 numbers
        (
            lambda: models.efficientnetb0(),
            lambda a: a.EfficientNetB0(input_shape=(96, 96, 3), classes=2, weights=None),
            7,
        ),
    ],
    ids=["mobilenet", "mobilenet 0.5", "mobilenetv3large", "mobilenetv3large 0.75", "efficientnetb0"],
)
def test_layers_have_the_shapes_of_keras_applications(ours, theirs, extra):
    def kernels(model):
        return [tuple(layer.kernel.shape) for layer in compute_layers(model)]

    made, reference = ours(), theirs(keras.applications)
    assert made.count_params() == reference.count_params() - extra
    assert sorted(kernels(made)) == sorted(kernels(reference))
    assert made.output_shape == reference.output_shape


def test_mbv1_takes_the_weights_of_mlperf_tiny():
    found = with_weights(models.mbv1(), shared_model("vww_96.h5"))
    assert float(np.abs(found.get_layer("conv_0").kernel).max()) > 0


def test_mbv1_sites_and_sizes_follow_the_thesis_rules():
    """27 convolutions and the classifier; each with its folded bias, an activation quantizer behind each, the input's
    and the pooled map's.
    """
    model = models.mbv1()
    facts = facts_of(model, nonnegative_inputs=True)
    space = Space(kernel=bits(16), bias=bits(31), activation=bits(16)).resolve(facts)
    roles = [site.role.value for site in space.facts.sites]
    assert (roles.count("kernel"), roles.count("bias"), roles.count("activation")) == (28, 28, 30)
    kernels, biases = folded_sizes(model)
    cost = BitCost(facts)(space.uniform(16))
    assert cost.parameter_bits == kernels * KERNEL_BITS + biases * BIAS_BITS


def test_ds_cnn_without_softmax_ends_in_logits():
    model = models.ds_cnn(softmax=False)
    assert model.layers[-1].name == "logits"
    assert model.count_params() == models.ds_cnn().count_params()


def test_ds_cnn_compute_layers():
    expected = ["conv_0"] + [f"{kind}_{block}" for block in range(1, 5) for kind in ("dw", "pw")] + ["logits"]
    assert [layer.name for layer in compute_layers(models.ds_cnn())] == expected


def test_fc_autoencoder_compute_layers():
    model = models.fc_autoencoder()
    assert [layer.name for layer in compute_layers(model)] == [f"dense_{index}" for index in range(10)]
    assert model.layers[-1].name == "dense_9"


def test_small_cnn_is_small():
    model = models.small_cnn()
    assert model.count_params() < 20_000
    expected = ["conv_0", "dw_1", "pw_1", "conv_2", "dense_3", "logits"]
    assert [layer.name for layer in compute_layers(model)] == expected


@pytest.mark.parametrize("build", BUILDERS, ids=models.__all__)
def test_other_shapes_build(build):
    if build is models.fc_autoencoder:
        assert build(inputs=64).output_shape == (None, 64)
    else:
        assert build(input_shape=(64, 48, 3), classes=7).output_shape == (None, 7)


def test_resnet8_with_the_shared_weights_is_the_folded_file():
    """The weights with BatchNorm load as they are, and give the folded file's probabilities."""
    model = models.resnet8()
    model.load_weights(shared_model("resnet8_cifar10jpeg.h5"))
    folded = keras.models.load_model(shared_model("resnet8_cifar10jpeg_folded.h5"), compile=False)
    by_name = {layer.name: layer for layer in compute_layers(model)}
    assert sorted(by_name) == sorted(layer.name for layer in compute_layers(folded))
    for layer in compute_layers(folded):
        assert layer.kernel.shape == by_name[layer.name].kernel.shape
        assert layer.output.shape == by_name[layer.name].output.shape
    x = np.random.default_rng(0).random((16, 32, 32, 3), dtype=np.float32)
    np.testing.assert_allclose(model(x, training=False), folded([x]), atol=1e-5)


def test_fc_autoencoder_takes_the_shared_weights():
    models.fc_autoencoder().load_weights(shared_model("ad01.h5"))


def test_importing_the_models_does_not_import_keras():
    code = "import sys, mpsearch.models; assert not {'keras', 'tensorflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
