"""A local worker: one process that trains the jobs its parent sends; `python -m mpsearch.runners.worker_process FD`.

It never touches the study. It ends at once when its parent does: nobody would take the result.
"""

import os
import queue
import sys
import threading
import traceback
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from mpsearch.errors import MpsearchError
from mpsearch.runners.job import Ending, Job, Report
from mpsearch.runners.setup import Setup, build_engine, grow_gpu_memory


class Worker:
    """Serves one parent.

    Args:
        parent: connection to it.
    """

    def __init__(self, parent: Connection) -> None:
        self._parent = parent
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            try:
                self._inbox.put(self._parent.recv())
            except (EOFError, OSError):
                os._exit(0)

    def serve(self) -> None:
        """Build the engine, then train jobs until the parent ends."""
        try:
            self._serve(self._inbox.get())
        except MpsearchError as error:
            self._parent.send(("mistaken", type(error).__name__, str(error)))
        except BaseException:
            self._parent.send(("crashed", traceback.format_exc()))
        self._inbox.get()  # the parent ends this process

    def _serve(self, setup: Setup) -> None:
        self._folder = setup.folder
        self._parent.send(("ready", self.build(setup)))
        while True:
            job = self._inbox.get()
            self._parent.send(("ended", self.train(job, partial(self._report, job.number))))

    def _report(self, number: int, epoch: int, logs: dict[str, float]) -> bool:
        self._parent.send(("epoch", number, epoch, logs))
        return bool(self._inbox.get())

    def build(self, setup: Setup) -> float:
        """Get ready to train; the float model's metric."""
        grow_gpu_memory()
        self._engine = build_engine(setup)
        return self._engine.float_metric()

    def train(self, job: Job, report: Report) -> Ending:
        """Train a job and keep what it learned."""
        from mpsearch.runners.jobs import train
        from mpsearch.runners.weights import save_weights, weights_path

        ending, state = train(self._engine, job, report, self._folder)
        if state is not None:
            save_weights(weights_path(self._folder, job.number), state, job.config)
        return ending


def main() -> None:
    """Serve the parent at the socket whose number is the first argument."""
    Worker(Connection(int(sys.argv[1]))).serve()


if __name__ == "__main__":
    main()
