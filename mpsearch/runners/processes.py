"""Run a study's trials in local processes, several at a time.

Each process has its own traced network and a share of the threads. The parent alone writes to the study.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from mpsearch import errors
from mpsearch.errors import ConfigError, StudyError
from mpsearch.leases import Pace
from mpsearch.runners.job import Job
from mpsearch.runners.ledger import POLL, Ledger, Progress
from mpsearch.runners.limits import Limits
from mpsearch.runners.setup import Setup, setup_of, thread_variables
from mpsearch.space import ResolvedSpace
from mpsearch.spacefile import SpaceFile
from mpsearch.study import Study

FAILED_STARTS = 3  # workers in a row that end before they are ready
PARTING = 5.0  # seconds that a worker has to end by itself
SHOWN_LINES = 20  # of a worker's log, where it couldn't start


def run_in_processes(
    study: Study,
    file: SpaceFile,
    space: ResolvedSpace,
    limits: Limits,
    progress: Progress,
    jobs: int,
    pace: Pace | None = None,
    module: str = "mpsearch.runners.worker_process",
) -> str:
    """Run trials in `jobs` local processes until a limit is reached; trials that run then are trained to their end.

    A process that dies is replaced, and its trial's config tried again, at most 3 times.

    Args:
        study: made for the space.
        file: what workers build their engines of.
        space: what is searched.
        limits: when to end.
        progress: is told what happens.
        jobs: number of processes.
        pace: of leases.
        module: what a worker process runs.

    Returns:
        Why the run ended before it had all trials; empty where it has them.

    Raises:
        ConfigError: `jobs` is below 1.
        StudyError: another process changes the study, or no worker can start; the message has the end of its log.
        KeyboardInterrupt: after the running trials were ended cleanly and their configs queued again.
    """
    if jobs < 1:
        raise ConfigError(f"a run needs at least one process, but got {jobs}")
    setup = setup_of(study, file)
    with Ledger(study, file, space, limits, progress, pace=pace) as ledger, _Pool(study, setup, jobs, module) as pool:
        while True:
            for worker in pool.idle():
                job = ledger.next() if ledger.ended is None else None
                if job is None:
                    break
                worker.begin(job)
            if not pool.busy():
                if ledger.ended is not None:
                    return ledger.ended
                if pool.ready():
                    ledger.wait(0.0)
            for worker, message in pool.messages(POLL):
                _take(ledger, pool, study, worker, message)


def threads_each(jobs: int, cores: int | None = None) -> int:
    """Threads that each of `jobs` processes may use.

    >>> threads_each(4, cores=16), threads_each(4, cores=2)
    (4, 1)

    Args:
        jobs: number of processes.
        cores: that there are; default: those that this process may use.
    """
    if cores is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // jobs)


def _take(ledger: Ledger, pool: "_Pool", study: Study, worker: "_Worker", message: tuple[Any, ...]) -> None:
    """Act on what a worker says."""
    kind, *content = message
    number = worker.job.number if worker.job is not None else None
    if kind == "ready":
        worker.ready = True
        pool.failed_starts = 0
        if not study.kept("float"):
            study.keep("float", {"validation": content[0]})
    elif kind == "epoch":
        worker.send(ledger.epoch(*content))
    elif kind == "mistaken":
        name, text = content
        raise getattr(errors, name, StudyError)(text)
    elif kind == "crashed":
        if number is not None:
            ledger.died(number, content[0].strip().splitlines()[-1])
        raise StudyError(f"a worker failed where it shouldn't:\n{content[0]}")
    elif kind == "died":
        pool.replace(worker)
        if number is not None:
            ledger.died(number, content[0])
    else:
        assert number is not None
        worker.job = None
        ledger.take(number, content[0])


@dataclass
class _Worker:
    """A worker process, as its parent sees it.

    Attributes:
        process: itself.
        connection: to it.
        log: file that has its output.
        ready: whether it has its engine.
        job: what it trains.
    """

    process: subprocess.Popen[bytes]
    connection: Connection
    log: Path
    ready: bool = False
    job: Job | None = None

    def begin(self, job: Job) -> None:
        """Let it train a job."""
        self.job = job
        self.send(job)

    def send(self, message: Any) -> None:
        """Send it something; where it is dead, `messages` says so soon."""
        try:
            self.connection.send(message)
        except OSError:
            return


class _Pool:
    """Workers, started when entered, ended when left."""

    def __init__(self, study: Study, setup: Setup, jobs: int, module: str) -> None:
        self._setup, self._jobs, self._module, self.failed_starts = setup, jobs, module, 0
        self._logs = study.folder / "workers"
        self._workers: list[_Worker] = []

    def __enter__(self) -> "_Pool":
        self._logs.mkdir(parents=True, exist_ok=True)
        for index in range(self._jobs):
            self._workers.append(self._start(index))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            worker.connection.close()  # it ends when it finds that out
        end = time.monotonic() + PARTING
        for worker in self._workers:
            try:
                worker.process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()

    def idle(self) -> Iterator[_Worker]:
        """Workers that wait for a job."""
        return (worker for worker in list(self._workers) if worker.ready and worker.job is None)

    def ready(self) -> bool:
        """Whether any could train."""
        return any(worker.ready for worker in self._workers)

    def busy(self) -> bool:
        """Whether any trains."""
        return any(worker.job is not None for worker in self._workers)

    def messages(self, seconds: float) -> list[tuple[_Worker, tuple[Any, ...]]]:
        """What workers say, waited for at most so long; the deaths of processes are among it."""
        ready = wait([worker.connection for worker in self._workers], seconds)
        found = []
        for worker in self._workers:
            ended = worker.process.poll()  # a process that it started may keep its end of the connection open
            if worker.connection in ready or worker.connection.poll():
                found.append((worker, self._receive(worker)))
            elif ended is not None:
                found.append((worker, ("died", _cause(ended))))
        return found

    def _receive(self, worker: _Worker) -> tuple[Any, ...]:
        try:
            message: tuple[Any, ...] = worker.connection.recv()
        except (EOFError, OSError):
            return "died", _cause(worker.process.wait())
        return message

    def replace(self, worker: _Worker) -> None:
        """Start another one for one that died."""
        worker.connection.close()
        if not worker.ready:
            self.failed_starts += 1
            if self.failed_starts >= FAILED_STARTS:
                lines = worker.log.read_text(errors="replace").splitlines()[-SHOWN_LINES:]
                said = "\n".join(lines)
                raise StudyError(f"{FAILED_STARTS} workers ended before they were ready; the last one said:\n{said}")
        index = self._workers.index(worker)
        self._workers[index] = self._start(index)

    def _start(self, index: int) -> _Worker:
        ours, theirs = socket.socketpair()
        log = self._logs / f"worker-{index + 1}.log"
        with theirs, log.open("ab") as output:
            process = self._popen(theirs, output)
        worker = _Worker(process, Connection(ours.detach()), log)
        worker.send(self._setup)
        return worker

    def _popen(self, theirs: socket.socket, output: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", self._module, str(theirs.fileno())],
            env={**os.environ, **_environment(threads_each(self._jobs))},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C is for the parent
        )


def _environment(threads: int) -> Mapping[str, str]:
    """Environment of a worker: where modules are found, and how many threads it uses."""
    return {**thread_variables(threads), "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _cause(status: int) -> str:
    """Why a process ended, for a user."""
    if status >= 0:
        return f"its process ended with status {status}"
    name = signal.Signals(-status).name
    hint = " (where memory runs out, systems do that)" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{hint}"
