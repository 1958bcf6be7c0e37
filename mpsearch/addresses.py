"""Addresses: the URLs of storages, taken apart, and shown without what is secret in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, quote, quote_plus, unquote, unquote_plus

from mpsearch.errors import StudyError

DEFAULT_DATABASE = Path("studies") / "mpsearch.db"
HIDDEN = "***"
FORMS = (
    "sqlite:///studies/mine.db, journal:///shared/studies.log, postgresql://user@host:5432/database, "
    "mysql://user@host:3306/database or grpc://host:13000"
)

# what stands in a query may be a password under any name: only what is known to be none is shown
_PLAIN_OPTIONS = frozenset(
    ("mode", "uri", "cache", "immutable", "timeout", "connect_timeout", "sslmode", "host", "port", "charset")
)
_SERVER = re.compile(
    r"//(?:(?P<user>[^:@/?#]*)(?::(?P<password>[^@/?#]*))?@)?"
    r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^:@/?#\[\]\s]*)(?::(?P<port>\d{1,5}))?"
    r"(?:/(?P<database>[^@?#]*))?(?:\?(?P<query>[^@#]*))?"
)


@dataclass(frozen=True)
class Address:
    """Where studies are kept.

    Attributes:
        kind: `sqlite`, `journal`, `postgresql`, `mysql` or `grpc`.
        shown: the URL as it may be printed: without passwords.
        url: the URL itself.
        file: of SQLite and journals; None for SQLite in memory and for servers.
        host, port: of servers.
        secrets: texts that must not be printed, in the ways in which they may be written.
    """

    kind: str
    shown: str
    url: str = field(repr=False)
    file: Path | None = None
    host: str = ""
    port: int | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def redacted(self, text: object) -> str:
        """The first line of a text, for instance of an error, without the address's secrets."""
        line = (str(text).strip().splitlines() or [""])[0]
        for secret in self.secrets:
            line = line.replace(secret, HIDDEN)
        return line

    def gives_away(self, error: BaseException | None) -> bool:
        """Whether the text of an error, or of one that it stems from, holds a secret."""
        while error is not None:
            text = f"{error} {error!r}"
            if any(secret in text for secret in self.secrets):
                return True
            error = error.__cause__ or error.__context__
        return False


def parse_address(url: str | None) -> Address:
    """Take a storage's URL apart; None is the default database.

    Raises:
        StudyError: it has no scheme, an unknown one, or another form than its scheme's; the message repeats nothing
            that may be a part of a password.
    """
    if url is None:
        return Address("sqlite", str(DEFAULT_DATABASE), f"sqlite:///{DEFAULT_DATABASE}", DEFAULT_DATABASE)
    scheme, colon, rest = url.partition(":")
    kind = scheme.partition("+")[0].lower()
    if not colon or "/" in scheme or (rest[:1] != "/" and kind not in _PARSERS):
        raise StudyError(_without_scheme(url))
    if kind not in _PARSERS:
        known = f"a storage of the kind `{kind}`" if kind.isalnum() else "a storage of this kind"
        raise StudyError(f"mpsearch can't use {known}: give a URL such as {FORMS}")
    return _PARSERS[kind](kind, scheme.lower(), rest)


def shown(url: str | None) -> str:
    """A storage's URL as it may be printed: without passwords; only its scheme where it can't be told apart."""
    try:
        return parse_address(url).shown
    except StudyError:
        scheme = re.match(r"([a-z0-9+]+)://", str(url))
        return f"{scheme[1]}://{HIDDEN}" if scheme else "given by --storage"


def _sqlite(kind: str, scheme: str, rest: str) -> Address:
    path, mark, query = rest.partition("?")
    if path not in ("", "//") and (not path.startswith("///") or "@" in path.partition("///")[0]):
        raise StudyError(
            "an SQLite URL has three slashes before the file, four where its path begins at the root: "
            "sqlite:///studies/mine.db, sqlite:////data/mine.db"
        )
    name = path.removeprefix("///") if path.startswith("///") else ""
    options = dict(parse_qsl(query, keep_blank_values=True))
    in_memory = name == "" or ":memory:" in name or "mode=memory" in name or options.get("mode") == "memory"
    return Address(
        kind,
        f"{scheme}:{path}{mark}{_shown_query(query)}",
        f"{scheme}:{rest}",
        None if in_memory else Path(name.removeprefix("file:")),
        secrets=_secrets(None, query),
    )


