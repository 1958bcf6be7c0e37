"""Ray actors that sleep in place of training.

python -m benchmarks.simulation_ray STORAGE NAME --trials 20 --workers 2    # a driver, as `study run --ray local`
"""

import argparse
import json
import time
from typing import Any

import ray
from ray import tune

from benchmarks import simulation
from mpsearch.runners.job import Job, Report
from mpsearch.runners.ledger import Progress
from mpsearch.runners.limits import Limits
from mpsearch.runners.ray_trainable import SAID, WEIGHTS, TrialTrainable
from mpsearch.runners.ray_tune import Cluster, run_actors
from mpsearch.study import Study, open_study


class SleepingTrainable(TrialTrainable):
    """Sleeps for a trial's seconds."""

    def build(self, seconds: float) -> None:  # type: ignore[override]
        self._seconds, self._float = seconds, 0.9
        simulation.wait_to_begin()

    def train_job(self, job: Job, report: Report) -> dict[str, Any]:
        for epoch in range(simulation.EPOCHS):
            time.sleep(self._seconds / simulation.EPOCHS)
            if report(epoch, {"loss": 1.0, "val_accuracy": simulation.metric(job.config, epoch)}):
                return {SAID: json.dumps({"ended": {}}), "done": True}
        return {SAID: json.dumps({"ended": {"seconds": self._seconds}}), WEIGHTS: [ray.put([])], "done": True}


def run(study: Study, limits: Limits, progress: Progress, workers: int, seconds: float) -> str:
    """Run trials in so many actors, on a Ray of this machine that says it has a CPU for each."""
    ray.init(address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        actor = tune.with_parameters(SleepingTrainable, seconds=seconds)
        cluster = Cluster(max_concurrent=workers)
        return run_actors(study, simulation.FILE, simulation.space(), limits, progress, cluster, actor)
    finally:
        ray.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("storage")
    parser.add_argument("name")
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    study = open_study(options.name, options.storage)
    run(study, Limits(options.trials), simulation.Told(), options.workers, options.seconds)


if __name__ == "__main__":
    main()
