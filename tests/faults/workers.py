"""Local workers with a fault, for `run_in_processes(…, module="tests.faults.workers")`.

The name of the space file says which fault.
"""

import os
import resource
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from benchmarks.simulation import space
from benchmarks.simulation_worker import SleepingWorker
from mpsearch.runners.job import Ending
from mpsearch.runners.weights import save_weights, weights_path

ROOM = 2**30  # bytes that a hungry worker may take besides those that it has
SLEEP = 0.05


class ForkingWorker(SleepingWorker):
    """In trial 1 starts a process, as loaders of data do, and is killed while that lives on."""

    def build(self, setup):
        self._seconds, self._folder = SLEEP, setup.folder
        return 0.9

    def train(self, job, report):
        if job.number == 1:
            child = os.fork()
            if not child:
                time.sleep(120)
                os._exit(0)
            (self._folder / "child").write_text(str(child))
            os.kill(os.getpid(), signal.SIGKILL)
        return super().train(job, report)


class HungryWorker(SleepingWorker):
    """Trains the config with 16 bits everywhere on arrays for which the system has no memory."""

    def build(self, setup):
        from mpsearch.runners import jobs

        self._jobs, self._folder = jobs, setup.folder
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + ROOM, size + ROOM))
        return 0.9

    def train(self, job, report):
        def allocate(config, seed, **options):
            parts = [np.ones(ROOM // 4, np.uint8) for _ in range(8 if config == space().uniform(16) else 1)]
            for epoch in range(3):
                options["report"](epoch, {"loss": 1.0, "val_accuracy": float(parts[0][epoch]) / 2})
            return SimpleNamespace(seconds=SLEEP, state=[])

        engine = SimpleNamespace(
            train=allocate, task=SimpleNamespace(training=SimpleNamespace(tensorboard=False, observe=False))
        )
        ending, state = self._jobs.train(engine, job, report, self._folder)
        if state is not None:
            save_weights(weights_path(self._folder, job.number), state, job.config)
        assert isinstance(ending, Ending)
        return ending


class FaultyWorker(SleepingWorker):
    """The one that the space file names."""

    def build(self, setup):
        self.__class__ = {"forking": ForkingWorker, "hungry": HungryWorker}[setup.space.stem]
        return self.build(setup)


if __name__ == "__main__":
    FaultyWorker(Connection(int(sys.argv[1]))).serve()
