"""A local worker that sleeps in place of training; `run_in_processes(…, module="benchmarks.simulation_worker")`."""

import sys
import time
from multiprocessing.connection import Connection

from benchmarks.simulation import EPOCHS, metric, wait_to_begin
from mpsearch.runners.job import Ending, Job, Report
from mpsearch.runners.setup import Setup
from mpsearch.runners.weights import save_weights, weights_path
from mpsearch.runners.worker_process import Worker


class SleepingWorker(Worker):
    """Sleeps for as many seconds as the setup's space file is called."""

    def build(self, setup: Setup) -> float:
        assert not isinstance(setup.space, bytes)
        self._seconds, self._folder = float(setup.space.stem), setup.folder
        wait_to_begin()
        return 0.9

    def train(self, job: Job, report: Report) -> Ending:
        for epoch in range(EPOCHS):
            time.sleep(self._seconds / EPOCHS)
            if report(epoch, {"loss": 1.0, "val_accuracy": metric(job.config, epoch)}):
                break
        else:
            save_weights(weights_path(self._folder, job.number), [], job.config)
        return Ending(seconds=self._seconds)


if __name__ == "__main__":
    SleepingWorker(Connection(int(sys.argv[1]))).serve()
