"""Exports of a task: verified, described, written whole or not at all."""

import hashlib
import json
import random

import numpy as np
import pytest

from mpsearch.costs.flash import FlashBytes
from mpsearch.errors import ConfigError, ExportError
from mpsearch.export import exporting
from mpsearch.export.exporting import Exported, Options, export
from mpsearch.export.formats import FORMATS
from mpsearch.export.verifying import Comparison, Layer

ABOUT = {"study": "tiny", "trial": 3, "weights": "trial"}


@pytest.fixture(scope="module")
def trained(tiny_engine):
    config = tiny_engine.network.space.sample(random.Random(4))
    state = tiny_engine.train(config, seed=0).state
    return config, state


@pytest.fixture
def write(tiny_engine, trained, tmp_path):
    """Exports the trained config: (names of formats, options) to the files."""
    config, state = trained
    tiny_engine.network.set_config(config)
    tiny_engine.network.load_state(state)

    def made(*names, about=ABOUT, report=lambda line: None, **options) -> list[Exported]:
        formats = [FORMATS[name] for name in names]
        return export(tiny_engine, config, tmp_path, formats, about, Options(**options), report)

    return made


def test_each_file_is_compared_in_its_runtime_and_described(write, tiny_engine, trained, tmp_path):
    config, _ = trained
    files = write("onnx", "keras", samples=100, debug=True)
    metric = tiny_engine.session(tiny_engine.task.training).evaluate(
        tiny_engine.data, tiny_engine.data.validation.spread(100)
    )["accuracy"]
    described = json.loads((tmp_path / "export.json").read_text())
    assert described["study"] == "tiny"
    assert described["fingerprint"] == config.fingerprint
    assert list(described["files"]) == ["onnx", "keras"]
    for file in files:
        content = file.path.read_bytes()
        entry = described["files"][file.format]
        assert entry["sha256"] == file.sha256 == hashlib.sha256(content).hexdigest()
        assert entry["bytes"] == file.bytes == len(content)
        assert entry["path"] == file.path.name
        assert entry["versions"]["keras"]
        found = file.comparison
        assert (found.samples, found.metric) == (100, "accuracy")
        assert found.searched == pytest.approx(metric)
        assert found.exported == pytest.approx(metric, abs=0.0201)
        assert found.top1_agreement >= 0.995
        assert found.worst_steps <= 1.001
        assert [layer.site for layer in file.layers] == [
            "input/activation", "conv/activation", "dw/activation", "logits/activation",
        ]  # fmt: skip
        assert all(layer.differing < 0.01 for layer in file.layers)
    onnx, keras = files
    assert onnx.payload == onnx.flash == FlashBytes(tiny_engine.network.facts)(config)
    assert keras.payload is None
    assert described["files"]["onnx"]["versions"]["onnxruntime"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export.json", "model.keras", "model.onnx"]


def test_files_are_not_replaced_without_force_and_formats_gather(write, tmp_path):
    write("onnx")
    with pytest.raises(ExportError, match=r"model\.onnx is there already: give --force"):
        write("keras", "onnx")
    assert not (tmp_path / "model.keras").exists()
    write("keras")
    assert list(json.loads((tmp_path / "export.json").read_text())["files"]) == ["onnx", "keras"]
    write("onnx", force=True)


def test_an_export_of_another_model_is_not_mixed_in(write, tmp_path, monkeypatch):
    write("onnx", "keras")
    with pytest.raises(ExportError, match="holds an export of another model"):
        write("qonnx", about={**ABOUT, "trial": 4})
    with monkeypatch.context() as patch:
        patch.setattr(Comparison, "fault", lambda self, least: "agrees on nothing")
        with pytest.raises(ExportError, match="agrees on nothing"):
            write("qonnx", about={**ABOUT, "trial": 4}, force=True)
    described = json.loads((tmp_path / "export.json").read_text())
    assert (described["trial"], list(described["files"])) == (3, ["onnx", "keras"])  # still there, all of it
    assert (tmp_path / "model.onnx").exists()
    write("qonnx", about={**ABOUT, "trial": 4}, force=True)
    described = json.loads((tmp_path / "export.json").read_text())
    assert (described["trial"], list(described["files"])) == (4, ["qonnx"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export.json", "model.qonnx.onnx"]


def test_a_file_that_differs_is_not_kept_and_the_layer_is_named(write, tmp_path, monkeypatch):
    import dataclasses

    made = exporting.program_of

    def spoilt(network, config):
        program = made(network, config)
        changed = []
        for operation in program.operations:
            if operation.name == "dw":
                codes = -np.roll(operation.kernel.codes, 1, axis=0)
                operation = dataclasses.replace(operation, kernel=dataclasses.replace(operation.kernel, codes=codes))
            changed.append(operation)
        return dataclasses.replace(program, operations=tuple(changed))

    monkeypatch.setattr(exporting, "program_of", spoilt)
    with pytest.raises(
        ExportError, match=r"agrees with .* on [\d.]+% of 128 .*first differ at `dw/activation`, in \d+"
    ):
        write("onnx")
    assert list(tmp_path.iterdir()) == []
    said = []
    with pytest.raises(ExportError):
        write("onnx", debug=True, report=said.append)
    assert [line.split(":")[0].strip() for line in said[1:]] == [
        "input/activation", "conv/activation", "dw/activation", "logits/activation",
    ]  # fmt: skip
    assert said[1].endswith("input/activation: 0.000% of its codes differ, by up to 0 steps")


def test_a_payload_that_the_cost_does_not_foresee_is_refused(write, tmp_path, monkeypatch):
    monkeypatch.setattr(FlashBytes, "__call__", lambda self, config: 500.0)
    with pytest.raises(ExportError, match=r"but the cost flash says 500: more than 2% off"):
        write("onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("agreement", "exported", "fault"),
    [
        (0.996, 0.800, None),
        (None, 0.8015, None),
        (0.99, 0.8, "agrees with the searched model on 99.00% of 512 samples, below 99.5%"),
        (1.0, 0.803, "has a accuracy of 0.8030, 0.30 points off the searched model's 0.8000"),
        (1.0, float("nan"), "has a accuracy of nan"),
    ],
)
def test_what_is_a_fault(agreement, exported, fault):
    found = Comparison(512, agreement, 0.0, "accuracy", 0.8, exported).fault()
    assert found is None if fault is None else fault.replace("has a ", "has an ") in found


def test_one_sample_of_few_may_differ_and_no_second():
    assert Comparison(50, 0.98, 1.0, "accuracy", 0.80, 0.78).fault() is None
    assert "agrees" in Comparison(50, 0.96, 1.0, "accuracy", 0.80, 0.80).fault()
    assert "2.10 points" in Comparison(50, 0.98, 1.0, "accuracy", 0.80, 0.779).fault()


def test_less_may_be_accepted_in_so_many_words():
    found = Comparison(500, 0.97, 3.0, "accuracy", 0.80, 0.79)
    assert "below 99.5%" in found.fault()
    assert "below 98.0%" in found.fault(0.98)
    assert found.fault(0.97) is None  # 1.2 points are then allowed
    assert "1.30 points" in Comparison(500, 0.97, 3.0, "accuracy", 0.80, 0.787).fault(0.97)
    for wrong in ({"accept": 0.0}, {"accept": 1.5}, {"samples": 49}):
        with pytest.raises(ConfigError):
            Options(**wrong)


def test_what_litert_cannot_hold_is_refused_with_the_nearest_config_or_rounded(tmp_path, monkeypatch):
    """A wider network than the tiny one's menus: 16-bit kernels and unsigned feature maps of 16 bits."""
    from mpsearch import Data, Space, Split, Task, Training, bits
    from mpsearch.searching.engine import Engine
    from mpsearch.spacefile import SpaceFile
    from tests.export.models import inputs_of, plain

    model = plain()
    x = inputs_of(model, 64)
    y = np.asarray(model(x)).argmax(axis=1)
    split = Split(x, y)
    space = Space(kernel=bits(8, 16), bias=bits(31, alpha="auto_po2"), activation=bits(8, 16))
    recipe = Training(epochs=1, batch_size=16)
    task = Task(model=lambda: model, data=lambda: Data(split, split, None), training=recipe)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    engine = Engine(SpaceFile(tmp_path / "plain.py", "", task, space))
    folder = tmp_path / "out"
    config = engine.network.space.uniform(16)
    engine.network.set_config(config)
    formats = [FORMATS["litert"]]
    with pytest.raises(ExportError) as refused:
        export(engine, config, folder, formats, {}, Options())
    message = str(refused.value)
    assert "can't hold" in message
    assert "`conv/kernel` has 16 bits, but kernels have 8 at most: 8 bits can be held" in message
    assert "`conv/activation` has unsigned codes of 16 bits" in message
    assert f"in place of {engine.costs(config).total_bits:,}" in message
    assert "--round-up exports that" in message
    assert not folder.exists()
    (file,) = export(engine, config, folder, formats, {}, Options(round_up=True, accept=0.9))
    assert file.rounded["conv/kernel"] == (16, 8)
    assert file.rounded["conv/activation"] == (16, 15)
    assert "conv/bias" not in file.rounded
    assert abs(file.payload - file.flash) <= 0.02 * file.flash + 200  # 64-bit biases of the depthwise layer
    described = json.loads((folder / "export.json").read_text())["files"]["litert"]
    assert described["rounded"]["conv/kernel"] == [16, 8]
    assert described["accepted"] == 0.9
    bits_now = {site: int(engine.network.quantizer(site).spec[0]) for site in config}
    assert set(bits_now.values()) == {16, 31}  # the searched config is set again


def test_aligned_biases_pass_the_check_of_the_payload(write):
    (file,) = write("onnx", align_biases=True, accept=0.9)
    assert file.payload == file.flash > file.searched_flash


@pytest.mark.parametrize("seed", range(3))
def test_random_configs_are_exported_and_verified_in_every_format(seed, tiny_engine, tmp_path):
    config = tiny_engine.network.space.sample(random.Random(seed))
    tiny_engine.network.set_config(config)
    tiny_engine.network.load_state(tiny_engine.train(config, seed=seed).state)
    files = export(tiny_engine, config, tmp_path, list(FORMATS.values()), {}, Options(accept=0.95))
    assert [file.format for file in files] == list(FORMATS)
    for file in files:
        assert file.comparison.top1_agreement >= (0.95 if file.format == "litert" else 0.98)


def test_a_space_narrowed_for_litert_holds_only_what_its_files_hold():
    from mpsearch.costs.profile import load_profile
    from mpsearch.export.building import program_of
    from mpsearch.export.litert_limits import obstacles
    from mpsearch.menu import bits
    from mpsearch.network.elastic import ElasticNetwork
    from mpsearch.space import Multiplier, Space
    from tests.export.models import MODELS, inputs_of

    profile = load_profile("litert")
    for build in MODELS.values():
        model = build()
        space = Space(
            kernel=bits(2, 4, 8, 16), bias=bits(16, 31, alpha="auto_po2"), activation=bits(2, 4, 8, 12, 15, 16)
        )
        narrowed = space.on_device(Multiplier(profile.name, profile.pairs, profile.widths, profile.aligned_biases))
        network = ElasticNetwork(model, narrowed, inputs_of(model, 16))
        for seed in range(40):
            config = network.space.sample(random.Random(seed))
            network.set_config(config)
            assert obstacles(program_of(network, config)) == []


def test_the_first_difference_is_told():
    layers = [Layer("a/activation", 0.0, 0.0), Layer("b/activation", 0.25, 3.0), Layer("c/activation", 0.5, 9.0)]
    assert exporting.first_difference(layers) == (
        "the two first differ at `b/activation`, in 25.00% of its values by up to 3 steps"
    )
    assert "no feature map differs" in exporting.first_difference(layers[:1])
