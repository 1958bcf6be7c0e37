"""AutoQKeras configurations become space files that mean the same."""

import re

import keras
import pytest
from keras import layers

from mpsearch.autoqkeras import convert
from mpsearch.errors import ConfigError, MpsearchError
from mpsearch.menu import bits
from mpsearch.network.sites import facts_of

MENUS = {
    "kernel": {f"quantized_bits({b},0,1,1,alpha='auto')": b for b in (4, 8, 16)},
    "bias": {f"quantized_bits({b},0,1,1,alpha='auto_po2')": b for b in (16, 31)},
    "activation": {f"quantized_relu({b},3)": b for b in (4, 8, 16)},
    "linear": {"quantized_bits(8,8,1,1,alpha=1.0)": 8},
}
"""As in AutoQKeras's own examples, and in the runs that mpsearch is compared with."""
GOAL = {
    "type": "bits",
    "params": {"delta_p": 8.0, "delta_n": 6.0, "rate": 2.0, "stress": 1.5, "input_bits": 8, "output_bits": 4,
               "ref_bits": 16, "config": {"default": ["parameters", "activations"]}},
}  # fmt: skip


def model():
    inputs = keras.Input((8, 8, 3), name="input")
    x = layers.Conv2D(4, 3, name="conv2d_0")(inputs)
    x = layers.Activation("relu", name="act_0")(layers.BatchNormalization(name="bn_0")(x))
    x = layers.Conv2D(4, 3, activation="relu", name="conv2d_1")(x)
    return keras.Model(inputs, layers.Dense(3, name="dense")(layers.Flatten(name="flat")(x)), name="small")


def made(given):
    found = convert(given, "run_config.json")
    names: dict = {}
    exec(compile(found.text, "space.py", "exec"), names)
    return names, found


def test_menus_and_goal_are_the_same():
    names, found = made({"quantization_config": MENUS, "limit": {}, "goal": GOAL})
    space = names["space"].resolve(facts_of(model()))
    assert space.menus["conv2d_0/kernel"] == bits(4, 8, 16, alpha="auto")
    assert space.menus["dense/bias"] == bits(16, 31, alpha="auto_po2")
    assert space.menus["conv2d_0/activation"] == bits(4, 8, 16, integer=3, signed=False)
    factor, reference = names["forgiving"], names["reference"]
    assert (factor.delta_p, factor.delta_n, factor.rate, factor.stress) == (8.0, 6.0, 2.0, 1.5)
    assert (reference.kernel, reference.bias, reference.activation) == (16, 16, 16)
    assert (reference.input, reference.output) == (8, 4)
    assert [note.split(" ")[0] for note in found.notes] == ["linear"]
    with pytest.raises(MpsearchError, match="float Keras model"):
        names["task"].model()


def test_limits_are_caps_and_menus():
    limit = {
        "Dense": [8, 16, 4],
        "Conv2D": [8, 31, 16],
        "Activation": [8],
        "BatchNormalization": [],
        "^conv2d_[12]$": [["quantized_bits(4,0,1,1,alpha='auto')"], 16, 8],
    }
    names, found = made({"quantization_config": MENUS, "limit": limit})
    space = names["space"].resolve(facts_of(model()))
    widths = {site: menu.widths for site, menu in space.menus.items()}
    assert widths["dense/kernel"] == (4, 8)
    assert widths["dense/bias"] == (16,)
    assert widths["dense/activation"] == (4,)
    assert widths["conv2d_0/kernel"] == (4, 8)
    assert widths["conv2d_0/bias"] == (16, 31)
    assert widths["conv2d_0/activation"] == (4, 8)  # behind its activation layer
    assert widths["conv2d_1/kernel"] == (4,)
    assert widths["conv2d_1/bias"] == (16,)
    assert widths["conv2d_1/activation"] == (4, 8)
    assert any("BatchNorms are folded" in note for note in found.notes)


@pytest.mark.parametrize(
    ("text", "menu"),
    [
        ("quantized_bits(4,0,1)", "bits(4, integer=0)"),
        ("quantized_bits(4,2,1,1,alpha=1.0)", "bits(4, integer=2)"),
        ("quantized_bits(bits=6,integer=1,alpha='auto_po2')", 'bits(6, alpha="auto_po2")'),
        ("quantized_linear(5,1)", "bits(5, integer=1)"),
        ("quantized_bits", "bits(8, integer=0)"),
    ],
)
def test_quantizers(text, menu):
    found = convert({"quantization_config": {"kernel": {text: 4}}}, "x.json")
    assert f"kernel={menu}," in found.text


def test_several_scales_become_one_menu():
    kernel = {"quantized_bits(4,0,1)": 4, "quantized_bits(4,0,1,1,alpha='auto_po2')": 4, "quantized_bits(8,2,1)": 8}
    names, found = made({"quantization_config": {"kernel": kernel}})
    assert names["space"].resolve(facts_of(model())).menus["dense/kernel"] == bits(4, 8, alpha=["auto", "auto_po2"])
    assert any("becomes auto" in note for note in found.notes)
    assert any("each width comes with each of the scale modes" in note for note in found.notes)


def test_what_has_no_counterpart_is_named():
    config = {
        "kernel": {"binary": 1, "ternary": 2, "quantized_bits(1,1,1)": 1, "quantized_bits(4,0,1)": 4},
        "bias": {"quantized_po2(4,8)": 4},
    }
    found = convert(
        {
            "quantization_config": config,
            "goal": {"type": "energy", "params": {"process": "horowitz"}},
            "tune_filters": "layer",
            "novel": 1,
        },
        "x",
    )
    said = "\n".join(found.notes)
    for text in (
        "binary",
        "ternary",
        "quantized_bits(1,1,1)",
        "quantized_po2(4,8)",
        "--cost energy",
        "tune_filters",
        "novel",
        "goal.params: process",
    ):
        assert text in said
    assert "bias: no quantizer of its menu exists in mpsearch, so it stays float" in said
    assert "bias=" not in found.text.split("Space(")[1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"limit": {}}, "must be a JSON object with quantization_config"),
        ([1], "must be a JSON object"),
        ({"quantization_config": {"kernel": {"binary": 1}}}, "no quantizer of `quantization_config` exists"),
        ({"quantization_config": {"kernel": {"quantized_bits(4": 1}}}, "isn't a quantizer"),
        ({"quantization_config": MENUS, "limit": {"Dense": [1, 2]}}, "one, three or four entries"),
        (
            {"quantization_config": MENUS, "limit": {"Dense": ["8", 16, 8]}},
            "widths or lists of quantizers, but has '8'",
        ),
        ({"quantization_config": MENUS, "limit": 3}, "`limit` must be an object"),
    ],
)
def test_bad_input_is_refused(given, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        convert(given, "x.json")
