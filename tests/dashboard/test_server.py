"""The dashboard's server, asked as a browser asks, and by a browser."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from mpsearch.dashboard import server
from mpsearch.dashboard.notes import LINE
from mpsearch.errors import MissingPackageError, StudyError
from mpsearch.records import State, TrialRecord
from tests.browser import look

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def study(tiny_study, tiny_engine):
    made = tiny_study("mine")
    asked = made.ask(tiny_engine.network.space)
    costs = tiny_engine.costs(asked.config).to_json()
    made.report(asked.number, 0, 0.5)
    made.complete(asked.number, TrialRecord(0, State.COMPLETE, metric=0.5, score=0.5, costs=costs, delta=0.0, epochs=1))
    made.set_remark("look at this")
    made.folder.mkdir(parents=True, exist_ok=True)
    (made.folder / "report.html").write_text("<html>the report</html>")
    return made


@contextmanager
def served():
    """Serve the study in a process of its own, as a user does; the URL."""
    command = "from mpsearch.cli.app import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", command, "dashboard", "mine", "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
    ) as process:  # fmt: skip
        try:
            first, line = process.stdout.readline(), process.stdout.readline()
            assert first.startswith("no new report is attached: `mine` has kept no facts of its model"), first
            assert line.startswith("mine is shown at http://127.0.0.1:"), line
            yield line.split()[4].removesuffix(";")
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=20)[0] == "ended\n"
            assert process.returncode == 0
        finally:
            process.kill()


def ask(url, method="GET", sent=None, kind="application/json"):
    data = None if sent is None else json.dumps(sent).encode()
    request = urllib.request.Request(url, data, {"Content-Type": kind}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_browser_sees_the_study_and_may_write_notes_alone(study):
    with served() as url:
        base = url.removesuffix("/dashboard/studies/1")
        api = f"{base}/api/studies/1"
        detail = json.loads(ask(api)[1])
        assert (detail["name"], detail["objective_names"]) == ("mine", ["score"])
        (trial,) = detail["trials"]
        assert {p["name"]: p["param_external_value"] for p in trial["params"]} == {
            p["name"]: str(study.record(0).config[p["name"]]) for p in trial["params"]
        }
        assert trial["values"] == [0.5]
        assert detail["note"]["body"].startswith(f"look at this\n\n{LINE}")
        (report,) = detail["artifacts"]
        assert ask(f"{base}/artifacts/1/{report['artifact_id']}") == (200, "<html>the report</html>")

        there = "document.body.innerText.includes('Trial 0')"
        (page,) = look(f"{url}/trials", ["document.documentElement.outerHTML"], ready=there).values
        assert ">mine (id=1)<" in page
        assert "Trial 0" in page
        assert "<td>conv</td>" in page  # of the table of its config
        assert f"conv/kernel {study.record(0).config['conv/kernel']}" in page

        assert ask(f"{api}/note", "PUT", {"version": 2, "body": f"seen\n\n{LINE}"})[0] == 204
        assert ask(f"{api}/0/note", "PUT", {"version": 2, "body": "a good one"})[0] == 204
        assert ask(f"{api}/0/note", "PUT", {"version": 2, "body": "too late"})[0] == 409
        assert ask(f"{api}/0/note", "PUT", {"version": 3, "body": "forged"}, "text/plain")[0] == 415
        assert ask(f"{api}/7/note", "PUT", {"version": 2, "body": "nowhere"})[0] == 409
        assert ask(f"{api}/note", "PUT", {"body": "?"})[0] == 400
        for method, path in (("DELETE", "1"), ("POST", "1/rename"), ("POST", ""), ("PUT", "2/note")):
            code, answer = ask(f"{base}/api/studies/{path}", method, {"study_name": "other"})
            assert (code, "only notes can be changed" in answer) == (405, True)
    assert (study.remark(), study.remark(0)) == ("seen", "a good one")


def test_it_brings_no_keras():
    code = "import sys, mpsearch.dashboard.server; assert not {'keras', 'tensorflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_a_port_that_is_taken(study):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(StudyError, match=r"can't listen at 127\.0\.0\.1, port \d+: .*; give another --port"):
            server.serve_dashboard("mine", None, "127.0.0.1", taken.getsockname()[1], print)


def test_without_optuna_dashboard_the_extra_is_named(study, monkeypatch):
    monkeypatch.setattr(server, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install 'mpsearch\[dashboard\]'"):
        server.serve_dashboard("mine", None, "127.0.0.1", 0, print)
