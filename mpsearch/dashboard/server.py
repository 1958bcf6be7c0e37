"""The server: optuna-dashboard in front of a study's view."""

import json
import re
import socketserver
from collections.abc import Callable, Iterable
from http import HTTPStatus
from importlib.util import find_spec
from socket import AF_INET6
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from mpsearch.dashboard.files import Files
from mpsearch.dashboard.view import READ_ONLY, STUDY_ID, OutdatedNoteError, StudyView
from mpsearch.errors import MissingPackageError, StudyError
from mpsearch.study import open_study

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

NOTE = re.compile(rf"/api/studies/{STUDY_ID}/(?:(\d+)/)?note")
LONGEST_NOTE = 1_000_000  # bytes


def serve_dashboard(
    name: str,
    storage: str | None,
    host: str,
    port: int,
    ready: Callable[[str], None],
    trouble: Callable[[str], None] = lambda line: None,
) -> None:
    """Show a study in optuna-dashboard until the process is interrupted.

    Args:
        name: of the study.
        storage: where it is kept; None: the usual place.
        host: name or address to listen at; 0.0.0.0 for all of this machine's.
        port: to listen at; 0: a free one.
        ready: is called with the URL once requests are answered.
        trouble: is told what goes wrong meanwhile.

    Raises:
        StudyError: there is no such study, or the port is taken.
        MissingPackageError: optuna-dashboard isn't installed.
    """
    if find_spec("optuna_dashboard") is None:
        raise MissingPackageError("the dashboard needs optuna-dashboard: pip install 'mpsearch[dashboard]'")
    from mpsearch.storages import shown

    view = StudyView(open_study(name, storage), None if storage is None else shown(storage), trouble)
    with _listening(host, port, application(view)) as server:
        reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host.strip("[]"), host.strip("[]"))
        at = f"[{reached}]" if ":" in reached else reached
        ready(f"http://{at}:{server.server_port}/dashboard/studies/{STUDY_ID}")
        server.serve_forever()


def application(view: StudyView) -> "WSGIApplication":
    """optuna-dashboard of a view; of what changes something, it takes notes alone."""
    from optuna_dashboard import wsgi

    inner = wsgi(view, artifact_store=Files(view.artifacts))

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return inner(environ, start_response)
        place = NOTE.fullmatch(environ["PATH_INFO"].rstrip("/"))
        if place is None or environ["REQUEST_METHOD"] != "PUT":
            status, reason = HTTPStatus.METHOD_NOT_ALLOWED, READ_ONLY
        else:
            status, reason = _write_note(view, place[1], environ)
        body = b"" if status is HTTPStatus.NO_CONTENT else json.dumps({"reason": reason}).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response(f"{status.value} {status.phrase}", headers)
        return [body]

    return answer


def _write_note(view: StudyView, number: str | None, environ: "WSGIEnvironment") -> tuple[HTTPStatus, str]:
    """What came of writing a note, and what is to be said of it."""
    if environ.get("CONTENT_TYPE", "").partition(";")[0].strip() != "application/json":  # as no other site can send it
        return HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a note is sent as JSON"
    try:
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if length > LONGEST_NOTE:
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a note has at most {LONGEST_NOTE:,} bytes"
        sent = json.loads(environ["wsgi.input"].read(length))
        version, body = int(sent["version"]), str(sent["body"])
    except (ValueError, KeyError, TypeError):
        return HTTPStatus.BAD_REQUEST, "a note has a version and a body"
    try:
        view.write_note(None if number is None else int(number), version, body)
    except OutdatedNoteError as error:
        return HTTPStatus.CONFLICT, str(error)
    except (StudyError, KeyError) as error:
        return HTTPStatus.SERVICE_UNAVAILABLE, f"the note wasn't kept: {error}"
    return HTTPStatus.NO_CONTENT, ""


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    """Answers each request in a thread of its own, so that a long computation holds up no other."""

    daemon_threads = True


class _ServerV6(_Server):
    address_family = AF_INET6


class _Handler(WSGIRequestHandler):
    """Logs no requests."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _listening(host: str, port: int, app: "WSGIApplication") -> WSGIServer:
    name = host.strip("[]")
    try:
        return make_server(name, port, app, _ServerV6 if ":" in name else _Server, _Handler)
    except OSError as error:
        raise StudyError(
            f"can't listen at {host}, port {port}: {error.strerror}; give another --port, 0 for a free one, or --host"
        ) from error
