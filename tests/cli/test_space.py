"""`mpsearch space check`: what a space file means, without training."""

import json
import sys
from pathlib import Path

import pytest

from mpsearch.cli.app import main

TINY = Path(__file__).resolve().parents[1] / "tiny.py"


@pytest.fixture
def check(monkeypatch, capsys, tmp_path):
    """Checks a space file of the tiny task with further lines: (exit code or message, standard output)."""

    def run(lines, *options):
        (tmp_path / "mine.py").write_text(TINY.read_text() + lines)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["mpsearch", "space", "check", "mine.py", *options])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        return code, capsys.readouterr().out

    return run


def test_it_prints_table_size_costs_and_notes(check):
    lines = 'space.limit("kernel", "<=", "activation").skip("conv", roles=["bias"])\n'
    code, out = check(lines)
    assert code == 0
    text = " ".join(out.split())
    assert "mine.py: tiny" in text
    assert "conv kernel 3×3×1×8 72 2/4/8 auto" in text
    assert "conv bias 8 8 float" in text
    assert 'limit("kernel", "<=", "activation"): conv/kernel <= conv/activation' in text
    assert "9 sites, 9 choices, 1,000 configs" in text
    assert "note: 1 site stays in float, and count 32 bits: conv/bias" in text
    code, out = check(lines, "--json")
    data = json.loads(out)
    assert (code, data["size"], data["choices"]) == (0, "1000", 9)
    costs = {row["config"]: row for row in data["costs"]}
    assert list(costs) == ["reference", "dearest", "cheapest"]
    # input 64; conv: kernel 72, bias 8, map 3·3·8; dw: the same map; logits: kernel 720, bias 10, map 10
    kernels, biases, maps = 72 + 72 + 720, 8 + 10, 64 + 72 + 72 + 10
    ends = 8 * 64 + 8 * 10
    assert costs["dearest"]["parameter_bits"] == 8 * kernels + 16 * biases + 32 * 8
    assert costs["cheapest"]["parameter_bits"] == 2 * kernels + 8 * biases + 32 * 8
    assert costs["dearest"]["activation_bits"] == 8 * maps + ends
    assert costs["cheapest"]["activation_bits"] == 4 * maps + ends
    assert costs["reference"]["total_bits"] == 16 * kernels + 31 * (biases + 8) + 16 * maps + ends
    assert costs["reference"]["delta"] == 0 < costs["dearest"]["delta"] < costs["cheapest"]["delta"]


def test_a_contradiction_is_an_error(check):
    code, out = check('space.pin("conv", kernel=5)\n')
    assert code == (
        'error: pin("conv", kernel=5): `conv/kernel` may be one of 2/4/8 auto, but is pinned to 5 auto; '
        "widen its menu with at()"
    )
    assert not out


def test_missing_data_and_weights_are_notes(check):
    lines = (
        "from dataclasses import replace\n"
        "from mpsearch.errors import DataMissingError\n"
        "def missing():\n    raise DataMissingError('nowhere to be found')\n"
        "task = replace(task, data=missing, weights='none.h5')\n"
    )
    code, out = check(lines, "--json")
    assert code == 0
    notes = json.loads(out)["notes"]
    assert notes[0].startswith("the data is missing, so inputs are taken to have values below zero: nowhere to be")
    assert notes[1].startswith("a study can't run yet: there is no weights file `none.h5`")
