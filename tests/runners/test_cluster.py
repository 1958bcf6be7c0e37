"""Connecting to Ray."""

import signal
import socket

import pytest

ray = pytest.importorskip("ray", reason="ray isn't installed")

from mpsearch.errors import ConfigError, StudyError  # noqa: E402
from mpsearch.runners import setup  # noqa: E402
from mpsearch.runners.ray_tune import Cluster, _capacity, connected  # noqa: E402
from mpsearch.runners.setup import LARGEST_SENT, _beside  # noqa: E402


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


def test_an_address_that_nobody_listens_at_is_refused_at_once_and_one_that_is_none_as_well(monkeypatch):
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("it is not reachable"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(StudyError, match=rf"can't connect to a Ray cluster at 127\.0\.0\.1:{port} .*refused"):
        connected(Cluster(f"127.0.0.1:{port}")).__enter__()
    with pytest.raises(ConfigError, match="is local, auto or HOST:PORT, but got 'nonsense'"):
        Cluster("nonsense")


def test_auto_is_the_cluster_of_the_environment(monkeypatch):
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("it is not reachable"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    with pytest.raises(StudyError, match=rf"cluster at 127\.0\.0\.1:{port} .*refused"):
        connected(Cluster("auto")).__enter__()
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(ConfigError, match="can't be a Ray client"):
        connected(Cluster("auto")).__enter__()


def test_modules_go_first_and_what_is_left_out_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(setup, "MOST_SENT", 100)
    for name in ("mine.py", "helpers/__init__.py", "helpers/net.py", "exports/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x = 1")
    for index in range(4):
        (tmp_path / f"a{index}.txt").write_bytes(bytes(40))
    sent = {str(path.relative_to(tmp_path)) for path in _beside(tmp_path)}
    modules = {"mine.py", "helpers/__init__.py", "helpers/net.py", "exports/__init__.py"}
    assert sent == {*modules, "a0.txt", "a1.txt"}
    assert "a2.txt and what follows" in capsys.readouterr().err


def test_a_cluster_that_grows_is_waited_for_where_it_is_said_how_far(monkeypatch, capsys):
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 1.0}}])
    assert _capacity(Cluster("auto", gpus=1, max_concurrent=4)) == 4
    assert "a trial needs 1 CPUs, 1 GPUs, but nodes have 1 CPUs, 0 GPUs: waiting" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="where nodes come later give --max-concurrent"):
        _capacity(Cluster("auto", gpus=1))


def test_small_files_beside_a_space_file_are_sent_with_it(tmp_path):
    (tmp_path / "mine.py").write_text("")
    for name in ("classes.txt", "models/net.keras", "helpers/deep/a.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    for name in (".git/config", ".hidden", "studies/mpsearch.db", "helpers/__pycache__/a.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("not sent")
    (tmp_path / "large.npz").write_bytes(bytes(LARGEST_SENT + 1))
    sent = {str(path.relative_to(tmp_path)) for path in _beside(tmp_path)}
    assert sent == {"mine.py", "classes.txt", "models/net.keras", "helpers/deep/a.py"}


def test_a_ray_client_cannot_hold_a_study():
    with pytest.raises(ConfigError, match=r"can't be a Ray client \(ray://head:10001\): run it on a node"):
        Cluster("ray://head:10001")
