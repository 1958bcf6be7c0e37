"""A PostgreSQL server of the tests' own, on a free port of this machine."""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.ports import free_port

PACKAGE = "postgresql"  # Debian's and Ubuntu's name


def programs() -> Path | None:
    """The folder of PostgreSQL's programs, the latest version's; None where it isn't installed."""
    found = [folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if (folder / "initdb").exists()]
    if found:
        return max(found, key=lambda folder: int(folder.parent.name))
    on_path = shutil.which("initdb")
    return None if on_path is None else Path(on_path).parent


class Postgres:
    """A server with a data folder of its own, which writes to the disk as in earnest; started by `start`.

    Attributes:
        password: of its user, random; one that has to be percent-encoded in a URL.
    """

    def __init__(self, bin_folder: Path) -> None:
        self._bin = bin_folder
        self._folder = Path(tempfile.mkdtemp(prefix="mpsearch-postgres-"))
        self.password = f"p@/{secrets.token_hex(8)}:%"
        self.port = free_port()
        (self._folder / "password").write_text(self.password)
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            for path in (self._folder, self._folder / "password"):
                shutil.chown(path, "postgres", "postgres")
        data = self._folder / "data"
        login = ("--username", "mpsearch", "--pwfile", str(self._folder / "password"), "--auth", "scram-sha-256")
        self._run("initdb", "--pgdata", str(data), "--encoding", "UTF8", "--no-locale", *login)

    def url(self, database: str = "postgres") -> str:
        """The URL of a database, with the password."""
        encoded = "".join(c if c.isalnum() else f"%{ord(c):02X}" for c in self.password)
        return f"postgresql://mpsearch:{encoded}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server, and wait until it takes connections."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder}"
        log = str(self._folder / "log")
        self._run("pg_ctl", "--pgdata", str(self._folder / "data"), "--log", log, "--options", options, "-w", "start")

    def stop(self, mode: str = "fast") -> None:
        """End the server: `fast` breaks connections off, `immediate` is a crash."""
        self._run("pg_ctl", "--pgdata", str(self._folder / "data"), "-w", "--mode", mode, "stop")

    def create_database(self) -> str:
        """The URL of a new, empty database."""
        import psycopg

        name = f"tests_{secrets.token_hex(4)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        return self.url(name)

    def remove(self) -> None:
        """End the server and remove its folder."""
        self.stop("immediate")
        shutil.rmtree(self._folder)

    def _run(self, program: str, *options: str) -> None:
        before: Sequence[str] = ("runuser", "-u", "postgres", "--") if os.geteuid() == 0 else ()
        log = self._folder / f"{program}.out"  # no pipe: the server would hold it open
        with log.open("wb") as out:
            words = [*before, str(self._bin / program), *options]
            code = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/").returncode
        if code:
            raise RuntimeError(f"{program} ended with {code}: {log.read_text()}")
