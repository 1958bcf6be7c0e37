"""Run a study's trials on Ray Tune: on one machine or a cluster.

The driver holds the study: a Searcher gives out its trials and takes their results, a scheduler stops those that its
pruner, or Tune's ASHA, stops. Ray places the actors, and starts others where they die.
"""

import json
import logging
import os
import re
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mpsearch.errors import ConfigError, MissingPackageError, StudyError

try:
    import ray
    from ray import tune
    from ray.tune.experiment import Trial
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
    from ray.tune.search import Searcher
except ImportError as missing:
    raise MissingPackageError("running on Ray needs ray: pip install 'mpsearch[ray]'") from missing

from mpsearch import errors
from mpsearch.data import Data
from mpsearch.goal import Objective
from mpsearch.leases import Pace
from mpsearch.runners.job import Ending, Job
from mpsearch.runners.ledger import POLL, Ledger, Progress
from mpsearch.runners.limits import Limits
from mpsearch.runners.ray_trainable import SAID, WEIGHTS, TrialTrainable
from mpsearch.runners.setup import portable, setup_of
from mpsearch.runners.weights import save_weights, weights_file
from mpsearch.space import ResolvedSpace
from mpsearch.spacefile import SpaceFile
from mpsearch.split import Split
from mpsearch.study import Study

FAILED_STARTS = 3  # actors in a row that end before they can train
EPOCHS = "epochs"  # key of a result: how many its trial has
REACHED_WITHIN = 10.0  # seconds in which the head of a cluster must answer
FETCH = 300.0  # seconds that fetching a trial's weights may take
_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the run as it ends others
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # the study is the record
    "RAY_AIR_NEW_OUTPUT": "0",  # the run has its own display
}


@dataclass(frozen=True)
class Cluster:
    """Where and how trials run.

    Attributes:
        address: of a running cluster that this machine is a node of, "auto" (RAY_ADDRESS, or the one that is found
            here) or "host:port"; "local" starts Ray here.
        cpus: of each trial; they are its threads too.
        gpus: of each trial; a fraction lets trials share one.
        max_concurrent: trials at the same time; default: as many as the cluster has resources for when the run begins.
            Where it is given, nodes may come later, as on a cluster that grows by itself.
        scheduler: "study" for the study's pruner, "asha" for Tune's ASHA.
    """

    address: str = "local"
    cpus: float = 1
    gpus: float = 0
    max_concurrent: int | None = None
    scheduler: str = "study"

    def __post_init__(self) -> None:
        if self.scheduler not in ("study", "asha"):
            raise ConfigError(f"`scheduler` must be study or asha, but got {self.scheduler!r}")
        if not (self.cpus >= 0 and self.gpus >= 0 and self.cpus + self.gpus > 0):
            raise ConfigError(f"a trial needs CPUs or GPUs, but got cpus={self.cpus:g} and gpus={self.gpus:g}")
        if self.address.startswith("ray://"):
            raise ConfigError(
                f"the process that holds a study can't be a Ray client ({self.address}): run it on a node of the "
                "cluster, with auto or HOST:PORT of the head for the address"
            )
        if self.address not in ("local", "auto") and not re.fullmatch(r".+:\d+", self.address):
            raise ConfigError(f"the address of a Ray cluster is local, auto or HOST:PORT, but got {self.address!r}")
        if self.max_concurrent is not None and self.max_concurrent < 1:
            raise ConfigError(f"`max_concurrent` must be at least 1, but got {self.max_concurrent}")


