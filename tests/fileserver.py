"""A server of files on this machine, for tests of downloads."""

import http.server
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256

from mpsearch.datasets.sources import SOURCES, Source


class _Handler(http.server.BaseHTTPRequestHandler):
    files: Mapping[str, bytes]
    lost: int

    def do_GET(self) -> None:
        content = self.files.get(self.path.rsplit("/", 1)[-1])
        if content is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) - self.lost])

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serving(files: Mapping[str, bytes], lost: int = 0) -> Iterator[str]:
    """Serve files by their names; the address of their folder.

    Args:
        files: names to contents.
        lost: bytes at the end of each that are announced, but never sent.
    """
    handler = type("Handler", (_Handler,), {"files": files, "lost": lost})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def redirected(name: str, address: str, files: Mapping[str, bytes]) -> Source:
    """A dataset's source with other addresses, and the checksums of the files that are there."""
    source = SOURCES[name]
    downloads = tuple(
        replace(one, url=f"{address}/{one.file}", checksum=f"sha256:{sha256(files[one.file]).hexdigest()}")
        for one in source.downloads
    )
    return replace(source, downloads=downloads)
