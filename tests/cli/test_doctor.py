"""`mpsearch doctor`, typed as a user would."""

import json


def test_the_doctor_tells_what_is_there(mpsearch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code, out, _ = mpsearch("doctor")
    assert code == 0
    assert "no problem" in out
    assert "on tensorflow" in out

    monkeypatch.setenv("MPSEARCH_DATA", str(tmp_path / "nowhere"))
    code, out, _ = mpsearch("doctor", "--json")
    assert code == 1
    assert [check["name"] for check in json.loads(out) if check["verdict"] == "problem"] == ["data folder"]
