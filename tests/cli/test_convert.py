"""`mpsearch convert-autoqkeras`, typed as a user would."""

import json

CONFIG = {
    "quantization_config": {"kernel": {"quantized_bits(4,0,1,1,alpha='auto')": 4, "binary": 1}},
    "limit": {"Dense": [8, 16, 8]},
    "goal": {"type": "bits", "params": {"delta_p": 8.0, "ref_bits": 8}},
}


def test_a_configuration_becomes_a_space_file(mpsearch, tmp_path):
    file, out = tmp_path / "config.json", tmp_path / "space.py"
    file.write_text(json.dumps(CONFIG))
    code, printed, err = mpsearch("convert-autoqkeras", file)
    assert code == 0
    assert printed.startswith('"""Made of the AutoQKeras configuration config.json')
    assert "note: kernel: binary has no counterpart" in err
    code, _, err = mpsearch("convert-autoqkeras", file, "--out", out)
    assert code == 0
    assert out.read_text() == printed
    assert f"mpsearch space check {out}" in err
    code, _, err = mpsearch("convert-autoqkeras", file, "--out", out)
    assert code == 1
    assert "give --force" in err
    code, _, err = mpsearch("space", "check", out)
    assert code == 1
    assert "data() of this space file is empty" in err
    file.write_text("{")
    code, _, err = mpsearch("convert-autoqkeras", file)
    assert code == 1
    assert "must be a JSON file" in err
