"""Objectives, limits and fronts, typed as a user would."""

import json
import shutil
from pathlib import Path

import pytest

from mpsearch.study import open_study

TINY = Path(__file__).resolve().parents[1] / "tiny.py"


@pytest.fixture
def folder(tmp_path, tiny_engine, monkeypatch):
    """A folder with a space file of its own; float weights come from the session's cache."""
    shutil.copy(TINY, tmp_path / "mine.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mpsearch.creation.Engine", lambda *given: tiny_engine)
    return tmp_path


def test_limits_are_shown_kept_and_refused(mpsearch, folder):
    words = ("study", "create", "--space", "mine.py", "--sampler", "random")
    code, out, _ = mpsearch(*words, "--limit", "flash=900", "--limit", "ram=1KB", "--limit", "accuracy=0.3")
    assert code == 0
    assert [line.split()[:3] for line in out.splitlines() if line.startswith(("  flash", "  ram"))] == [
        ["flash", "900", "bytes"],
        ["ram", "1.0", "KB"],
    ]
    code, out, err = mpsearch("study", "run", "mine", "--trials", "2")
    assert code == 0
    assert ", flash " in out
    assert all(record.costs["flash"] <= 900 for record in open_study("mine").records())
    code, out, _ = mpsearch("study", "show", "mine")
    assert "flash ≤ 900 bytes, ram ≤ 1.0 KB, accuracy ≥ 0.3" in out

    code, _, err = mpsearch("study", "enqueue", "mine", "--uniform", "8")
    assert (code, "error: uniform 8 is over budget, and would never be trained: flash 1.0 KB > 900 bytes" in err) == (
        1,
        True,
    )
    code, _, err = mpsearch(*words, "--name", "no", "--uniform", "8", "--limit", "flash=900")
    assert (code, "uniform 8 is over budget" in err) == (1, True)
    code, _, err = mpsearch(*words, "--name", "no", "--limit", "flash=300")
    assert code == 1
    assert "  flash: the cheapest config has 616 bytes > 300 bytes, most of it logits/kernel (400 bytes)" in err
    code, out, _ = mpsearch("study", "list", "--json")
    assert [study["study"] for study in json.loads(out)] == ["mine"]


def test_a_front_is_searched_for_and_shown(mpsearch, folder):
    words = ("--objective", "pareto", "--cost", "flash,energy", "--uniform", "8", "--uniform", "4")
    assert mpsearch("study", "create", "--space", "mine.py", *words)[0] == 0
    assert mpsearch("study", "run", "mine", "--trials", "4")[0] == 0
    code, out, _ = mpsearch("study", "pareto", "mine")
    assert code == 0
    assert "configs are on the front of accuracy and flash and energy; hypervolume 0." in out
    assert out.count("knee") == 2, "one row, and the line below"
    found = json.loads(mpsearch("study", "pareto", "mine", "--json")[1])
    records = {record.number: record for record in open_study("mine").records()}
    for trial in found["trials"]:
        record = records[trial["trial"]]
        assert trial["costs"] == {"flash": record.costs["flash"], "energy": record.costs["energy"]}
        assert trial["metric"] == record.metric
        others = [r for r in records.values() if r.number != record.number]
        surpassed = any(
            (r.metric, -r.costs["flash"], -r.costs["energy"]) != (record.metric, *(-c for c in trial["costs"].values()))
            and r.metric >= record.metric
            and r.costs["flash"] <= record.costs["flash"]
            and r.costs["energy"] <= record.costs["energy"]
            for r in others
        )
        assert trial["front"] == (not surpassed)
    code, out, _ = mpsearch("study", "pareto", "mine", "--cost", "ram", "--csv", "front.csv")
    assert code == 0
    lines = (folder / "front.csv").read_text().splitlines()
    assert lines[0] == "trial,accuracy,ram (bytes),score,front,origin"
    assert len(lines) == 1 + len(found["trials"])
    code, _, err = mpsearch("study", "pareto", "mine", "--cost", "flsh")
    assert (code, "there is no cost 'flsh'; did you mean 'flash'?" in err) == (1, True)


def test_a_new_budget_is_answered_from_the_trials_and_named_what_comes_next(mpsearch, folder):
    mpsearch("study", "create", "--space", "mine.py", "--uniform", "8", "--uniform", "4")
    assert mpsearch("study", "run", "mine", "--trials", "2")[0] == 0
    code, out, _ = mpsearch("study", "best", "mine", "--limit", "flash=800")
    assert code == 0
    assert "1 of 2 configs are within flash=800" in out
    assert "to be trained next: trial" in out
    code, out, _ = mpsearch("study", "best", "mine", "--limit", "flash=800", "--json")
    said = json.loads(out)
    assert [trial["number"] for trial in said["inside"]] == [1]
    (folder / "next.json").write_text(out)
    assert mpsearch("study", "enqueue", "mine", "--config", "next.json")[0] == 0
    code, out, _ = mpsearch("study", "importance", "mine")
    assert code == 0
    assert "by sensitivities and 2 trainings" in out
    tensors = json.loads(mpsearch("study", "importance", "mine", "--json")[1])["tensors"]
    assert [t["loss"] for t in tensors] == sorted((t["loss"] for t in tensors), reverse=True)
    assert all(0 <= t["saved"]["bits"] < 1 for t in tensors)
    code, out, _ = mpsearch("study", "best", "mine", "--top", "2")
    assert (code, "ranked by the score that is believed" in out) == (0, True)
    assert open_study("mine").frozen_trials()[-1].user_attrs["origin"] == "next.json"
    code, _, err = mpsearch("study", "best", "mine", "--limit", "flash=100")
    assert (code, "no config of the space meets these limits" in err) == (1, True)
    code, _, err = mpsearch("study", "best", "mine", "--limit", "flash")
    assert (code, "a limit is written as flash=2MB or accuracy=0.8" in err) == (1, True)


