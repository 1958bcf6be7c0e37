"""Storages: every kind keeps the same studies, and tells what is wrong without telling a password."""

import json
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState

from mpsearch.errors import StudyError
from mpsearch.records import State, TrialRecord
from mpsearch.storages import database_of, open_storage, runs_folder, shown
from mpsearch.study import create_study, open_study, study_names
from mpsearch.upkeep import copy_study, delete_study, import_study, rename_study, to_json
from tests.ports import free_port

KINDS = ("sqlite", "journal", "postgresql", "mysql", "grpc", "grpc before postgresql")


@pytest.fixture
def storage_url(request, tmp_path, monkeypatch) -> Iterator[str]:
    """The URL of an empty storage of a kind."""
    monkeypatch.chdir(tmp_path)
    kind = request.param
    servers = {"postgresql": "postgres_url", "mysql": "mysql_url"}
    server = next((fixture for name, fixture in servers.items() if name in kind), None)
    behind = f"sqlite:///{tmp_path}/studies/a.db" if server is None else request.getfixturevalue(server)
    if kind == "journal":
        yield "journal:///studies/a.log"
    elif kind.startswith("grpc"):
        (tmp_path / "studies").mkdir()
        port = free_port()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            from optuna.storages._grpc.server import make_server

            proxy = make_server(open_storage(behind), "127.0.0.1", port)
        proxy.start()
        yield f"grpc://127.0.0.1:{port}"
        proxy.stop(None).wait()
    else:
        (tmp_path / "studies").mkdir()
        yield behind


every_kind = pytest.mark.parametrize("storage_url", KINDS, indirect=True)


def fill(study) -> None:
    """Hand-made trials: complete, pruned, failed and queued ones, with attributes and learning curves."""
    known = {"conv/kernel": IntDistribution(0, 6), "mode": CategoricalDistribution(("auto", "po2"))}
    for number, (state, value) in enumerate(
        [
            (TrialState.COMPLETE, 0.1 + 0.2),
            (TrialState.PRUNED, None),
            (TrialState.FAIL, None),
            (TrialState.WAITING, None),
        ]
    ):
        study.add_frozen(
            optuna.trial.create_trial(
                state=state,
                value=value,
                params={"conv/kernel": number, "mode": "po2"},
                distributions=known,
                user_attrs={"origin": "made", "score": value, "costs": {"total_bits": 10**15}, "text": "ü \\ 'quoted'"},
                system_attrs={"memory": [1, 2.5, None]},
                intermediate_values={0: 0.25, 7: -1e300, 2: float("inf")},
            )
        )
    study.keep("note", {"deep": [1, {"er": "x" * 100_000}]})


def content(study) -> dict:
    """What a study holds, without what is its own: id, folder, dates."""
    data = to_json(study)
    for key in ("id", "folder"):
        del data["provenance"][key]
    for trial in data["trials"]:
        del trial["started"], trial["ended"]
    return data


@every_kind
def test_each_kind_keeps_the_same_study(storage_url, provenance, tmp_path):
    study = create_study("mine", provenance, storage_url)
    fill(study)
    reference = create_study("mine", provenance, f"sqlite:///{tmp_path}/reference.db")
    fill(reference)
    opened = open_study("mine", storage_url)
    assert content(opened) == content(reference)
    assert opened.records() == reference.records()
    assert [r.state for r in opened.records()] == [State.COMPLETE, State.PRUNED, State.FAILED, State.WAITING]
    assert opened.folder == runs_folder(storage_url) / study.provenance.folder


@every_kind
def test_each_kind_runs_queued_trials_to_their_end(storage_url, provenance):
    create_study("mine", provenance, storage_url)
    study = open_study("mine", storage_url)
    fill(study)
    storage = study._study._storage
    (queued,) = study._study.get_trials(states=[TrialState.WAITING])
    assert storage.set_trial_state_values(queued._trial_id, TrialState.RUNNING)
    assert not storage.set_trial_state_values(queued._trial_id, TrialState.RUNNING)
    trial = optuna.Trial(study._study, queued._trial_id)
    for epoch in range(3):
        trial.report(0.5 + epoch, 10 + epoch)
    study.complete(
        trial.number, TrialRecord(trial.number, State.COMPLETE, metric=0.5, score=0.75, curve=[{"score": 2.5}])
    )
    record = open_study("mine", storage_url).record(trial.number)
    assert (record.state, record.score, record.curve) == (State.COMPLETE, 0.75, [{"score": 2.5}])
    study.fail(study._study.ask().number, "nothing")
    assert open_study("mine", storage_url).records()[-1].cause == "nothing"
    assert open_study("mine", storage_url).finished == 5


