"""Connecting to Ray."""

import signal

import pytest

ray = pytest.importorskip("ray", reason="ray isn't installed")

from mpsearch.errors import ConfigError  # noqa: E402
from mpsearch.runners.ray_tune import Cluster, connected  # noqa: E402


def test_a_run_on_ray_keeps_its_own_answer_to_sigterm(monkeypatch):
    def init(**options):
        signal.signal(signal.SIGTERM, lambda *_: pytest.fail("Ray's answer"))

    def interrupt(number, frame):
        raise KeyboardInterrupt

    monkeypatch.setattr(ray, "init", init)
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt), connected(Cluster()):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_ray_client_cannot_hold_a_study():
    with pytest.raises(ConfigError, match=r"can't be a Ray client \(ray://head:10001\): run it on a node"):
        Cluster("ray://head:10001")
