"""Tests of specs and configs: what is refused, JSON, fingerprints."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpsearch.config import Alpha, Config, QuantizerSpec, RangeRule, Role
from mpsearch.errors import ConfigError, MpsearchError

SITES = [f"{layer}/{tensor}" for layer in ("conv_0", "add") for tensor in ("kernel", "bias", "activation")]


@st.composite
def specs(draw):
    alpha = draw(st.sampled_from(Alpha))
    affine = alpha in (Alpha.AUTO, Alpha.AUTO_PO2) and draw(st.booleans())
    return QuantizerSpec(
        bits=draw(st.integers(2, 32)),
        alpha=alpha,
        integer=draw(st.integers(-4, 8)) if alpha is Alpha.FIXED else None,
        signed=None if affine else draw(st.sampled_from([None, True, False])),
        affine=affine,
        range=RangeRule.MOVING if alpha is Alpha.FIXED else draw(st.sampled_from(RangeRule)),
    )


configs = st.dictionaries(st.sampled_from(SITES), specs(), max_size=4).map(Config)


@pytest.mark.parametrize("bits", [1, 0, -8, 33, 8.0, "8", True, None])
def test_widths_other_than_2_to_32_are_refused(bits):
    with pytest.raises(ConfigError, match=r"integer from 2 to 32 bits, but got " + repr(bits)):
        QuantizerSpec(bits)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": "auto_p2"}, r"one of auto, auto_po2, qkeras_po2, fixed, aligned, but got 'auto_p2'"),
        ({"range": "epoch"}, r"one of \['moving', 'batch'\], but got 'epoch'"),
        ({"alpha": "fixed"}, '`integer` and alpha="fixed" go together, but got integer=None, alpha="fixed"'),
        ({"integer": 3}, '`integer` and alpha="fixed" go together, but got integer=3, alpha="auto"'),
        ({"alpha": "fixed", "integer": 3, "affine": True}, 'affine codes need .*, but got "fixed"'),
        ({"alpha": "fixed", "integer": 3, "range": "batch"}, "fixed-point codes know no range"),
        ({"affine": True, "signed": True}, "affine codes are unsigned .* leave out signed=True"),
        ({"alpha": "qkeras_po2", "affine": True}, 'affine codes need .*, but got "qkeras_po2"'),
    ],
)
def test_options_that_do_not_exist_or_exclude_each_other_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        QuantizerSpec(8, **arguments)


@pytest.mark.parametrize(
    "arguments", [{"signed": "no"}, {"signed": 1}, {"affine": 1}, {"alpha": "fixed", "integer": 1.5}]
)
def test_options_of_a_wrong_type_are_refused(arguments):
    with pytest.raises(ConfigError, match="but got"):
        QuantizerSpec(8, **arguments)


def test_names_of_modes_become_members():
    spec = QuantizerSpec(8, alpha="auto_po2", range="batch")
    assert spec.alpha is Alpha.AUTO_PO2
    assert spec.range is RangeRule.BATCH
    assert spec == QuantizerSpec(8, Alpha.AUTO_PO2, range=RangeRule.BATCH)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (QuantizerSpec(8), "8 auto"),
        (QuantizerSpec(8, "fixed", 3, signed=False), "8 fixed.3 unsigned"),
        (QuantizerSpec(4, "auto_po2", signed=True, range="batch"), "4 auto_po2 signed range=batch"),
        (QuantizerSpec(4, affine=True), "4 auto affine"),
    ],
)
def test_specs_print_briefly(spec, text):
    assert str(spec) == text


def test_a_spec_leaves_defaults_out_of_its_json():
    assert QuantizerSpec(8).to_json() == {"bits": 8, "alpha": "auto"}


@given(specs())
def test_a_spec_survives_json(spec):
    assert QuantizerSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.mark.parametrize("data", [{}, {"alpha": "auto"}, {"bits": 8, "width": 3}, 8, [8, "auto"]])
def test_malformed_json_of_a_spec_is_refused(data):
    with pytest.raises(ConfigError, match=r"needs `bits` and may have .* but got"):
        QuantizerSpec.from_json(data)


@given(configs)
def test_a_config_survives_json(config):
    back = Config.from_json(json.loads(json.dumps(config.to_json())))
    assert back == config
    assert list(back) == list(config)
    assert back.fingerprint == config.fingerprint
    assert hash(back) == hash(config)


@given(configs, configs)
def test_fingerprints_are_equal_exactly_when_configs_are(a, b):
    assert (a.fingerprint == b.fingerprint) == (a == b)


@given(configs)
def test_order_of_sites_does_not_change_a_config(config):
    turned = Config(dict(reversed(list(config.items()))))
    assert turned == config
    assert turned.fingerprint == config.fingerprint


def test_a_fingerprint_is_the_same_in_every_process():
    config = Config({"conv_0/kernel": QuantizerSpec(8), "conv_0/bias": QuantizerSpec(16, "auto_po2")})
    assert config.fingerprint == "f1b946c54a1b5d72"
    assert repr(config) == "Config(2 sites, f1b946c54a1b5d72)"


def test_a_config_is_a_mapping_apart_from_its_source():
    source = {"a/kernel": QuantizerSpec(8)}
    config = Config(source)
    source["b/kernel"] = QuantizerSpec(4)
    assert dict(config) == {"a/kernel": QuantizerSpec(8)}
    assert config != {"a/kernel": QuantizerSpec(8)}
    with pytest.raises(TypeError):
        config["a/kernel"] = QuantizerSpec(4)


def test_a_config_of_anything_but_specs_is_refused():
    with pytest.raises(ConfigError, match="site `a/kernel` needs a QuantizerSpec, but got 8"):
        Config({"a/kernel": 8})
    with pytest.raises(ConfigError, match="a config maps sites to specs, but got list"):
        Config.from_json([])


def test_with_alpha_replaces_one_mode_only():
    config = Config({"a": QuantizerSpec(4), "b": QuantizerSpec(8, "fixed", 2), "c": QuantizerSpec(8, "auto_po2")})
    changed = config.with_alpha(Alpha.AUTO, Alpha.AUTO_PO2)
    assert changed == Config({**config, "a": QuantizerSpec(4, "auto_po2")})
    assert config["a"].alpha is Alpha.AUTO


def test_errors_are_also_the_builtins_they_refine():
    assert issubclass(ConfigError, MpsearchError)
    assert issubclass(ConfigError, ValueError)
    assert [role.value for role in Role] == ["kernel", "bias", "activation"]


def test_alpha_is_an_enumeration_of_the_modes():
    assert [alpha.value for alpha in Alpha] == ["auto", "auto_po2", "qkeras_po2", "fixed", "aligned"]
