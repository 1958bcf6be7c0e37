"""The commands `mpsearch storage …`, typed as a user would."""

import json
import os
import re
import signal
import subprocess
import sys

import optuna
import pytest
import sqlalchemy

from mpsearch.storages import database_of, open_storage
from mpsearch.study import create_study, open_study, study_names
from tests.ports import free_port
from tests.signals import heed_ctrl_c


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def mine(here, provenance):
    """A study of three trials in the default storage."""
    study = create_study("mine", provenance)
    for value in (0.5, 0.75, 0.25):
        study.add_frozen(optuna.trial.create_trial(value=value, user_attrs={"score": value}))
    return study


def test_a_check_says_what_a_storage_is(mpsearch, mine, postgres, postgres_url):
    code, out, _ = mpsearch("storage", "check")
    assert code == 0
    assert re.search(
        r"kind +sqlite\n.*address +studies/mpsearch.db\n.*schema +v\d\S+, as the installed", out, re.DOTALL
    )
    assert re.search(r"studies +1\n +trials +3\n +a write takes +[\d.]+ ms\n +a read takes +[\d.]+ ms", out)
    assert study_names() == ["mine"]
    found = json.loads(mpsearch("storage", "check", "--storage", postgres_url, "--json")[1])
    assert found["address"] == f"postgresql://mpsearch:***@127.0.0.1:{postgres.port}/{postgres_url.rpartition('/')[2]}"
    assert (found["kind"], found["studies"], found["trials"]) == ("postgresql", 0, 0)
    assert found["schema"] == found["optuna_schema"]
    assert 0 < found["read_ms"] < 10_000
    assert 0 < found["write_ms"] < 10_000


def test_a_check_of_what_can_not_be_used_is_an_error(mpsearch, here, postgres_url):
    (here / "text.db").write_text("no database" * 100)
    for url, message in {
        "sqlite:///none.db": "there is no none.db: `mpsearch study create --space FILE --storage sqlite:///none.db`",
        "journal:///none.log": "there is no none.log",
        "sqlite:///text.db": "file is not a database",
        "mine.db": "sqlite:///mine.db",
        f"grpc://127.0.0.1:{free_port()}": "can't open the storage grpc://127.0.0.1",
        re.sub(r":\d+/", f":{free_port()}/", postgres_url): "Connection refused",
        postgres_url.replace("//mpsearch:", "//nobody:"): "password authentication failed",
        postgres_url + "x": "does not exist",
    }.items():
        code, out, err = mpsearch("storage", "check", "--storage", url)
        assert (code, out, message in err, "Traceback" in err) == (1, "", True, False), err
    assert list(here.iterdir()) == [here / "text.db"]


def test_the_storage_may_be_named_by_the_environment(mpsearch, here, monkeypatch, postgres_url):
    monkeypatch.setenv("MPSEARCH_STORAGE", postgres_url)
    assert json.loads(mpsearch("storage", "check", "--json")[1])["kind"] == "postgresql"
    assert mpsearch("study", "list")[:2] == (0, "studies: none\n")
    code, out, _ = mpsearch("storage", "check", "--help")
    assert (code, "env var: MPSEARCH_STORAGE" in out) == (0, True)
    assert "%" not in out  # as in the password


def test_tables_of_an_older_optuna_are_upgraded(mpsearch, mine, postgres_url):
    create_study("mine", mine.provenance, postgres_url)
    for url in ("sqlite:///studies/mpsearch.db", postgres_url):
        database = database_of(open_storage(url))
        shown, head = open_storage(url).address.shown, database.get_head_version()
        with database.engine.begin() as connection:  # the last version but one lacked an index
            connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = 'v3.0.0.d'"))
        code, out, err = mpsearch("storage", "upgrade", "--storage", url)
        assert (code, err) == (0, "")
        assert out == f"the tables of {shown} have version {head} now, before it was v3.0.0.d\n"
        indexes = {index["name"] for index in sqlalchemy.inspect(database.engine).get_indexes("trials")}
        assert "trials_study_id_key" in indexes
        assert "nothing to upgrade" in mpsearch("storage", "upgrade", "--storage", url)[1]
        assert study_names(url) == ["mine"]