def _journal(kind: str, scheme: str, rest: str) -> Address:
    if not rest.startswith("///") or rest.endswith("/") or "?" in rest:
        raise StudyError(
            "the URL of a journal has three slashes before the file, four where its path begins at the root: "
            "journal:///studies/mine.log, journal:////shared/mine.log"
        )
    return Address(kind, f"{scheme}:{rest}", f"{scheme}:{rest}", Path(rest[3:]))


def _server(kind: str, scheme: str, rest: str) -> Address:
    found = _SERVER.fullmatch(rest)
    if found is None or not (found["query"] is None or all("=" in part for part in found["query"].split("&"))):
        raise StudyError(
            f"this URL can't be told apart (it isn't shown, since it may hold a password): the form is "
            f"{kind}://user:password@host:port/database, and @ : / ? # % in a user or password are written "
            "percent-encoded, as %40 %3A %2F %3F %23 %25"
        )
    user, password, query = found["user"], found["password"], found["query"] or ""
    login = "" if user is None else user + ("" if password is None else f":{HIDDEN}") + "@"
    place = found["host"] + (f":{found['port']}" if found["port"] else "")
    database = "" if found["database"] is None else f"/{found['database']}"
    return Address(
        kind,
        f"{scheme}://{login}{place}{database}" + (f"?{_shown_query(query)}" if query else ""),
        f"{scheme}:{rest}",
        host=found["host"].strip("[]"),
        port=int(found["port"]) if found["port"] else None,
        secrets=_secrets(password, query),
    )


def _grpc(kind: str, scheme: str, rest: str) -> Address:
    found = _SERVER.fullmatch(rest)
    if found is None or not found["host"] or not found["port"] or found["user"] or found["query"] or found["database"]:
        raise StudyError(
            "the URL of a gRPC proxy is grpc://host:port, for instance grpc://10.0.0.1:13000; `mpsearch storage "
            "serve` prints it"
        )
    place = f"{found['host']}:{found['port']}"
    return Address(kind, f"{scheme}://{place}", f"{scheme}://{place}", host=found["host"], port=int(found["port"]))


_PARSERS = {"sqlite": _sqlite, "journal": _journal, "postgresql": _server, "mysql": _server, "grpc": _grpc}


def _without_scheme(text: str) -> str:
    """The error for a text that is no URL; it repeats the text where that can't hold a password."""
    if re.fullmatch(r"[\w.-]+:\d{1,5}", text):
        return f"`{text}` is no URL: the gRPC proxy there is grpc://{text}"
    if text and not re.search(r"[@:?=\s]", text):
        form = "journal" if text.endswith((".log", ".journal")) else "sqlite"
        return f"`{text}` is no URL: the file is given as {form}:///{text}"
    return f"a storage is given as a URL, {FORMS}"


def _shown_query(query: str) -> str:
    parts = (part.partition("=") for part in query.split("&") if part)
    return "&".join(f"{key}={value if key in _PLAIN_OPTIONS else HIDDEN}" for key, _, value in parts)


def _secrets(password: str | None, query: str) -> tuple[str, ...]:
    """Ways in which a password, and what a query hides, may be written; the longest first."""
    found = set(_written(password or ""))
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if key not in _PLAIN_OPTIONS:
            found.update(_written(value))
    return tuple(sorted((text for text in found if text), key=len, reverse=True))


def _written(secret: str) -> Iterator[str]:
    for plain in (secret, unquote(secret), unquote_plus(secret)):
        yield from (plain, repr(plain)[1:-1], quote(plain, safe=""), quote(plain, safe=" +"), quote_plus(plain))
