"""README's Python does what README says."""

import re
from pathlib import Path

import keras
import numpy as np

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


def snippet(word: str) -> dict:
    """The names that README's one block of Python with this word defines."""
    (block,) = [text for text in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if word in text]
    names: dict = {}
    exec(block, names)
    return names


def test_the_layer_of_ones_own_is_quantized():
    from mpsearch import Config, QuantizerSpec, Space, bits
    from mpsearch.network.elastic import ElasticNetwork

    swish = snippet("register_layer")["Swish"]
    inputs = keras.Input((6, 6, 2), name="input")
    x = swish(name="swish")(keras.layers.Conv2D(4, 3, name="conv")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3, name="logits")(keras.layers.Flatten(name="flatten")(x)))
    model.get_layer("swish").set_weights([np.linspace(0.5, 2.0, 4)])
    samples = np.random.default_rng(0).normal(0, 1, (8, 6, 6, 2)).astype(np.float32)
    network = ElasticNetwork(model, Space(kernel=bits(2, 8), activation=bits(8)), samples)
    assert {"swish/slope", "swish/activation"} <= set(network.space.sites)
    network.set_config(None)
    np.testing.assert_allclose(network.model(samples), model(samples), atol=1e-5)
    high = network.space.uniform(8)
    network.set_config(high)
    expected = np.asarray(network.model(samples))
    network.assign_specs(Config({**high, "swish/slope": QuantizerSpec(2, high["swish/slope"].alpha)}))
    assert np.abs(np.asarray(network.model(samples)) - expected).max() > 1e-3


def test_costs_need_facts_and_a_config_alone(capsys):
    snippet("facts_of")
    spent, bits, packed, size = capsys.readouterr().out.split()
    assert (bits, size) == ("bits,", "bytes")
    assert int(spent) / 8 > int(packed) > 77_360, "8-bit kernels of 77,360 values, biases and scales"


def test_the_cost_of_ones_own_counts_wide_kernels():
    from mpsearch import Config, QuantizerSpec, facts_of, make_cost, models

    snippet("register_cost")
    facts = facts_of(models.resnet8())
    cost = make_cost("wide_kernels", facts)
    eight = {site.name: QuantizerSpec(8) for site in facts.sites}
    assert cost(Config(eight)) == 0
    assert cost(Config({**eight, "conv_0/kernel": QuantizerSpec(16), "conv_0/bias": QuantizerSpec(16)})) == 1
    assert cost.unit == "kernels"


def test_the_exported_files_run_without_mpsearch_in_under_ten_lines(tiny_engine, tmp_path, monkeypatch):
    from mpsearch.export.exporting import Options, export
    from mpsearch.export.formats import FORMATS

    config = tiny_engine.network.space.uniform(8)
    tiny_engine.network.set_config(config)
    formats = [FORMATS[name] for name in ("onnx", "litert", "keras")]
    export(tiny_engine, config, tmp_path / "exports" / "digits", formats, {}, Options(accept=0.9))
    monkeypatch.chdir(tmp_path)
    x = tiny_engine.data.inputs(tiny_engine.data.validation.x)
    ours = np.asarray(tiny_engine.network.model(x, training=False))
    blocks = {
        word: block
        for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL)
        for word in NAMED
        if word in block
    }
    assert len(blocks) == 3
    for word, block in blocks.items():
        assert len(block.strip().splitlines()) < 10
        names: dict = {"x": x}
        exec(block, names)
        scores = np.asarray(names["scores"] if "scores" in names else names["model"](x))
        np.testing.assert_allclose(scores, ours[: len(scores)], atol=0.05, err_msg=word)


NAMED = ("onnxruntime.InferenceSession", "ai_edge_litert", "load_qmodel")
