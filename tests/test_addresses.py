"""Addresses: what is shown of a URL, and that no password is."""

import logging
import traceback
from urllib.parse import quote, quote_plus

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from mpsearch.addresses import parse_address, shown
from mpsearch.errors import StudyError
from mpsearch.storagecheck import check_storage
from mpsearch.storages import open_storage
from mpsearch.transfer import copy_studies
from tests.ports import free_port

ENCODERS = {"as it is": str, "quoted": lambda text: quote(text, safe=""), "form": quote_plus}
# begins with letters that no other part of a message has, so that it can be looked for
PASSWORDS = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=12).map(lambda rest: f"Xyq{rest}Z7")
PLACES = ("{scheme}://me:{password}@127.0.0.1:{port}/x", "{scheme}://127.0.0.1:{port}/x?password={password}",
          "{scheme}://me@127.0.0.1:{port}/x?sslpassword={password}&sslmode=disable",
          "{scheme}://me:{password}@127.0.0.1:{port}/x?unknown=1",
          "{scheme}:{password}@127.0.0.1/x", "{scheme}://me:{password}", "me:{password}@127.0.0.1:{port}/x",
          "{scheme}:///me:{password}@127.0.0.1/x")  # fmt: skip
SCHEMES = ("postgresql", "postgresql+psycopg", "postgres", "mysql", "grpc", "oracle", "postgresql+other", "redis")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (None, "studies/mpsearch.db"),
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("sqlite:////data/a b.db", "sqlite:////data/a b.db"),
        ("sqlite:///file:a.db?mode=ro&uri=true", "sqlite:///file:a.db?mode=ro&uri=true"),
        ("journal:////shared/a.log", "journal:////shared/a.log"),
        ("grpc://node7:13000", "grpc://node7:13000"),
        ("postgresql://me:secret@db:5432/x?sslmode=require", "postgresql://me:***@db:5432/x?sslmode=require"),
        ("postgresql://me@[::1]:5432/x", "postgresql://me@[::1]:5432/x"),
        ("postgresql:///x?host=/run/postgresql", "postgresql:///x?host=/run/postgresql"),
        ("postgresql://db/x?user=me&password=secret", "postgresql://db/x?user=***&password=***"),
        ("mysql+pymysql://me:s%2Fecret@db/x", "mysql+pymysql://me:***@db/x"),
        ("postgresql://me:se/cret@db/x", "postgresql://***"),
        ("postgresql://me:se@cret@db/x", "postgresql://***"),
        ("me:secret@db/x", "given by --storage"),
    ],
)
def test_a_url_is_shown_without_its_password(url, expected):
    assert shown(url) == expected


def test_a_url_is_taken_apart():
    found = parse_address("postgresql://me:p%40ss@[::1]:5433/x")
    assert (found.kind, found.host, found.port, found.file) == ("postgresql", "::1", 5433, None)
    assert "p@ss" in found.secrets
    assert "p%40ss" not in repr(found)
    assert str(parse_address("journal:////shared/a.log").file) == "/shared/a.log"
    assert str(parse_address("sqlite:///a/b.db").file) == "a/b.db"
    assert parse_address("sqlite://").file is None


def texts(error: BaseException) -> str:
    """All that is printed of an error: its message, and the traceback with those that it stems from."""
    return f"{error} {error!r} {''.join(traceback.format_exception(error))}"


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PASSWORDS, st.sampled_from(list(ENCODERS)), st.sampled_from(PLACES), st.sampled_from(SCHEMES))
def test_no_error_and_no_log_line_tells_a_password(caplog, capfd, password, encoder, place, scheme):
    caplog.set_level(logging.DEBUG)
    written = ENCODERS[encoder](password)
    url = place.format(scheme=scheme, password=written, port=free_port())
    said = [shown(url)]
    for use in (lambda: open_storage(url, patience=0), lambda: check_storage(url), lambda: copy_studies(url, url)):
        with pytest.raises(StudyError) as raised:
            use()
        said.append(texts(raised.value))
    said += [record.getMessage() for record in caplog.records] + list(capfd.readouterr())
    for text in said:
        assert "Xyq" not in text


def test_a_server_that_refuses_a_password_does_not_tell_it(postgres, postgres_url, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    right = quote(postgres.password, safe="")
    for url in (
        postgres_url.replace(right, right + "x"),
        postgres_url + "x",
        f"{postgres_url}?application_name={right}&a={right}",
    ):
        with pytest.raises(StudyError) as raised:
            check_storage(url)
        for text in (texts(raised.value), shown(url), caplog.text, *capfd.readouterr()):
            assert postgres.password not in text
            assert right not in text
    check_storage(postgres_url)


@pytest.mark.parametrize(
    "password", ["{x}", "%7Bx%7D{0}", "a b+c%20", "%", "%%25", "{SCHEMA_VERSION}", "é'\"\\", ":::"]
)
def test_passwords_of_all_kinds_reach_the_server(monkeypatch, password):
    import psycopg

    received = []

    def connect(*arguments, **options):
        received.append(options["password"])
        raise psycopg.OperationalError("password authentication failed")

    monkeypatch.setattr(psycopg.Connection, "connect", connect)
    monkeypatch.setattr(psycopg, "connect", connect)
    with pytest.raises(StudyError, match="password authentication failed"):
        open_storage(f"postgresql://me:{quote(password, safe='')}@db/x", patience=0)
    assert received == [password]
