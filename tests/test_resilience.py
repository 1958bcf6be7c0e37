"""A storage that goes away and comes back: every write is there afterwards, exactly once."""

import errno
import itertools
import math
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import optuna
import psycopg
import pytest
import sqlalchemy
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial
from sqlalchemy.exc import OperationalError

from mpsearch.addresses import parse_address
from mpsearch.errors import StudyError
from mpsearch.faults import diagnose
from mpsearch.resilience import TOKEN, ResilientStorage
from mpsearch.storages import close, database_of, open_storage
from tests.ports import free_port

ADDRESS = parse_address("postgresql://me:secret@db/studies")
DIRECTIONS = [StudyDirection.MAXIMIZE]


def lost() -> OperationalError:
    """The error of a connection that broke off."""
    return OperationalError("SELECT", {}, psycopg.OperationalError("server closed it: secret"), None, True)


def psycopg2_error(code: str) -> Exception:
    """An error as the driver psycopg2 raises it."""
    error = type("DeadlockDetected", (Exception,), {})("it")
    error.pgcode = code
    return error


class Flaky(InMemoryStorage):
    """Fails once, before or after it has done what was asked; an answer that is lost looks like nothing done."""

    fails: str | None = None  # name of the operation

    def __init__(self, late: bool) -> None:
        super().__init__()
        self._late = late

    def __getattribute__(self, name: str):
        found = super().__getattribute__(name)
        if name.startswith("_") or name == "fails" or name != self.fails:
            return found

        def failing(*arguments, **options):
            self.fails = None
            if self._late:
                found(*arguments, **options)
            raise lost()

        return failing


@pytest.fixture(params=[False, True], ids=["nothing done", "answer lost"])
def flaky(request, monkeypatch) -> ResilientStorage:
    monkeypatch.setattr("mpsearch.resilience._FIRST_PAUSE", 0.001)
    return ResilientStorage(lambda: Flaky(request.param), ADDRESS)


def failing(storage: ResilientStorage, name: str) -> ResilientStorage:
    storage.inner.fails = name
    return storage


def test_what_failed_is_done_once(flaky, capsys):
    study = failing(flaky, "create_new_study").create_new_study(DIRECTIONS, "mine")
    assert [found.study_name for found in flaky.get_all_studies()] == ["mine"]
    failing(flaky, "set_study_user_attr").set_study_user_attr(study, "a", 1)
    failing(flaky, "set_study_system_attr").set_study_system_attr(study, "b", 2)
    first = failing(flaky, "create_new_trial").create_new_trial(study)
    template = create_trial(state=TrialState.WAITING, user_attrs={"x": 1})
    second = failing(flaky, "create_new_trial").create_new_trial(study, template)
    assert [trial._trial_id for trial in flaky.get_all_trials(study)] == [first, second]
    assert flaky.get_trial(second).user_attrs["x"] == 1
    assert template.user_attrs == {"x": 1}
    distribution = optuna.distributions.IntDistribution(0, 6)
    failing(flaky, "set_trial_param").set_trial_param(first, "p", 3.0, distribution)
    failing(flaky, "set_trial_user_attr").set_trial_user_attr(first, "u", 1)
    failing(flaky, "set_trial_system_attr").set_trial_system_attr(first, "s", 2)
    failing(flaky, "set_trial_intermediate_value").set_trial_intermediate_value(first, 0, 0.25)
    assert failing(flaky, "set_trial_state_values").set_trial_state_values(first, TrialState.COMPLETE, [0.1 + 0.2])
    trial = failing(flaky, "get_trial").get_trial(first)
    assert (trial.params, trial.intermediate_values, trial.values) == ({"p": 3}, {0: 0.25}, [0.1 + 0.2])
    assert (trial.user_attrs["u"], trial.system_attrs) == (1, {"s": 2})
    assert failing(flaky, "get_all_trials").get_n_trials(study) == 2
    failing(flaky, "delete_study").delete_study(study)
    assert flaky.get_all_studies() == []
    err = capsys.readouterr().err
    assert err.count(" is away (server closed it: ***); waiting up to 120 s") == err.count(" is back after 0 s") == 13


