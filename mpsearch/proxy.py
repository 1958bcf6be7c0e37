"""Proxy: serve a storage to other machines over gRPC."""

import socket
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

from optuna.exceptions import ExperimentalWarning

from mpsearch.errors import StudyError
from mpsearch.storages import open_storage, shown

THREADS = 32  # requests that are answered at the same time
GRACE_SECONDS = 5  # that requests get to end when the server ends


def serve_storage(url: str | None, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Answer requests for a storage until the process is interrupted; those that have begun are answered first.

    Args:
        url: of an SQL database.
        host: name or address to listen at; 0.0.0.0 for all of this machine's.
        port: to listen at.
        ready: is called with the URL for the workers once requests are answered.

    Raises:
        StudyError: the storage can't be opened or isn't an SQL database, the port is taken, or gRPC isn't installed.
    """
    if find_spec("grpc") is None or find_spec("google.protobuf") is None:
        raise StudyError("gRPC isn't installed: pip install 'mpsearch[grpc]'")
    storage = open_storage(url, create=True)
    if storage.address.kind in ("journal", "grpc"):
        raise StudyError(
            f"Optuna's proxy stands in front of SQL databases, and {shown(url)} is none: give PostgreSQL, MySQL or "
            "SQLite; workers can use it as it is"
        )
    storage.serves = True
    _check_port(host, port)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        from optuna.storages._grpc.server import make_server  # its public caller can't be ended in good order

        server = make_server(storage, host, port, ThreadPoolExecutor(THREADS))
    server.start()
    try:
        ready(f"grpc://{socket.gethostname() if host in ('0.0.0.0', '::', '[::]') else host}:{port}")
        server.wait_for_termination()
    finally:
        server.stop(GRACE_SECONDS).wait()


def _check_port(host: str, port: int) -> None:
    """Refuse a port that is taken; gRPC would share it with the other server, and each get some of the requests."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port that was just given up is free
            probe.bind(place)
            probe.listen()
    except OSError as error:
        raise StudyError(
            f"can't listen at {host}, port {port}: {error.strerror}; give another --port or --host"
        ) from error
