"""Trials that only sleep: real studies, ledgers and processes, without Keras. For `scaling.py` and the tests of faults.

    python -m benchmarks.simulation STORAGE NAME --trials 200 --seconds 0.1      # a worker, as `mpsearch worker` is one

The space has 12 sites; a trial has 3 epochs, and its metric follows from its config alone.
"""

import argparse
import datetime
import hashlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mpsearch import leases
from mpsearch.config import Config, Role
from mpsearch.facts import LayerFacts, ModelFacts, SiteFacts
from mpsearch.leases import Pace
from mpsearch.menu import bits
from mpsearch.provenance import Provenance
from mpsearch.records import TrialRecord
from mpsearch.runners.job import Job
from mpsearch.runners.ledger import Ledger
from mpsearch.runners.limits import Limits
from mpsearch.runners.weights import save_weights, weights_file
from mpsearch.space import ResolvedSpace, Space
from mpsearch.spacefile import SpaceFile
from mpsearch.study import Study, create_study, open_study
from mpsearch.task import Task, Training

EPOCHS = 3
BEGIN = "MPSEARCH_SIMULATION_BEGIN"
"""Environment variable with the `time.time()` at which workers begin, and seconds over which they are spread."""
LAYERS = ("a", "b", "c", "d")
STATED = Space(kernel=bits(2, 4, 8, 16), bias=bits(8, 16), activation=bits(2, 4, 8))


def _nothing() -> Any:
    raise AssertionError("a simulation builds no model and loads no data")


FILE = SpaceFile(Path("simulation.py"), "", Task(_nothing, _nothing, training=Training(epochs=EPOCHS)), STATED)


def space() -> ResolvedSpace:
    """The space of all simulations."""
    sites = [SiteFacts(f"{layer}/{role.value}", layer, "Dense", role, (4, 2)) for layer in LAYERS for role in Role]
    return STATED.resolve(ModelFacts("m", tuple(sites), tuple(LayerFacts(layer, "Dense") for layer in LAYERS), 4))


def create(name: str, storage: str | None, sampler: str = "random", pruner: str = "none", **options: Any) -> Study:
    """A study of simulated trials."""
    empty = dict.fromkeys(("space_path", "space_text", "space_hash", "space_fingerprint", "data_fingerprint"), "")
    was = Provenance(**empty, space_size="1", versions={}, seed=0, sampler=sampler, pruner=pruner, metric="accuracy",
                     reference_costs={}, sites=[], created="", **options)  # fmt: skip
    return create_study(name, was, storage)


def metric(config: Config, epoch: int) -> float:
    """The accuracy of a config after an epoch, from 0: between 0.5 and 1."""
    drawn = int(hashlib.sha256(config.fingerprint.encode()).hexdigest()[:8], 16) / 16**8
    return 0.5 + 0.4 * drawn + 0.1 * (epoch + 1) / EPOCHS


def wait_to_begin() -> None:
    """Wait until this worker's time to begin, if `BEGIN` says one.

    Raises:
        RuntimeError: it was too late for its time.
    """
    if BEGIN in os.environ:
        begin, spread = json.loads(os.environ[BEGIN])
        late = time.time() - begin
        if late > 0:
            raise RuntimeError(f"a worker was ready {late:.1f} s after the first were to begin: give them longer")
        time.sleep(begin + random.uniform(0, spread) - time.time())


def _say(fact: dict[str, Any]) -> None:
    """A line of JSON, in one piece also where several processes write."""
    sys.stdout.write(json.dumps(fact) + "\n")
    sys.stdout.flush()


class Told:
    """Says what happens, a line of JSON each."""

    def trial_started(self, number: int, config: Config) -> None:
        _say({"started": number})

    def epoch_ended(self, number: int, epoch: int, logs: dict[str, float]) -> None:
        _say({"trial": number, "epoch": epoch})

    def trial_ended(self, record: TrialRecord) -> None:
        ended = {"ended": record.number, "state": record.state, "cause": record.cause, "at": time.time()}
        _say(ended)

    def waiting(self, numbers: Sequence[int]) -> None:
        _say({"waiting": list(numbers)})

    def repeat_ended(self, record: TrialRecord, index: int, score: float | None, cause: str) -> None:
        raise AssertionError("a simulation repeats nothing")


def train(ledger: Ledger, job: Job, seconds: float) -> None:
    """Sleep as long as a trial takes, and tell the ledger what a training tells."""
    for epoch in range(EPOCHS):
        time.sleep(seconds / EPOCHS)
        if ledger.epoch(job.number, epoch, {"loss": 1.0, "val_accuracy": metric(job.config, epoch)}):
            break


def work(study: Study, limits: Limits, seconds: float, progress: Any, pace: Pace | None = None) -> str:
    """Train trials in this process beside others, as `runners.inprocess.run` does."""
    with Ledger(study, FILE, space(), limits, progress, alone=False, pace=pace) as ledger:
        while True:
            job = ledger.next()
            if job is not None:
                train(ledger, job, seconds)
                save_weights(weights_file(study, job.number), [], job.config)
                ledger.trained(job.number, seconds)
            elif ledger.ended is not None:
                return ledger.ended
            else:
                ledger.wait()


def _set_clock(offset: float) -> None:
    """Let this process's time of day be wrong by so many seconds, for all modules that ask for it."""
    right = time.time

    class WrongDatetime(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return datetime.datetime.fromtimestamp(right() + offset, tz)

    for module in list(sys.modules.values()):
        if getattr(module, "datetime", None) is datetime.datetime:
            module.datetime = WrongDatetime
    time.time = lambda: right() + offset
    time.time_ns = lambda: int((right() + offset) * 1e9)
    datetime.datetime = WrongDatetime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("storage")
    parser.add_argument("name")
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--grace", type=float, default=Pace().grace)
    parser.add_argument("--machine", help="pretend to run on another machine, whose processes this one doesn't see")
    parser.add_argument("--clock", type=float, default=0.0, help="seconds by which this process's clock is wrong")
    parser.add_argument("--workers", type=int, default=1, help="processes, which share their imports")
    options = parser.parse_args()
    others = []
    for _ in range(options.workers - 1):  # before anything is opened
        others.append(os.fork())
        if not others[-1]:
            others = []
            break
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if options.clock:
        _set_clock(options.clock)
    if options.machine:
        leases._machine = lambda: options.machine
    study = open_study(options.name, options.storage)
    pace = Pace(options.grace / 8, options.grace, options.grace / 4)
    wait_to_begin()
    try:
        ended = work(study, Limits(options.trials), options.seconds, Told(), pace)
    except KeyboardInterrupt:
        sys.exit("interrupted")
    _say({"end": ended})
    for process in others:
        if os.waitpid(process, 0)[1]:
            sys.exit("another worker failed")


if __name__ == "__main__":
    main()
