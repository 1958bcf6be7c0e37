"""The commands that train a study's trials: `mpsearch study run` and `mpsearch worker`."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from mpsearch.cli.common import INTERRUPTED, accept_early, counted, open_engine, open_inputs, say
from mpsearch.cli.options import AcceptChange, AsJson, Quiet, Storage, StudyName, examples, finite
from mpsearch.cli.pareto import print_front
from mpsearch.cli.sensitivity import probe_first
from mpsearch.cli.tables import print_best
from mpsearch.errors import ConfigError, StudyError
from mpsearch.goal import Objective

if TYPE_CHECKING:
    from mpsearch.progress import RunProgress
    from mpsearch.runners.limits import Limits
    from mpsearch.space import ResolvedSpace
    from mpsearch.study import Study
    from mpsearch.task import Task

RUN_EXAMPLES = examples(
    "study run digits",
    "study run digits --trials 100 --jobs 4",
    "study run digits --timeout 2h --until-score 1.09 --patience 50",
    "study run digits --ray --cpus 1",
    "study run digits --ray auto --cpus 4 --gpus 0.5 \\\n      --max-concurrent 8 --scheduler asha",
    "study run digits --accept-change",
)
WORKER_EXAMPLES = examples(
    "worker digits --trials 200 \\\n      --storage postgresql://me@db.example.org/studies",
    "worker digits --timeout 4h --patience 50 \\\n      --storage grpc://head:13000",
    "worker digits --until-score 1.09",
    "worker digits --accept-change",
)
DEFAULT_TRIALS = 20

Trials = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Trials that the study shall have in the end.",
        min=1,
        show_default=f"{DEFAULT_TRIALS}, where no other end is given",
    ),
]
Timeout = Annotated[
    str | None, typer.Option(metavar="TIME", help="Begin no trial after this time of running: 2h, 1h30m, 45s.")
]
UntilScore = Annotated[
    float | None,
    typer.Option(metavar="SCORE", help="End when a trial has at least this score.", callback=finite),
]
Patience = Annotated[
    int | None, typer.Option(metavar="N", help="End after N trials in a row without a better score.", min=1)
]
Run = Callable[["Study", "Limits", bool], str]
"""Runs trials of a study until its limits, quietly or not; why the run ended."""


class RunCommand(TyperCommand):
    """A command whose --ray may stand without an address, as the last word or before another option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        whole = list[str]()
        for index, word in enumerate(args):
            whole.append(word)
            if word == "--ray" and (index + 1 == len(args) or args[index + 1].startswith("-")):
                whole.append("auto" if os.environ.get("RAY_ADDRESS") else "local")
        return super().parse_args(ctx, whole)


def run(
    name: StudyName,
    trials: Trials = None,
    timeout: Timeout = None,
    until_score: UntilScore = None,
    patience: Patience = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", metavar="N", help="Train in N processes at a time, on this machine.", min=1)
    ] = 1,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="[ADDRESS]",
            help="Train on Ray: local (on this machine), auto (the cluster of RAY_ADDRESS, or that this node belongs "
            "to) or HOST:PORT; without an address auto where RAY_ADDRESS is set, else local.",
        ),
    ] = None,
    cpus: Annotated[
        float | None, typer.Option(metavar="N", help="With --ray: CPUs, and threads, of each trial.", show_default="1")
    ] = None,
    gpus: Annotated[
        float | None, typer.Option(metavar="N", help="With --ray: GPUs of each trial, or a fraction.", show_default="0")
    ] = None,
    max_concurrent: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="With --ray: trials at the same time.",
            min=1,
            show_default="as the cluster's resources allow",
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="With --ray: what stops hopeless trials, the study's pruner (study) or Tune's ASHA as well (asha).",
            show_default="study",
        ),
    ] = None,
    accept_change: AcceptChange = False,
    storage: Storage = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run trials, or go on where a run stopped.

    Ends when the study has --trials of them, or at the first of the other ends that is reached.

    With --jobs each process has its own network and a share of the processor's cores; one that dies is replaced and its
    trial tried again. With --ray trials run on the nodes of a cluster, where mpsearch is installed; the space file, the
    small files beside it, the data and the float weights are sent to them. Several runs and workers may share a study.

    A study whose space file, data or float weights changed is refused, with the difference. --accept-change takes over
    a change that leaves the choices and the scores' meaning as they are (a recipe, data, float weights): earlier
    trials stay, marked as trained before the change, and answer no later one. A change of choices, metric, forgiving
    factor or reference needs a new study.
    """
    of_ray = {
        "cpus": cpus,
        "gpus": gpus,
        "max_concurrent": max_concurrent,
        "scheduler": scheduler,
    }
    given = {key: value for key, value in of_ray.items() if value is not None}
    if ray is None and given:
        raise ConfigError(f"--{next(iter(given)).replace('_', '-')} is for trials on Ray: give --ray ADDRESS as well")
    if ray is not None and jobs > 1:
        raise ConfigError("--jobs is for processes on this machine, --ray for a cluster: give one of them")

    def train(study: "Study", limits: "Limits", silent: bool) -> str:
        if ray is not None:
            return _on_ray(study, limits, accept_change, silent, {"address": ray, **given})
        if jobs > 1:
            return _in_processes(study, limits, accept_change, silent, jobs)
        return _here(study, limits, accept_change, silent)

    ends = _limits(trials, timeout, until_score, patience)
    _command(name, storage, ends, accept_change, quiet, as_json, "study run", train)


def worker(
    name: StudyName,
    trials: Trials = None,
    timeout: Timeout = None,
    until_score: UntilScore = None,
    patience: Patience = None,
    accept_change: AcceptChange = False,
    storage: Storage = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Train a study's trials beside other workers.

    Each is a process of its own, on any machine. Start as many as there are cores or GPUs, for instance as a job array.
    They need a storage that all of them reach: PostgreSQL, MySQL, Optuna's gRPC proxy (`mpsearch storage serve`), or on
    one machine a file. No config is trained twice; a worker that dies loses its trial to another one, within minutes.
    Each ends when the whole study has --trials of them, or at the first of the other ends; SIGTERM ends it as Ctrl-C
    does: its trial is queued again.
    """

    def train(study: "Study", limits: "Limits", silent: bool) -> str:
        return _here(study, limits, accept_change, silent, alone=False)

    ends = _limits(trials, timeout, until_score, patience)
    _command(name, storage, ends, accept_change, quiet, as_json, "worker", train)


