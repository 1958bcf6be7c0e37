"""Ports for the tests' servers."""

import socket


def free_port() -> int:
    """A TCP port of 127.0.0.1 at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
