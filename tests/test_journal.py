"""A journal outlives writes that break off, and processes that die."""

import errno
import os
import resource
import threading
from concurrent.futures import ThreadPoolExecutor

import optuna
import pytest
from optuna.study import StudyDirection

from mpsearch import journal
from mpsearch.errors import StudyError
from mpsearch.storages import open_storage

DIRECTIONS = [StudyDirection.MAXIMIZE]


@pytest.fixture
def url(tmp_path):
    return f"journal:///{tmp_path}/shared/a.log"


@pytest.mark.parametrize("left", [b'{"op_code":2,"worker', b'{"op_code":2' + b"x" * 200_000])
def test_half_a_line_that_a_crash_left_is_dropped(url, tmp_path, left):
    study = open_storage(url).create_new_study(DIRECTIONS, "mine")
    file = tmp_path / "shared" / "a.log"
    whole = file.read_bytes()
    file.write_bytes(whole + left)
    reader, writer = open_storage(url), open_storage(url)
    assert [found.study_name for found in reader.get_all_studies()] == ["mine"]
    for value in range(3):
        writer.set_study_user_attr(study, "a", value)
    assert file.read_bytes().startswith(whole + b'{"op_code":2,"worker_id"')
    for storage in (reader, writer, open_storage(url)):
        assert storage.get_study_user_attrs(study) == {"a": 2}


def full(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupted(_: int) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("sync", "error", "message"),
    [
        (full, StudyError, r"the disk of the storage .*a\.log is full .*: make room"),
        (interrupted, KeyboardInterrupt, None),
    ],
)
def test_a_whole_line_that_others_may_have_read_stays_though_its_write_ends_badly(
    url, monkeypatch, sync, error, message
):
    storage, reader = open_storage(url), open_storage(url)
    study = storage.create_new_study(DIRECTIONS, "mine")

    def read_and_end(descriptor: int) -> None:
        assert reader.get_study_user_attrs(study) == {"a": "x" * 99}
        sync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", read_and_end)
        with pytest.raises(error, match=message):
            storage.set_study_user_attr(study, "a", "x" * 99)
    for value in range(3):
        storage.set_study_user_attr(study, "b", value)
    for found in (storage, reader, open_storage(url)):
        assert found.get_study_user_attrs(study) == {"a": "x" * 99, "b": 2}


def test_a_line_for_which_the_disk_has_no_room_is_dropped(url, tmp_path):
    storage = open_storage(url)
    study = storage.create_new_study(DIRECTIONS, "mine")
    file = tmp_path / "shared" / "a.log"
    whole = file.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 20, limits[1]))
    try:
        with pytest.raises(StudyError, match="File too large"):
            storage.set_study_user_attr(study, "a", "x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    storage.set_study_user_attr(study, "a", "y")
    assert file.read_bytes().startswith(whole + b'{"op_code":2,"worker_id"')
    for found in (storage, open_storage(url)):
        assert found.get_study_user_attrs(study) == {"a": "y"}


def test_a_write_overwrites_nothing_that_was_appended_since_it_looked(url, tmp_path, monkeypatch):
    """A process that stalls may lose its lock to another one."""
    storage, other = open_storage(url), open_storage(url)
    study = storage.create_new_study(DIRECTIONS, "mine")
    look = journal._end

    def look_and_stall(*file: object) -> int:
        end = look(*file)
        monkeypatch.setattr(journal, "_end", look)
        os.unlink(tmp_path / "shared" / "a.log.lock")
        other.set_study_user_attr(study, "b", 1)
        (tmp_path / "shared" / "a.log.lock").touch()
        return end

    monkeypatch.setattr(journal, "_end", look_and_stall)
    storage.set_study_user_attr(study, "a", 1)
    for found in (storage, other, open_storage(url)):
        assert found.get_study_user_attrs(study) == {"a": 1, "b": 1}


def test_writers_wait_for_each_other(url):
    study = open_storage(url).create_new_study(DIRECTIONS, "mine")
    begin = threading.Barrier(3)

    def write(worker: int) -> list[int]:
        storage = open_storage(url)
        begin.wait()
        return [storage.create_new_trial(study, optuna.trial.create_trial(value=worker)) for _ in range(20)]

    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(write, range(3)))
    trials = open_storage(url).get_all_trials(study)
    assert [trial.number for trial in trials] == list(range(60))
    for worker, ids in enumerate(made):
        assert [trial._trial_id for trial in trials if trial.value == worker] == ids


def test_a_lock_that_a_dead_process_left_is_taken_over(url, tmp_path):
    storage = open_storage(url)
    study = storage.create_new_study(DIRECTIONS, "mine")
    storage.inner._backend._held.grace_period = 1
    (tmp_path / "shared" / "a.log.lock").touch()
    storage.set_study_user_attr(study, "a", 1)
    assert storage.get_study_user_attrs(study) == {"a": 1}
    assert not (tmp_path / "shared" / "a.log.lock").exists()