def test_sensitivities_are_measured_and_answer_budgets(mpsearch, folder):
    assert mpsearch("study", "create", "--space", "mine.py", "--sampler", "auto")[0] == 0
    code, _, err = mpsearch("solve", "mine", "--limit", "flash=900")
    assert (code, err) == (1, "error: the sensitivities of `mine` aren't known yet: mpsearch sensitivity mine\n")
    code, _, err = mpsearch("study", "importance", "mine")
    assert (code, "aren't known yet: mpsearch sensitivity mine" in err) == (1, True)
    code, out, err = mpsearch("sensitivity", "mine", "--samples", "64", "--figure", "figure.html")
    assert code == 0
    assert "sensitivity of 10/10 tensors" in err
    assert (folder / "figure.html").stat().st_size > 10_000
    rows = [line.split() for line in out.splitlines() if "/" in line]
    assert [row[0] for row in rows] == [choice["choice"] for choice in _sensitivities(mpsearch)]
    assert sorted(int(row[-1]) for row in rows) == list(range(1, len(rows) + 1))
    assert "measured in " in out
    code, out, err = mpsearch("study", "run", "mine", "--trials", "2")
    assert code == 0
    assert "[2/2]" in out
    code, out, _ = mpsearch("solve", "mine", "--limit", "flash=900")
    assert code == 0
    assert "flash" in out
    assert "accuracy after a trial's training, by the sensitivities and 2 trainings: 0." in out
    code, out, _ = mpsearch("solve", "mine", "--limit", "flash=900", "--json")
    (folder / "next.json").write_text(out)
    assert json.loads(out)["costs"]["flash"] <= 900
    assert mpsearch("study", "enqueue", "mine", "--config", "next.json")[0] == 0
    code, _, err = mpsearch("solve", "mine", "--limit", "flash=1")
    assert (code, "no config of the space meets these limits" in err) == (1, True)


def test_the_sampler_measures_sensitivities_itself(mpsearch, folder):
    assert mpsearch("study", "create", "--space", "mine.py")[0] == 0
    assert ", believed, 0" in mpsearch("study", "show", "mine")[1]
    code, _, err = mpsearch("study", "run", "mine", "--trials", "1")
    assert code == 0
    shown = mpsearch("study", "show", "mine", "--trial", "0")[1]
    assert "proposed as the best guess by sensitivities: accuracy 0." in shown
    assert "sensitivities measured in " in err
    assert "; the largest: " in err


def _sensitivities(mpsearch):
    return json.loads(mpsearch("sensitivity", "mine", "--samples", "64", "--json")[1])


def test_a_device_takes_widths_off_the_menus(mpsearch, tmp_path, monkeypatch):
    shutil.copy(TINY, tmp_path / "mine.py")
    monkeypatch.chdir(tmp_path)
    code, out, _ = mpsearch("study", "create", "--space", "mine.py", "--profile", "stm32l4r9", "--limit", "ram=1MB")
    assert code == 0
    assert "STM32L4R9 multiplies 4·8, 8·8, 8·16 bits (kernel · feature map): other widths are taken off " in out
    menus = {tuple(line.split()[:2]): line.split()[-2] for line in out.splitlines() if line.endswith(" auto")}
    assert set(menus.values()) == {"4/8"}, "kernels had 2/4/8"
    assert mpsearch("study", "run", "mine", "--trials", "3")[0] == 0
    study = open_study("mine")
    kernels = {
        spec.bits for record in study.records() for site, spec in record.config.items() if site.endswith("/kernel")
    }
    assert kernels
    assert kernels <= {4, 8}
    assert {record.costs["unsupported"] for record in study.records()} == {0.0}
    # what the study was made of is the same for each command that looks
    assert mpsearch("study", "importance", "mine")[0] == 0
    code, out, _ = mpsearch("sensitivity", "mine", "--json")
    assert code == 0
    known = {row["choice"]: row["specs"] for row in json.loads(out)}
    assert known["logits/kernel"] == ["4 auto", "8 auto"]
    # whoever allows such kernels keeps their widths
    words = ("--profile", "stm32l4r9", "--limit", "unsupported=2", "--name", "some")
    code, out, _ = mpsearch("study", "create", "--space", "mine.py", *words)
    assert (code, "2/4/8 auto" in out) == (0, True)