@every_kind
def test_each_kind_copies_imports_and_deletes(storage_url, provenance, tmp_path):
    fill(create_study("mine", provenance, storage_url))
    copy = copy_study("mine", "second", storage_url)
    assert content(copy)["trials"] == content(open_study("mine", storage_url))["trials"]
    delete_study("mine", storage_url)
    assert study_names(storage_url) == ["second"]
    with pytest.raises(StudyError, match="there is a study `second` already"):
        create_study("second", provenance, storage_url)
    (tmp_path / "second.json").write_text(json.dumps(to_json(copy)))
    assert content(import_study(tmp_path / "second.json", "third", storage_url))["trials"] == content(copy)["trials"]
    if storage_url.startswith(("journal", "grpc")):
        with pytest.raises(StudyError, match="can't rename a study: make a copy with `mpsearch study copy third new`"):
            rename_study("third", "new", storage_url)
    else:
        assert rename_study("third", "new", storage_url).finished == 3


@every_kind
def test_of_those_that_start_a_queued_trial_at_once_one_succeeds(storage_url, provenance, capsys):
    study = create_study("mine", provenance, storage_url)
    for _ in range(10):
        study.add_frozen(optuna.trial.create_trial(state=TrialState.WAITING))
    ids = [trial._trial_id for trial in study.frozen_trials()]
    begin = threading.Barrier(3)

    def start(_: int) -> list[int]:
        storage = open_storage(storage_url)
        database = database_of(storage)
        if database is not None:  # time for the others between looking and starting
            sqlalchemy.event.listen(database.engine, "after_cursor_execute", lambda *_: time.sleep(0.01))
        begin.wait()
        return [found for found in ids if storage.set_trial_state_values(found, TrialState.RUNNING)]

    with ThreadPoolExecutor(3) as pool:
        assert sorted(found for part in pool.map(start, range(3)) for found in part) == ids
    assert capsys.readouterr().err == ""  # they waited for each other, and none was turned away


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mine.db", "`mine.db` is no URL: the file is given as sqlite:///mine.db"),
        ("/data/mine.db", "`/data/mine.db` is no URL: the file is given as sqlite:////data/mine.db"),
        ("mine.log", "given as journal:///mine.log"),
        ("node7:13000", "`node7:13000` is no URL: the gRPC proxy there is grpc://node7:13000"),
        ("", "a storage is given as a URL, sqlite:///"),
        ("sqlite:mine.db", "three slashes before the file"),
        ("sqlite://mine.db", "three slashes before the file"),
        ("journal://mine.log", "three slashes before the file"),
        ("grpc://node7", "the URL of a gRPC proxy is grpc://host:port"),
        ("redis://node7", "can't use a storage of the kind `redis`: give a URL such as sqlite:///"),
        ("oracle://user:secret@node7/x", "can't use a storage of the kind `oracle`"),
        ("postgresql://user:sec/ret@node7/x", "@ : / .* in a user or password are written percent-encoded"),
        ("user:secret@node7/x", "a storage is given as a URL, sqlite:///"),
        ("postgresql+asyncpg://user:secret@node7/x", "no driver `postgresql.asyncpg`; it knows postgresql.psycopg"),
    ],
)
def test_what_is_no_url_of_a_storage_is_refused_with_the_form(url, message):
    with pytest.raises(StudyError, match=message) as raised:
        open_storage(url)
    assert "sec" not in str(raised.value) + shown(url)


@pytest.mark.parametrize(
    ("url", "install"),
    [
        ("postgresql://user:secret@node7/x", r"pip install 'mpsearch\[postgres\]'"),
        ("mysql://user:secret@node7/x", r"pip install 'mpsearch\[mysql\]'"),
        ("mysql+pymysql://user:secret@node7/x", r"pymysql isn't installed: pip install 'mpsearch\[mysql\]'"),
        ("grpc://node7:13000", r"pip install 'mpsearch\[grpc\]'"),
    ],
)
def test_a_missing_driver_is_named_with_what_installs_it(monkeypatch, url, install):
    monkeypatch.setattr("mpsearch.storages.find_spec", lambda name: None)
    with pytest.raises(StudyError, match=install):
        open_storage(url)