def test_tables_of_other_versions_are_refused_with_the_way_out(mpsearch, mine):
    engine = database_of(open_storage(None)).engine
    for version, message in {
        "v2.6.0.a": "of an older Optuna .* then run `mpsearch storage upgrade --storage sqlite:///studies/mpsearch.db`",
        "v9": "of a later Optuna .*: pip install -U optuna",
    }.items():
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text(f"UPDATE alembic_version SET version_num = '{version}'"))
        for words in (("storage", "check"), ("study", "list")):
            code, _, err = mpsearch(*words, "--storage", "sqlite:///studies/mpsearch.db")
            assert (code, bool(re.search(message, err))) == (1, True), err
    assert "which the installed Optuna doesn't know: pip install -U optuna" in mpsearch("storage", "upgrade")[2]


def test_what_has_no_tables_needs_no_upgrade(mpsearch, here):
    for url in ("journal:///none.log", "grpc://node7:13000"):
        assert mpsearch("storage", "upgrade", "--storage", url)[:2] == (
            0,
            f"nothing to upgrade: {url} has no tables of its own\n",
        )


def test_studies_are_copied_to_another_storage(mpsearch, mine, postgres_url):
    optuna.create_study(study_name="foreign", storage=open_storage(None))
    mine.folder.mkdir(parents=True)
    (mine.folder / "log").write_text("x")
    source = "sqlite:///studies/mpsearch.db"
    code, out, err = mpsearch("storage", "copy", source, postgres_url)
    assert (code, "mine: 3 trials, with weights and logs\nstudies copied to postgresql://mpsearch:***@" in out) == (
        0,
        True,
    )
    assert err == "`foreign` was left out: it wasn't made by mpsearch\n"
    assert (open_study("mine", postgres_url).folder / "log").read_text() == "x"
    code, out, _ = mpsearch("storage", "copy", postgres_url, "journal:///b.log", "--study", "mine", "--json")
    assert (code, json.loads(out)) == (0, [{"name": "mine", "trials": 3, "files": True}])
    assert open_study("mine", "journal:///b.log").records() == mine.records()
    code, _, err = mpsearch("storage", "copy", source, postgres_url)
    assert (code, "has a study `mine` already, and nothing was copied" in err) == (1, True)


def test_a_served_storage_is_used_by_its_url_and_ends_cleanly(mpsearch, mine):
    port = free_port()
    words = [sys.executable, "-c", "from mpsearch.cli.app import main; main()", "storage", "serve", "--port", str(port)]
    for ending in (signal.SIGINT, signal.SIGTERM):
        options = {"text": True, "env": {**os.environ}, "preexec_fn": heed_ctrl_c}
        with subprocess.Popen(words, stdout=-1, stderr=-1, **options) as server:
            line = server.stdout.readline()
            url = f"grpc://127.0.0.1:{port}"
            assert line == f"serving studies/mpsearch.db; for the workers: --storage {url}, or MPSEARCH_STORAGE={url}\n"
            assert open_study("mine", url).records() == mine.records()
            assert json.loads(mpsearch("storage", "check", "--storage", url, "--json")[1])["trials"] == 3
            code, _, err = mpsearch("storage", "serve", "--port", port)
            assert (code, f"can't listen at 127.0.0.1, port {port}: Address already in use" in err) == (1, True)
            server.send_signal(ending)
            out, err = server.communicate(timeout=60)
        assert (server.returncode, out, err) == (0, "ended\n", "")


def test_a_journal_is_not_served(mpsearch, here):
    code, _, err = mpsearch("storage", "serve", "--storage", "journal:///a.log")
    assert (code, "stands in front of SQL databases" in err) == (1, True)
