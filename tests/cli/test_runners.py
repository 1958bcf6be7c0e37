"""Every way to run trials, typed as a user would, on one study: processes, independent workers, Ray, one process."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from mpsearch.records import State
from mpsearch.study import open_study
from tests.signals import heed_ctrl_c

ROOT = Path(__file__).resolve().parents[2]
MPSEARCH = [sys.executable, "-c", "from mpsearch.cli.app import main; main()"]


@pytest.fixture
def start():
    """Starts commands; those that are left when the test ends are killed."""
    started = []

    def begin(*words):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "preexec_fn": heed_ctrl_c}
        started.append(subprocess.Popen([*MPSEARCH, *words], env=environment, **options))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def said(process):
    """What a command printed, when it has ended well."""
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return out, errors


def test_processes_workers_and_ray_work_on_one_study_side_by_side_and_in_turns(
    mpsearch, start, tiny_engine, tmp_path, monkeypatch
):
    pytest.importorskip("ray", reason="ray isn't installed")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "width.txt").write_text("8")
    text = (ROOT / "tests" / "tiny.py").read_text()
    read = 'from pathlib import Path\n\nassert Path(__file__).with_name("width.txt").read_text() == "8"\n'
    (tmp_path / "mine.py").write_text(f"{text}\n{read}assert Path('width.txt').exists()\n")
    assert mpsearch("study", "create", "--space", "mine.py")[0] == 0  # tpe
    processes = start("study", "run", "mine", "--trials", "6", "--jobs", "2")
    worker = start("worker", "mine", "--trials", "6")
    out, errors = said(processes)
    assert "mine: best" in out
    assert "starting 2 processes with" in errors
    assert "mine: best" in said(worker)[0]
    on_ray = start("study", "run", "mine", "--trials", "8", "--ray", "--cpus", "1", "--scheduler", "asha")
    out, errors = said(on_ray)
    assert "[8/8] trial" in out + errors
    assert mpsearch("study", "run", "mine", "--trials", "8")[0] == 0
    study = open_study("mine")
    records = study.records()
    states = Counter(record.state for record in records)
    assert states[State.COMPLETE] + states[State.PRUNED] == 8
    assert not states[State.RUNNING]
    trained = [r.fingerprint for r in records if r.state is State.COMPLETE and r.answered_from is None]
    assert len(set(trained)) == len(trained)
    holders = {trial.user_attrs["holder"]["token"] for trial in study.frozen_trials() if trial.user_attrs.get("holder")}
    assert len(holders) >= 2