def run_on_ray(
    study: Study,
    file: SpaceFile,
    data: Data,
    space: ResolvedSpace,
    limits: Limits,
    progress: Progress,
    cluster: Cluster,
    pace: Pace | None = None,
) -> str:
    """Run trials on Ray until a limit is reached; trials that run then are trained to their end.

    Args:
        study: made for the space.
        file: what actors build their engines of; it is sent to them with the modules and small files beside it.
        data: the task's; arrays are sent to the actors, streams are opened there.
        space: what is searched.
        limits: when to end.
        progress: is told what happens.
        cluster: where and how.
        pace: of leases.

    Returns:
        Why the run ended before it had all trials; empty where it has them.

    Raises:
        ConfigError: the cluster has no node with a trial's resources, or its scheduler can't work for the study's
            objective.
        StudyError: another process changes the study, there is no cluster at the address, or an actor finds another
            task than the study's.
        KeyboardInterrupt: after the running trials were ended cleanly and their configs queued again.
    """
    if cluster.scheduler == "asha" and study.goal.objective is Objective.PARETO:
        raise ConfigError(
            "the scheduler asha stops trials by their score, but the study looks for a front: leave it out; of fronts "
            "the study's own pruner knows (`study create --pruner dominated`)"
        )
    with connected(cluster):
        sent = all(part is None or isinstance(part, Split) for part in (data.train, data.validation, data.test))
        setup = portable(setup_of(study, file), file, data)
        actor = tune.with_parameters(
            TrialTrainable, setup=setup, data=data if sent else None, threads=max(1, int(cluster.cpus))
        )
        return run_actors(study, file, space, limits, progress, cluster, actor, pace)


def run_actors(
    study: Study,
    file: SpaceFile,
    space: ResolvedSpace,
    limits: Limits,
    progress: Progress,
    cluster: Cluster,
    actor: Any,
    pace: Pace | None = None,
) -> str:
    """As `run_on_ray`, with any actor that says what `TrialTrainable` says; Ray is connected.

    Args:
        study, file, space, limits, progress, cluster, pace: as there.
        actor: a Tune trainable.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the run says what becomes of trials
    concurrent = _capacity(cluster)
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(concurrent)  # else actors would start one after the other
    with (
        tempfile.TemporaryDirectory(prefix="mpsearch-") as folder,
        Ledger(study, file, space, limits, progress, pace=pace) as ledger,
    ):
        bridge = _Bridge(study, ledger, concurrent, file.task.training.epochs)
        tune.run(
            tune.with_resources(actor, {"cpu": cluster.cpus, "gpu": cluster.gpus}),
            search_alg=_StudySearcher(bridge),
            scheduler=_StudyScheduler(bridge, _inner(cluster, bridge)),
            stop=bridge.stopper,
            num_samples=-1,
            reuse_actors=True,
            raise_on_failed_trial=False,
            storage_path=folder,
            verbose=0,
        )
        if bridge.error is not None:
            raise bridge.error
        if ledger.ended is None:
            raise StudyError("Ray Tune ended the run before the study was at its end: run it again, and it goes on")
        return ledger.ended


class _Bridge:
    """Between Tune's trials and the ledger's.

    Args:
        study: whose trials they are.
        ledger: gives them out.
        concurrent: how many run at the same time.
        epochs: of a trial.

    Attributes:
        error: what ends the run, None while it goes on.
    """

    def __init__(self, study: Study, ledger: Ledger, concurrent: int, epochs: int) -> None:
        self._study, self._ledger, self._concurrent, self.epochs = study, ledger, concurrent, epochs
        self._jobs: dict[str, Job] = {}
        self._causes: dict[str, str] = {}
        self._nothing_until = 0.0
        self._ready: set[str] = set()  # trials whose actor can train
        self._failed_starts = 0  # in a row
        self.error: Exception | None = None

    @contextmanager
    def errors_end_the_run(self) -> Iterator[None]:
        """Keep an error for the end of Tune's run, which comes soon: Tune would wrap it in its own."""
        try:
            yield
        except Exception as error:
            self.error = self.error or error

    def next(self, trial_id: str) -> dict[str, Any] | str | None:
        """A trial's description for its actor; None where nothing can begin now, FINISHED at the run's end."""
        if self.error is not None or self._ledger.ended is not None:
            return str(Searcher.FINISHED)
        if len(self._jobs) >= self._concurrent or time.monotonic() < self._nothing_until:
            return None
        job = self._ledger.next()
        if job is None:
            self._nothing_until = time.monotonic() + POLL
            return None if self._ledger.ended is None else str(Searcher.FINISHED)
        self._jobs[trial_id] = job
        return {"number": job.number, "config": job.config.to_json(), "seed": job.seed}

    def ready(self, trial_id: str, said: dict[str, Any]) -> None:
        """A trial's actor can train."""
        self._ready.add(trial_id)
        self._failed_starts = 0
        if not self._study.kept("float"):
            self._study.keep("float", {"validation": said["float"]})

    def epoch(self, trial_id: str, said: dict[str, Any]) -> bool:
        """Take an epoch; whether the study's pruner stops its trial."""
        return self._ledger.epoch(self._jobs[trial_id].number, said["epoch"], said["logs"])

    def prune(self, trial_id: str, epoch: int) -> None:
        """Let Tune's scheduler stop a trial."""
        self._ledger.prune(self._jobs[trial_id].number, epoch, "Tune's ASHA")

    def score(self, trial_id: str) -> float:
        """The score of a trial's last epoch."""
        return self._ledger.score(self._jobs[trial_id].number)

    def lose(self, trial_id: str, cause: str) -> None:
        """Remember why Tune gave a trial up; `end` comes next."""
        self._causes[trial_id] = cause

    def end(self, trial_id: str, result: dict[str, Any] | None) -> None:
        """Take a trial's end; None for the result where its actor died."""
        self._nothing_until = 0.0
        if trial_id not in self._jobs or self.error is not None:  # then the ledger ends the trials that run
            return
        job, cause = self._jobs.pop(trial_id), self._causes.pop(trial_id, "its actor died")
        said = {} if result is None else json.loads(result[SAID])
        if "mistaken" in said:
            name, text = said["mistaken"]
            self.error = getattr(errors, name, StudyError)(text)
            self._ledger.interrupted(job.number, f"{name}: {text}")
        elif "crashed" in said:
            self.error = StudyError(f"an actor failed where it shouldn't:\n{said['crashed']}")
            self._ledger.died(job.number, said["crashed"].strip().splitlines()[-1])
        elif result is not None:
            self._keep(job, result, Ending(**said.get("ended", {})))
        elif trial_id in self._ready:
            self._ledger.died(job.number, cause)
        else:
            self._ledger.interrupted(job.number, cause)
            self._failed_starts += 1
            if self._failed_starts >= FAILED_STARTS:
                ended = f"{FAILED_STARTS} actors ended before they could train"
                self.error = StudyError(f"{ended}; of the last one: {cause}")

    def _keep(self, job: Job, result: dict[str, Any], ending: Ending) -> None:
        """Take what came of a job, and its weights, where it has some: not those that Tune keeps with its result."""
        weights = result.get(WEIGHTS)
        if weights:
            try:
                state = ray.get(weights.pop(), timeout=FETCH)
            except ray.exceptions.RayError as error:  # the node died after its last word
                self._ledger.died(job.number, f"its weights were lost: {type(error).__name__}")
                return
            save_weights(weights_file(self._study, job.number), state, job.config)
        self._ledger.take(job.number, ending)

    @property
    def stopper(self) -> "tune.Stopper":
        """Ends Tune's run where something went wrong."""
        return _ErrorStopper(self)