def test_errors_of_the_caller_stay_his(flaky, capsys):
    study = flaky.create_new_study(DIRECTIONS, "mine")
    with pytest.raises(optuna.exceptions.DuplicatedStudyError):
        flaky.create_new_study(DIRECTIONS, "mine")
    flaky.set_study_user_attr(study, "a", 1)
    with pytest.raises(optuna.exceptions.DuplicatedStudyError):  # another's: it isn't empty
        failing(flaky, "create_new_study").create_new_study(DIRECTIONS, "mine")
    trial = flaky.create_new_trial(study)
    flaky.set_trial_state_values(trial, TrialState.COMPLETE, [1.0])
    for state, values in ((TrialState.COMPLETE, [2.0]), (TrialState.FAIL, None)):  # somebody else's end of the trial
        with pytest.raises(UpdateFinishedTrialError):
            failing(flaky, "set_trial_state_values").set_trial_state_values(trial, state, values)
    with pytest.raises(UpdateFinishedTrialError):
        flaky.set_trial_state_values(trial, TrialState.COMPLETE, [1.0])
    with pytest.raises(KeyError):
        flaky.delete_study(77)
    with pytest.raises(KeyError):
        flaky.get_trial(77)


def test_a_copy_of_a_trial_is_another_trial(flaky):
    study = flaky.create_new_study(DIRECTIONS, "mine")
    trial = flaky.get_trial(flaky.create_new_trial(study, create_trial(value=1.0)))
    flaky.create_new_trial(study, trial)
    assert len({found.user_attrs[TOKEN] for found in flaky.get_all_trials(study)}) == 2


def test_what_stays_away_is_given_up_with_the_way_on(monkeypatch, capsys):
    monkeypatch.setattr("mpsearch.resilience._FIRST_PAUSE", 0.01)
    storage = ResilientStorage(InMemoryStorage, ADDRESS, patience=0.2)
    tries: list[float] = []

    def away(*_: object) -> None:
        tries.append(time.monotonic())
        raise lost()

    monkeypatch.setattr(storage.inner, "get_all_studies", away)
    with pytest.raises(StudyError, match=r"the storage postgresql://me:\*\*\*@db/studies was away for 0 s") as raised:
        storage.get_all_studies()
    assert raised.value.__cause__ is None  # it tells the password
    pauses = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert pauses == sorted(pauses)
    assert 3 <= len(pauses) <= 5
    assert "back" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (lost(), True),
        (OperationalError("", {}, psycopg.errors.AdminShutdown()), True),
        (OperationalError("", {}, psycopg.errors.CannotConnectNow()), True),
        (OperationalError("", {}, psycopg.errors.TooManyConnections()), True),
        (OperationalError("", {}, psycopg.errors.DeadlockDetected()), True),
        (OperationalError("", {}, psycopg.OperationalError("connection failed: Connection refused")), True),
        (OperationalError("", {}, psycopg.OperationalError('FATAL: password authentication failed for "x"')), False),
        (OperationalError("", {}, psycopg.errors.DiskFull("could not extend file: No space left on device")), False),
        (OperationalError("", {}, psycopg2_error("40P01")), True),
        (OperationalError("", {}, psycopg2_error("42P01")), False),
        (OperationalError("", {}, sqlite3.OperationalError("database is locked")), True),
        (OperationalError("", {}, sqlite3.OperationalError("disk I/O error")), False),
        (OperationalError("", {}, Exception(2013, "Lost connection to MySQL server during query")), True),
        (OperationalError("", {}, Exception(1045, "Access denied for user 'x'")), False),
        (sqlalchemy.exc.TimeoutError("QueuePool limit"), True),
        (sqlalchemy.exc.ProgrammingError("", {}, psycopg.errors.UndefinedTable("no table")), False),
        (StorageInternalError("it"), False),
        (ConnectionResetError("gone"), True),
        (OSError(errno.ESTALE, "Stale file handle"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (sqlalchemy.exc.IntegrityError("", {}, Exception()), None),
        (KeyError("x"), None),
        (ValueError("x"), None),
    ],
    ids=repr,
)
def test_errors_that_pass_are_told_from_those_that_stay(error, passes):
    for found in (error, wrapped(error)) if passes is not None else (error,):
        fault = diagnose(found)
        assert (None if fault is None else fault.passes) is passes


def wrapped(cause: Exception) -> StorageInternalError:
    """An error as Optuna's."""
    error = StorageInternalError("An exception is raised during the commit.")
    error.__cause__ = cause
    return error


