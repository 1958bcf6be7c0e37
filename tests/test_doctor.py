"""What the doctor finds, and what it tells to do."""

import pytest

from mpsearch import doctor
from mpsearch.doctor import Verdict, checks


def found(name, storage=None):
    return next(check for check in checks(storage) if check.name == name)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MPSEARCH_DATA", raising=False)
    return tmp_path


def test_a_sound_installation_has_no_problem(folder):
    everything = list(checks())
    assert [check for check in everything if check.verdict is Verdict.PROBLEM] == []
    assert all(check.remedy for check in everything if check.verdict is not Verdict.GOOD)
    assert not any(check.remedy for check in everything if check.verdict is Verdict.GOOD)
    assert found("storage").verdict is Verdict.NOTE


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("keras", "no-such-package"))
    check = found("no-such-package")
    assert (check.verdict, check.remedy) == (Verdict.PROBLEM, "pip install no-such-package")


def test_extras_that_are_missing_are_no_problem(monkeypatch):
    monkeypatch.setattr(doctor, "EXTRAS", {"here": ("json", "texts"), "gone": ("no_such_module", "dreams")})
    check = found("extras")
    assert (check.verdict, check.found) == (Verdict.NOTE, "here")
    assert check.remedy.endswith("gone (dreams)")


def test_a_data_folder_that_isn_t_there(monkeypatch, folder):
    monkeypatch.setenv("MPSEARCH_DATA", str(folder / "nowhere"))
    check = found("data folder")
    assert check.verdict is Verdict.PROBLEM
    assert "is no folder" in check.found
    monkeypatch.setenv("MPSEARCH_DATA", str(folder))
    assert found("data folder").verdict is Verdict.GOOD


def test_a_cache_that_can_t_be_written(monkeypatch, folder):
    (folder / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "file"))
    check = found("cache folder")
    assert check.verdict is Verdict.PROBLEM
    assert "XDG_CACHE_HOME" in check.remedy


def test_a_full_disk(monkeypatch):
    monkeypatch.setattr(doctor, "LEAST_DISK", 1e30)
    assert found("cache folder").verdict is Verdict.PROBLEM


def test_a_damaged_storage(folder):
    (folder / "damaged.db").write_text("nothing")
    check = found("storage", "sqlite:///damaged.db")
    assert check.verdict is Verdict.PROBLEM


def test_threads_that_are_held_back(monkeypatch):
    monkeypatch.setattr(doctor.os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    check = found("processors")
    assert check.verdict is Verdict.NOTE
    assert "OMP_NUM_THREADS=1" in check.found


def test_a_backend_that_mpsearch_can_t_use(monkeypatch):
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    check = found("training")
    assert check.verdict is Verdict.PROBLEM
    assert "KERAS_BACKEND" in check.remedy


def test_a_python_that_is_too_old(monkeypatch):
    monkeypatch.setattr(doctor, "PYTHONS", ((3, 99), (3, 100)))
    assert "3.99 to 3.100" in found("Python").remedy