class _Shared:
    """Tune copies what it is given; the study is one."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _ErrorStopper(_Shared, tune.Stopper):
    def __init__(self, bridge: _Bridge) -> None:
        self._bridge = bridge

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._bridge.error is not None


class _StudySearcher(_Shared, Searcher):
    """Gives out the trials of a study."""

    def __init__(self, bridge: _Bridge) -> None:
        super().__init__(metric="score", mode="max")
        self._bridge = bridge

    def suggest(self, trial_id: str) -> Any:  # a trial, None or FINISHED
        with self._bridge.errors_end_the_run():
            return self._bridge.next(trial_id)
        return Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        with self._bridge.errors_end_the_run():
            self._bridge.end(trial_id, None if error else result)

    def save(self, checkpoint_path: str) -> None:
        """The study is the record."""

    def restore(self, checkpoint_path: str) -> None:
        """The study is the record."""


class _StudyScheduler(_Shared, FIFOScheduler):
    """Stops what the study's pruner, or a scheduler of Tune's, stops."""

    def __init__(self, bridge: _Bridge, inner: TrialScheduler | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._bridge, self._inner = bridge, inner

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        if self._inner is not None:
            self._inner.on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        with self._bridge.errors_end_the_run():
            return self._decision(tune_controller, trial, result)
        return str(TrialScheduler.STOP)

    def _decision(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        said = json.loads(result[SAID])
        if "ready" in said:
            self._bridge.ready(trial.trial_id, said["ready"])
        if "epoch" not in said:
            return str(TrialScheduler.CONTINUE)
        if self._bridge.epoch(trial.trial_id, said):
            return str(TrialScheduler.STOP)
        last = said["epoch"] + 1 >= self._bridge.epochs
        if self._inner is not None and not last:
            result |= {"score": self._bridge.score(trial.trial_id), EPOCHS: said["epoch"] + 1}
            if self._inner.on_trial_result(tune_controller, trial, result) == TrialScheduler.STOP:
                self._bridge.prune(trial.trial_id, said["epoch"])
                return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        self._bridge.lose(trial.trial_id, _cause(trial.error_file))


def _cause(file: str | None) -> str:
    """Why an actor died, by what Tune wrote of it: the last line of its traceback, or Ray's own words."""
    text = Path(file).read_text(errors="replace") if file and Path(file).exists() else ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    starts = [index for index, line in enumerate(lines) if line.startswith("Failure #")]
    said = lines[starts[-1] + 1 :] if starts else lines
    if not said:
        return "its actor died"
    return f"its actor died: {said[-1] if 'Traceback' in text else ' '.join(said)}"