def test_a_full_disk_is_said_at_once(tmp_path):
    storage = open_storage(f"sqlite:///{tmp_path}/mine.db")
    study = storage.create_new_study(DIRECTIONS, "mine")
    engine = database_of(storage).engine
    sqlalchemy.event.listen(engine, "connect", lambda made, _: made.execute("PRAGMA max_page_count = 1").fetchall())
    begun = time.monotonic()
    with pytest.raises(StudyError, match=r"the disk .*mine.db is full \(database or disk is full\): make room"):
        storage.set_study_user_attr(study, "a", "x" * 10**6)
    assert time.monotonic() - begun < 5


def test_a_file_that_can_not_be_written_is_said_at_once(tmp_path):
    open_storage(f"sqlite:///{tmp_path}/mine.db").create_new_study(DIRECTIONS, "mine")
    url = f"sqlite:///file:{tmp_path}/mine.db?mode=ro&uri=true"
    storage = open_storage(url)
    assert [study.study_name for study in storage.get_all_studies()] == ["mine"]  # reading does
    with pytest.raises(StudyError, match=r"mine.db.* can't be written \(attempt to write a readonly database\)"):
        storage.create_new_study(DIRECTIONS, "second")


def test_a_file_that_another_process_has_locked_is_waited_for(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mpsearch.storages.BUSY_SECONDS", 0.1)
    storage = open_storage(f"sqlite:///{tmp_path}/mine.db")
    other = sqlite3.connect(tmp_path / "mine.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    ending = threading.Timer(1.0, other.rollback)
    ending.start()
    storage.create_new_study(DIRECTIONS, "mine")
    ending.join()
    other.close()
    assert [study.study_name for study in storage.get_all_studies()] == ["mine"]
    assert "(database is locked)" in capsys.readouterr().err


def write_trials(storage: ResilientStorage, study: int, worker: int, enough: threading.Event) -> None:
    """Trials of a worker: created, reported, ended; until it is enough."""
    for index in itertools.takewhile(lambda _: not enough.is_set(), itertools.count()):
        begun = create_trial(state=TrialState.RUNNING, user_attrs={"worker": worker, "index": index})
        trial = storage.create_new_trial(study, begun)
        storage.set_trial_user_attr(trial, "text", f"{worker} {index}")
        storage.set_trial_intermediate_value(trial, 0, index / 7)
        assert storage.set_trial_state_values(trial, TrialState.COMPLETE, [index / 3])


def check_trials(storage: ResilientStorage, study: int, workers: int) -> None:
    trials = storage.get_all_trials(study)
    assert [trial.number for trial in trials] == list(range(len(trials)))
    for worker in range(workers):
        own = [trial for trial in trials if trial.user_attrs["worker"] == worker]
        assert [trial.user_attrs["index"] for trial in own] == list(range(len(own)))
        for index, trial in enumerate(own):
            assert trial.state == TrialState.COMPLETE
            assert trial.user_attrs["text"] == f"{worker} {index}"
            assert (trial.intermediate_values, trial.values) == ({0: index / 7}, [index / 3])


def write_in_threads(url: str, meanwhile: Callable[[], None]) -> None:
    """Two workers write trials before, while and after something happens."""
    storage, enough = open_storage(url), threading.Event()
    study = storage.create_new_study(DIRECTIONS, "mine")
    errors: list[BaseException] = []

    def work(worker: int) -> None:
        try:
            write_trials(storage, study, worker, enough)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(2)]
    for thread in threads:
        thread.start()
    reach(storage, study, 20)
    meanwhile()
    reach(storage, study, storage.get_n_trials(study) + 10)
    enough.set()
    for thread in threads:
        thread.join()
    assert errors == []
    fresh = open_storage(url, fresh=True)
    check_trials(fresh, study, 2)
    close(fresh)


def reach(storage: ResilientStorage, study: int, trials: int) -> None:
    end = time.monotonic() + 60
    while storage.get_n_trials(study) < trials:
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_database_server_that_restarts_loses_and_doubles_nothing(postgres, postgres_url, capsys, mode):
    def restart() -> None:
        postgres.stop(mode)  # immediate: as after a crash
        time.sleep(3)
        postgres.start()

    write_in_threads(postgres_url, restart)
    err = capsys.readouterr().err
    assert re.search(r"the storage postgresql://mpsearch:\*\*\*@\S+ is away \(.*\); waiting up to 120 s\n", err)
    assert re.search(r"the storage postgresql://mpsearch:\*\*\*@\S+ is back after \d+ s\n", err)
    assert all(line.startswith("the storage ") for line in err.splitlines())


def test_mysql_restarts_and_nothing_is_lost_or_doubled(mariadb, mysql_url, capsys):
    def restart() -> None:
        mariadb.kill()
        time.sleep(2)
        mariadb.start()

    write_in_threads(mysql_url, restart)
    err = capsys.readouterr().err
    assert re.search(r"the storage mysql://mpsearch:\*\*\*@\S+ is back after \d+ s\n", err)


def test_a_commit_whose_answer_is_lost_is_not_repeated(postgres_url, monkeypatch, capsys):
    storage = open_storage(postgres_url)
    study = storage.create_new_study(DIRECTIONS, "mine")
    dialect = database_of(storage).engine.dialect
    commit, broken = dialect.do_commit, []

    def losing(connection) -> None:
        commit(connection)
        if len(broken) < 2:
            broken.append(connection)
            connection.dbapi_connection.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(dialect, "do_commit", losing)
    trial = storage.create_new_trial(study)
    assert len(broken) == 2
    assert [found._trial_id for found in storage.get_all_trials(study)] == [trial]
    broken.pop()
    assert storage.set_trial_state_values(trial, TrialState.COMPLETE, [math.pi])
    assert len(broken) == 2
    assert storage.get_trial(trial).values == [math.pi]
    assert "is back after" in capsys.readouterr().err


@contextmanager
def serving(behind: str, port: int) -> Iterator[None]:
    """A process that serves a storage, as `mpsearch storage serve` does; killed at the end."""
    program = "from mpsearch.cli.app import main; main()"
    command = [sys.executable, "-c", program, "storage", "serve", "--storage", behind, "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert "serving" in process.stdout.readline()
        yield
    finally:
        process.kill()
        process.communicate()


def test_a_proxy_that_is_killed_and_starts_again_loses_and_doubles_nothing(postgres_url, capsys):
    port = free_port()
    with ExitStack() as stack:

        def restart() -> None:
            stack.close()
            time.sleep(3)
            stack.enter_context(serving(postgres_url, port))

        stack.enter_context(serving(postgres_url, port))
        write_in_threads(f"grpc://127.0.0.1:{port}", restart)
    err = capsys.readouterr().err
    assert f"the storage grpc://127.0.0.1:{port} is away" in err
    assert f"the storage grpc://127.0.0.1:{port} is back after" in err


def test_a_trial_whose_creation_through_a_proxy_lost_its_answer_is_found_by_its_token(flaky):
    """As seen by the process that serves: the same trial comes once more."""
    study = flaky.create_new_study(DIRECTIONS, "mine")
    flaky.serves = True
    begun = create_trial(state=TrialState.RUNNING, user_attrs={TOKEN: "the client's"})
    first = failing(flaky, "create_new_trial").create_new_trial(study, begun)
    assert [(t._trial_id, t.user_attrs[TOKEN]) for t in flaky.get_all_trials(study)] == [(first, "the client's")]
    bare = flaky.create_new_trial(study)
    assert flaky.get_trial(bare).user_attrs[TOKEN] != "the client's"


def test_a_proxy_that_falls_silent_is_waited_for_no_longer_than_others(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mpsearch.proxyclient.DEADLINE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # connections are made, and nobody ever answers
        url = f"grpc://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(StudyError, match=rf"can't open the storage {url} for \d+ s"):
            open_storage(url, patience=2.0)


def test_a_process_waits_for_a_server_that_starts_later(postgres, postgres_url, capsys):
    postgres.stop()
    starting = threading.Timer(2.0, postgres.start)
    starting.start()
    storage = open_storage(postgres_url, fresh=True, patience=60)
    starting.join()
    assert storage.get_all_studies() == []
    close(storage)
    assert "waiting up to 60 s" in capsys.readouterr().err


def test_workers_that_make_the_tables_of_an_empty_database_at_once_all_open_it(postgres, tmp_path, capsys):
    begin = threading.Barrier(4)

    def opened(url: str) -> int:
        begin.wait()
        storage = open_storage(url, fresh=True)
        found = len(storage.get_all_studies())
        close(storage)
        return found

    for url in (postgres.create_database(), f"sqlite:///{tmp_path}/mine.db"):
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(opened, [url] * 4)) == [0] * 4
    assert capsys.readouterr().err == ""
