"""The study of powers of two: a small version of each of its runs, and its page."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

STUDY = Path(__file__).resolve().parents[1] / "studies" / "auto_po2"


def script(path):
    spec = importlib.util.spec_from_file_location(f"study_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def test_the_page_is_that_of_the_committed_numbers():
    assert script(STUDY.parent / "make_auto_po2.py").page() == (STUDY / "RESULTS.md").read_text()


def test_qkeras_loses_small_weights_at_many_bits_and_the_best_power_of_two_does_not():
    rows = script(STUDY / "reproducer.py").measured((8, 16), (0.3, 0.05, 0.01))
    snr = {(row["largest"], row["bits"], row["rule"]): row["snr_db"] for row in rows}
    zeros = {(row["largest"], row["bits"], row["rule"]): row["zeros"] for row in rows}
    for largest in (0.05, 0.01):  # the floor: more bits make it worse
        assert snr[largest, 16, "integer = bits"] < snr[largest, 8, "integer = bits"] - 20
    assert zeros[0.01, 16, "integer = bits"] > 0.9
    assert snr[0.3, 16, "integer = 0"] < snr[0.3, 16, "best power of two"] - 50  # the clipping optimum
    for largest in (0.3, 0.05, 0.01):
        assert snr[largest, 16, "best power of two"] > 6.02 * 16 - 12


def test_the_engine_s_powers_of_two_are_the_best_ones():
    reproducer = script(STUDY / "reproducer.py")
    from mpsearch.quantizers.scales import auto_po2_scale, signed_limit, symmetric_codes

    for largest in (0.3, 0.01):
        w = reproducer.kernel(largest)
        limit = signed_limit(16)
        scale = auto_po2_scale(w, limit, (0, 1, 2))
        ours = np.asarray(symmetric_codes(w, scale, limit), np.float64) * np.asarray(scale)
        np.testing.assert_allclose(np.sum((ours - w) ** 2), np.sum((reproducer.best_values(w, 16) - w) ** 2), rtol=1e-4)


@pytest.fixture
def train(monkeypatch, shared):
    """The script of the trainings; what its variants change is put back afterwards."""
    from mpsearch.network import elastic

    monkeypatch.setenv("MPSEARCH_DATA", str(shared))
    monkeypatch.setattr(elastic, "WeightQuantizer", elastic.WeightQuantizer)
    monkeypatch.syspath_prepend(str(STUDY))
    return script(STUDY / "train.py")


@pytest.mark.parametrize(
    ("rule", "width", "l2"),
    [
        ("auto_po2", 16, True),
        ("qkeras, integer = bits", 16, False),
        ("auto_po2, frozen", 4, True),
        ("auto", "mixed", True),
    ],
)
def test_a_small_training_of_each_kind(train, rule, width, l2):
    (row,) = train.train([train.Run("resnet8", rule, width, l2)], small=True)
    assert row["test"] > 0.5
    assert len(row["curve"]) == len(row["watched"]) == 1
    assert row["after"]["snr_db"] > 10
    if rule == "qkeras, integer = bits":
        assert row["before"]["snr_db"] < 40
    if rule == "auto_po2":
        assert row["before"]["snr_db"] > 80
    if rule == "auto_po2, frozen":
        assert row["watched"][0]["moves"] == 0.0


@pytest.mark.parametrize("rule", ["QKeras auto_po2, integer = bits", "best power of two"])
def test_a_small_training_from_random_weights(rule, monkeypatch, shared):
    monkeypatch.setenv("MPSEARCH_DATA", str(shared))
    scratch = script(STUDY / "scratch.py")
    row = scratch.trained(scratch.Run("resnet8", rule, 16, 1e-4), epochs=1, train=64, validation=32)
    first, last = row["curve"]
    assert np.isfinite(last["loss"])
    assert (first["snr_db"] > 80) == (rule == "best power of two")
    assert (first["zeros"] > 0.01) == (rule != "best power of two")


def test_scale_modes_are_the_choice_and_multiplications_the_price():
    from mpsearch.config import Alpha
    from mpsearch.costs.registry import make_cost
    from mpsearch.network.sites import facts_of
    from mpsearch.spacefile import load_space_file

    file = load_space_file(STUDY / "resnet8_scales.py")
    facts = facts_of(file.task.build(), True)
    space = file.space.resolve(facts)
    assert len(space.free) == 25
    auto = space.uniform(4)
    rescaling = make_cost("rescaling", facts)
    assert {auto[choice.name].alpha for choice in space.free} == {Alpha.AUTO}
    assert rescaling(auto) > 100_000
    assert rescaling(auto.with_alpha(Alpha.AUTO, Alpha.AUTO_PO2)) == 0