def _limits(trials: int | None, timeout: str | None, until_score: float | None, patience: int | None) -> "Limits":
    from mpsearch.runners.limits import Limits, parse_duration

    seconds = None if timeout is None else parse_duration(timeout)
    if (trials, seconds, until_score, patience) == (None, None, None, None):
        trials = DEFAULT_TRIALS
    return Limits(trials, seconds, until_score, patience)


def _command(
    name: str, storage: str | None, limits: "Limits", accept: bool, quiet: bool, as_json: bool, command: str, train: Run
) -> None:
    """Open the study, train unless it is at its end, and print what came of it."""
    from mpsearch.cli.output import print_json
    from mpsearch.ranking import ranked
    from mpsearch.runners.leftovers import settle
    from mpsearch.study import open_study

    study = open_study(name, storage)
    ended = limits.reached(study.records(), time.monotonic(), study.goal.floor)
    if ended is not None:
        settle(study, (lambda line: None) if quiet or as_json else say)
        accept_early(study, accept)
        if as_json:
            print_json([candidate.to_json() for candidate in ranked(study, 1)])
        else:
            print(
                f"{name} has {counted(study.finished, 'trial')} already{ended and ', and is at its end: '}{ended}; "
                f"for more give --trials {study.finished + 20}"
            )
        return
    try:
        with _terminated_as_interrupted():
            ended = train(study, limits, quiet or as_json)
    except KeyboardInterrupt:
        again = " and the options as before" if limits.trials is None else f" --trials {limits.trials}"
        say(f"interrupted{_after(study, limits)}; go on with: mpsearch {command} {name}{again}")
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        print_json([candidate.to_json() for candidate in ranked(study, 1)])
        return
    if study.goal.objective is Objective.PARETO:
        print_front(study)
    else:
        print_best(study, 1)
    if ended:
        print(f"ended after {counted(study.finished, 'trial')}: {ended}")


def _after(study: "Study", limits: "Limits") -> str:
    """How far a study came, where its storage says so at once."""
    try:
        with study.patience(0.0):
            done = study.finished
    except StudyError:
        return ""
    return f" after {counted(done, 'trial')}" if limits.trials is None else f" after {done} of {limits.trials} trials"


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM, by which batch systems end jobs, do what Ctrl-C does."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _here(study: "Study", limits: "Limits", accept: bool, quiet: bool, alone: bool = True) -> str:
    """Run trials in this process."""
    engine = open_engine(study, quiet, accept)
    from mpsearch.runners.inprocess import run as run_trials

    if not study.kept("float"):
        study.keep("float", {"validation": engine.float_metric()})
    probe_first(study, engine, quiet)
    with _progress(study, limits, engine.task, quiet) as progress:
        return run_trials(study, engine, limits, progress, alone)


def _in_processes(study: "Study", limits: "Limits", accept: bool, quiet: bool, jobs: int) -> str:
    """Run trials in several processes of this machine."""
    file, _, space = open_inputs(study, quiet, accept)
    _probe_apart(study, space, quiet)
    from mpsearch.runners.processes import run_in_processes, threads_each

    if not quiet:
        say(f"starting {jobs} processes with {counted(threads_each(jobs), 'thread')} each …")
    with _progress(study, limits, file.task, quiet) as progress:
        return run_in_processes(study, file, space, limits, progress, jobs)


def _on_ray(study: "Study", limits: "Limits", accept: bool, quiet: bool, options: dict[str, Any]) -> str:
    """Run trials on a Ray cluster."""
    from mpsearch.runners.ray_tune import Cluster, run_on_ray

    cluster = Cluster(**options)
    file, data, space = open_inputs(study, quiet, accept)
    _probe_apart(study, space, quiet)
    if not quiet:
        say("starting Ray on this machine …" if cluster.address == "local" else f"connecting to {cluster.address} …")
    with _progress(study, limits, file.task, quiet) as progress:
        return run_on_ray(study, file, data, space, limits, progress, cluster)


def _probe_apart(study: "Study", space: "ResolvedSpace", quiet: bool) -> None:
    """Measure what the sampler needs where trials are trained by other processes."""
    from mpsearch.methods import AUTO
    from mpsearch.sensitivities import are_known

    if study.provenance.sampler == AUTO and not are_known(study, space):
        from mpsearch.creation import engine_of

        probe_first(study, engine_of(study), quiet)


def _progress(study: "Study", limits: "Limits", task: "Task", quiet: bool) -> "RunProgress":
    from mpsearch.progress import RunProgress

    best = study.best()
    score = best[0].score if best else None
    return RunProgress(limits.trials, study.finished, score, task.training.epochs, task.metric, quiet)
