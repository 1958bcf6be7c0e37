"""A MariaDB server of the tests' own, on a free port of this machine; it speaks MySQL's protocol."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

from tests.ports import free_port

PACKAGE = "mariadb-server"  # Debian's and Ubuntu's name
PATIENCE = 60.0  # seconds for the server to start


class MariaDB:
    """A server with a data folder of its own; started by `start`."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="mpsearch-mariadb-"))
        self._password, self.port = f"p@/{secrets.token_hex(8)}:%", free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._log = self._folder / "log"
        if os.geteuid() == 0:
            shutil.chown(self._folder, "mysql", "mysql")
        self._data = ["--no-defaults", f"--datadir={self._folder / 'data'}"]
        self._user = ["--user=mysql"] if os.geteuid() == 0 else []
        self._begin(["mariadb-install-db", *self._data, *self._user, "--auth-root-authentication-method=normal"]).wait()
        self.start()
        self._ask(f"CREATE USER 'mpsearch'@'127.0.0.1' IDENTIFIED BY '{self._password}'")
        self._ask("GRANT ALL ON *.* TO 'mpsearch'@'127.0.0.1'")

    def start(self) -> None:
        """Start the server, and wait until it takes connections."""
        socket = f"--socket={self._folder / 'socket'}"
        place = [f"--port={self.port}", "--bind-address=127.0.0.1", socket, "--character-set-server=utf8mb4"]
        self._process = self._begin(["mariadbd", *self._data, *self._user, *place])
        end = time.monotonic() + PATIENCE
        while subprocess.run([*self._client(), "-e", "SELECT 1"], capture_output=True).returncode:
            if time.monotonic() > end or self._process.poll() is not None:
                raise RuntimeError(f"MariaDB doesn't start: {self._log.read_text()}")
            time.sleep(0.1)

    def kill(self) -> None:
        """End the server as in a crash."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def create_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"tests_{secrets.token_hex(4)}"
        self._ask(f"CREATE DATABASE {name}")
        return f"mysql://mpsearch:{quote(self._password, safe='')}@127.0.0.1:{self.port}/{name}"

    def remove(self) -> None:
        """End the server and remove its folder."""
        self.kill()
        shutil.rmtree(self._folder)

    def _client(self) -> list[str]:
        return ["mariadb", "--no-defaults", "-uroot", f"--socket={self._folder / 'socket'}"]

    def _ask(self, statement: str) -> None:
        subprocess.run([*self._client(), "-e", statement], check=True, capture_output=True)

    def _begin(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
