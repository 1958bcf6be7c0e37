"""Exports to plain QKeras: verified, loadable without mpsearch, refused where they differ."""

import dataclasses
import json
import random
import subprocess
import sys

import keras
import numpy as np
import pytest
from qkeras.utils import load_qmodel

from mpsearch.config import Alpha, Config, RangeRule
from mpsearch.data import Data, Split
from mpsearch.errors import ExportError
from mpsearch.export.exporting import Options, export
from mpsearch.export.formats import FORMATS
from mpsearch.export.keras_file import KerasRuntime, verify, write_keras
from mpsearch.export.qkeras_model import qkeras_model
from mpsearch.menu import bits
from mpsearch.network.elastic import ElasticNetwork
from mpsearch.space import Space


@pytest.fixture(scope="module")
def trained(tiny_engine):
    config = tiny_engine.network.space.sample(random.Random(3))
    outcome = tiny_engine.train(config, seed=0)
    tiny_engine.network.load_state(outcome.state)
    return config


def keras_export(engine, config, folder, **options):
    return export(engine, config, folder, [FORMATS["keras"]], {"study": "tiny"}, Options(**options))


def test_an_export_is_verified_and_loads_in_a_fresh_process_without_mpsearch(tiny_engine, trained, tmp_path):
    data = tiny_engine.data
    (found,) = keras_export(tiny_engine, trained, tmp_path)
    assert found.comparison.top1_agreement == 1.0
    assert found.payload is None
    verified = verify(tiny_engine.network, trained, KerasRuntime(found.path).model, data, data.validation)
    assert verified.kernels == 3
    assert verified.largest_difference <= 1e-4
    about = json.loads((tmp_path / "export.json").read_text())
    assert Config.from_json(about["config"]) == trained
    assert about["files"]["keras"]["bytes"] == (tmp_path / "model.keras").stat().st_size
    x = data.inputs(data.test.x)
    np.save(tmp_path / "x.npy", x)
    script = (
        "import sys, numpy as np\n"
        "sys.modules['mpsearch'] = None\n"
        "from qkeras.utils import load_qmodel\n"
        "model = load_qmodel('model.keras', compile=False)\n"
        "np.save('y.npy', model.predict(np.load('x.npy'), verbose=0))\n"
        "print(*sorted({type(layer).__module__.split('.')[0] for layer in model.layers}))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) == {"keras", "qkeras"}
    ours = np.asarray(tiny_engine.network.model(x, training=False))
    difference = np.abs(np.load(tmp_path / "y.npy") - ours).max(axis=1) / np.ptp(ours)
    assert np.mean(difference <= 1e-4) >= 0.95  # the others hold a value on a rounding boundary, see Verification


def spoilt(model, layer, change):
    weights = model.get_layer(layer).get_weights()
    change(weights)
    model.get_layer(layer).set_weights(weights)
    return model


def test_a_file_with_another_kernel_code_is_refused(tiny_engine, trained):
    def change(weights):
        weights[0][0, 0, 0, 0] += 2 * np.abs(weights[0]).max()

    network, data = tiny_engine.network, tiny_engine.data
    model = spoilt(qkeras_model(network, trained), "conv", change)
    with pytest.raises(ExportError, match="codes of `conv/kernel` differ"):
        verify(network, trained, model, data, data.validation)


def test_a_file_with_another_bias_is_refused_and_the_first_site_named(tiny_engine, trained):
    def change(weights):
        weights[1][:] = np.roll(weights[1], 1) + 0.02

    network, data = tiny_engine.network, tiny_engine.data
    model = spoilt(qkeras_model(network, trained), "dw", change)
    with pytest.raises(ExportError, match=r"first at `dw/activation`|agrees with the searched model on"):
        verify(network, trained, model, data, data.validation)


def test_a_refused_export_leaves_no_file(tiny_engine, trained, tmp_path, monkeypatch):
    monkeypatch.setattr("mpsearch.export.keras_file.TOP1_AGREEMENT", 1.1)
    with pytest.raises(ExportError, match="agrees"):
        keras_export(tiny_engine, trained, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("option", "value"), [("affine", True), ("range", RangeRule.BATCH)])
def test_what_plain_qkeras_cannot_hold_is_refused_by_name(tiny_engine, trained, tmp_path, option, value):
    site = "conv/activation"
    config = Config({**trained, site: dataclasses.replace(trained[site], **{option: value})})
    with pytest.raises(ExportError, match=site):
        write_keras(tiny_engine.network, config, tmp_path / "model.keras")


@pytest.mark.parametrize("alpha", [Alpha.AUTO, Alpha.AUTO_PO2, Alpha.QKERAS_PO2])
def test_every_layer_kind_and_scale_mode_agrees(small_model, small_samples, tmp_path, alpha):
    activation = Alpha.AUTO if alpha is Alpha.QKERAS_PO2 else alpha
    space = Space(
        kernel=bits(3, 8, alpha=alpha), bias=bits(8, 31, alpha=alpha), activation=bits(4, 16, alpha=activation)
    )
    space.at("conv", activation=bits(6, integer=2, signed=False)).at("pw", kernel=bits(6, integer=1)).skip("pool")
    network = ElasticNetwork(small_model, space, small_samples)
    everything = whole(small_samples)
    for seed in range(3):
        config = network.space.sample(random.Random(seed))
        network.set_config(config)
        qkeras_model(network, config).save(tmp_path / "model.keras")
        reloaded = load_qmodel(str(tmp_path / "model.keras"), compile=False)
        found = verify(network, config, reloaded, everything, everything.validation)
        assert found.kernels == 5
        assert found.boundary_samples <= len(small_samples) // 10


def whole(x):
    """Samples as data, without targets."""
    split = Split(x, np.zeros(len(x)))
    return Data(split, split, split)


@pytest.mark.parametrize("width", [20, 24, 31, 32])
def test_wide_kernels_are_compared_as_finely_as_float32_holds_them(small_model, small_samples, width):
    space = Space(kernel=bits(width, alpha="auto"), activation=bits(8, alpha="auto"))
    network = ElasticNetwork(small_model, space, small_samples)
    config = network.space.uniform(width)
    network.set_config(config)
    data = whole(small_samples)
    assert verify(network, config, qkeras_model(network, config), data, data.validation).kernels == 5

    def change(weights):
        largest = np.unravel_index(np.abs(weights[0]).argmax(), weights[0].shape)
        weights[0][largest] *= 1 - max(3 * 2.0 ** (1 - width), 2.0**-20)

    with pytest.raises(ExportError, match="codes of `conv/kernel` differ"):
        verify(network, config, spoilt(qkeras_model(network, config), "conv", change), data, data.validation)


def test_samples_on_a_rounding_boundary_may_differ_and_are_counted():
    """Half of the values lie exactly between two codes; a bias of a millionth moves them to the upper one."""
    inputs = keras.Input((1,), name="input")
    model = keras.Model(inputs, keras.layers.Dense(2, name="dense")(inputs))
    model.set_weights([np.array([[1.0, 0.0]]), np.array([0.0, 100.0])])
    space = Space(
        kernel=bits(8, integer=1), activation=bits(16, integer=7)
    ).at("dense", activation=bits(12, integer=7))  # fmt: skip
    x = np.arange(64, dtype=np.float32)[:, None] / 32  # in steps of half a code
    network = ElasticNetwork(model, space, x)
    config, data = network.space.uniform(12), whole(x)
    network.set_config(config)

    def moved(by):
        def change(weights):
            weights[1][0] += by

        return spoilt(qkeras_model(network, config), "dense", change)

    assert verify(network, config, moved(0.0), data, data.validation).boundary_samples == 0
    found = verify(network, config, moved(1e-6), data, data.validation)
    assert found.boundary_samples == 16  # of 32 ties every other one rounds down to an even code
    assert found.largest_difference < 1e-4
    with pytest.raises(ExportError, match="first at `dense/activation`"):
        verify(network, config, moved(0.04), data, data.validation)
