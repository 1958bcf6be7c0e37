"""The command that shows a study in a browser."""

import signal

import pytest

from mpsearch.cli import dashboard
from mpsearch.dashboard import server


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_a_host_that_others_reach_is_warned_of(mpsearch, monkeypatch, host, warned):
    asked = []

    def serve(name, storage, host, port, ready, trouble):
        asked.append((name, storage, host, port))
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "serve_dashboard", serve)
    monkeypatch.setattr(dashboard, "attach_report", lambda name, storage: None)
    before = signal.getsignal(signal.SIGTERM)
    code, out, err = mpsearch("dashboard", "mine", "--host", host, "--port", "8000")
    signal.signal(signal.SIGTERM, before)
    assert (code, out, asked) == (0, "ended\n", [("mine", None, host, 8000)])
    assert ("there is no password" in err) == warned