def _inner(cluster: Cluster, bridge: _Bridge) -> TrialScheduler | None:
    if cluster.scheduler != "asha":
        return None
    return ASHAScheduler(time_attr=EPOCHS, metric="score", mode="max", max_t=max(bridge.epochs, 2))


@contextmanager
def connected(cluster: Cluster) -> Iterator[None]:
    """Connect to the cluster; a connection that is there already is used, and stays."""
    if ray.is_initialized():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    if cluster.address == "auto" and os.environ.get("RAY_ADDRESS"):  # which Ray would put in its place
        cluster = replace(cluster, address=os.environ["RAY_ADDRESS"])
    try:
        _check_reachable(cluster.address)
        ray.init(
            address=cluster.address,
            include_dashboard=None if cluster.address != "local" else False,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    except (OSError, RuntimeError, UnicodeError) as error:
        raise StudyError(
            f"can't connect to a Ray cluster at {cluster.address} ({error}): start one with `ray start --head`, give "
            "its address, or `local` for one on this machine; one that wants a token needs RAY_AUTH_MODE=token here"
        ) from error
    if callable(handler) and signal.getsignal(signal.SIGTERM) is not handler:  # Ray put its own in place
        signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Refuse at once what Ray would try to reach for minutes.

    Raises:
        OSError: nothing listens there.
    """
    host, colon, port = address.rpartition(":")
    if colon:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACHED_WITHIN).close()


def _capacity(cluster: Cluster) -> int:
    """Trials at the same time: as many as asked for, else as many as the cluster's nodes have resources for.

    Raises:
        ConfigError: no node has a trial's, and none is to be waited for.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    wanted = {name: amount for name, amount in (("CPU", cluster.cpus), ("GPU", cluster.gpus)) if amount}
    fits = sum(min(int(node.get(name, 0) / amount) for name, amount in wanted.items()) for node in nodes)
    if not fits:
        has = "; ".join(", ".join(f"{node.get(name, 0):g} {name}s" for name in ("CPU", "GPU")) for node in nodes)
        needs = ", ".join(f"{amount:g} {name}s" for name, amount in wanted.items())
        if cluster.max_concurrent is None or cluster.address == "local":
            later = "; where nodes come later give --max-concurrent" if cluster.address != "local" else ""
            raise ConfigError(f"a trial needs {needs}, but the cluster's nodes have {has}{later}")
        print(
            f"note: a trial needs {needs}, but nodes have {has}: waiting for another node", file=sys.stderr, flush=True
        )
    return cluster.max_concurrent or fits
