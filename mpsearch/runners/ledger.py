"""The ledger: what stands between a study and whoever trains its trials.

It says which config is trained next, takes what becomes of it, and writes both to the study. Runners (this process,
local processes, Ray) differ in where they train; all else is here, once.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

import optuna

from mpsearch.config import Config
from mpsearch.errors import MpsearchError, StudyError
from mpsearch.goal import Objective
from mpsearch.leases import Pace, Watch, holding
from mpsearch.methods import AUTO, BELIEVED
from mpsearch.records import State, TrialRecord
from mpsearch.runners.job import Ending, Job
from mpsearch.runners.leaving import undisturbed
from mpsearch.runners.limits import Limits
from mpsearch.runners.weights import forget_weights
from mpsearch.searching.budgets import budget_of
from mpsearch.searching.guesses import Tried
from mpsearch.searching.guided import is_rung
from mpsearch.searching.samplers import derived_seed
from mpsearch.searching.scoring import Costs, Scoring
from mpsearch.searching.steadying import curve_of
from mpsearch.sensitivities import guide_of
from mpsearch.space import ResolvedSpace
from mpsearch.spacefile import SpaceFile
from mpsearch.study import Study
from mpsearch.trials import SearchEndedError

POLL = 1.0  # seconds between looks at what other processes do, where nothing else is to be done


class Progress(Protocol):
    """What a run tells of itself."""

    def trial_started(self, number: int, config: Config) -> None:
        """A trial begins."""

    def epoch_ended(self, number: int, epoch: int, logs: dict[str, float]) -> None:
        """An epoch of a trial ended; `logs` has its score as well."""

    def trial_ended(self, record: TrialRecord) -> None:
        """A trial ended, in whatever way."""

    def waiting(self, numbers: Sequence[int]) -> None:
        """Nothing is left to begin before other processes' trials have ended."""

    def repeat_ended(self, record: TrialRecord, index: int, score: float | None, cause: str) -> None:
        """Repeat `index` (from 1) of a trial ended, with a score or a cause of failure."""


@dataclass
class _Open:
    """A trial that this process has.

    Attributes:
        job: what is trained.
        costs: of its config.
        began: when, by this process's clock.
        curve: logs of its epochs.
        pruned: why the pruner stopped it; empty where it didn't.
        beat: number of its last heartbeat.
        origin: where its config comes from.
    """

    job: Job
    costs: Costs
    began: float
    curve: list[dict[str, float]] = field(default_factory=list)
    pruned: str = ""
    beat: int = 0
    origin: str = ""


class Ledger:
    """Gives out the trials of a run and takes their results; to be entered as a context.

    Leaving it by Ctrl-C, or by a mistake that is no config's fault, queues the configs of unfinished trials again;
    leaving it by another error, for which a config may be to blame, counts as a death of each.

    Args:
        study: made for the space.
        file: says how scores are made.
        space: what is searched.
        limits: when the run ends.
        progress: is told what happens.
        alone: whether only this process asks for trials; others that ask at the same time must get other proposals.
        pace: of leases.

    Attributes:
        ended: None while the run goes on; then why it ended before it had all trials, empty where it has them.
    """

    def __init__(
        self,
        study: Study,
        file: SpaceFile,
        space: ResolvedSpace,
        limits: Limits,
        progress: Progress,
        alone: bool = True,
        pace: Pace | None = None,
    ) -> None:
        self._study, self._space, self._limits, self._progress = study, space, limits, progress
        self._scoring = Scoring.of(file, space.facts, study.goal)
        self._budget = budget_of(space, self._scoring)
        self._guide = guide_of(study, space, self._scoring) if study.provenance.sampler == AUTO else None
        self._metric, self._epochs = f"val_{file.task.metric}", file.task.training.epochs
        self._alone, self._pace = alone, pace or Pace()
        self._watch = Watch(self._pace)
        self._open: dict[int, _Open] = {}
        self._lock = threading.Lock()  # of `_open`, which the heartbeat reads
        self._started, self._waited = time.monotonic(), list[int]()
        self._closing = threading.Event()
        self._fault: Exception | None = None  # that ended the heartbeat
        self.ended: str | None = None

    def __enter__(self) -> "Ledger":
        with ExitStack() as stack:
            stack.enter_context(self._study.shared())
            self._holder, self._held = stack.enter_context(holding())
            heartbeat = threading.Thread(target=self._renew, name="leases", daemon=True)
            heartbeat.start()
            stack.callback(heartbeat.join)
            stack.callback(self._closing.set)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        hurry = nullcontext() if error is None else self._study.patience(0.0)
        with undisturbed(), hurry, self._stack:
            for number in list(self._open):
                try:
                    self._leave(number, error)
                except StudyError:
                    if error is None:
                        raise
                    return  # the storage is away: others find these trials by their leases

    def _leave(self, number: int, error: BaseException | None) -> None:
        """End a trial that is running as the run is left."""
        if error is None or isinstance(error, KeyboardInterrupt | SystemExit):
            self.interrupted(number)
        elif isinstance(error, MpsearchError) or error is self._fault:  # it is tried again once that is mended
            self.interrupted(number, f"{type(error).__name__}: {error}")
        else:
            self.died(number, f"{type(error).__name__}: {error}", silent=True)

    def next(self) -> Job | None:
        """The next trial to train; None where the run is at its end, or nothing can begin now: see `ended`.

        A config that the study trained before is answered from it.
        """
        while True:
            with self._study.look():
                job, earlier = self._begun()
            if job is None:
                return None
            beyond = self._budget.broken(job.config)
            if beyond:  # queued by another program, or before a cost changed
                self.failed(job.number, f"over budget, not trained: {', '.join(beyond)}")
            elif earlier is None:
                return job
            else:
                with suppress(optuna.exceptions.UpdateFinishedTrialError):  # it was taken for dead
                    self._study.answer(job.number, earlier)
                self._end(job.number)

    def _begun(self) -> tuple[Job | None, TrialRecord | None]:
        """A trial that runs from now on, and the earlier one that answers it; none where none can begin."""
        self._check_heartbeat()
        self._study.recover(self._watch)
        records = self._study.records()
        self.ended = self._limits.reached(records, self._started, self._study.goal.floor)
        if self.ended is not None or self._limits.taken(records):
            return None, None
        try:
            salt = "" if self._alone else self._holder.token
            asked = self._study.ask(self._space, self._holder, salt, self._budget, self._guide)
        except SearchEndedError as error:
            if not self._study.running():  # one that runs may still be broken off, and its config asked for again
                self.ended = str(error)
            return None, None
        if asked is None:
            return None, None
        if self._limits.surplus(self._study.records(), asked.number, asked.queued):
            self._study.put_back(asked.number, self._holder)  # others took the last ones meanwhile
            return None, None
        self._held.add(asked.number)
        job = Job(asked.number, asked.config, derived_seed(self._study.provenance.seed, asked.sequence, "training"))
        try:
            costs = self._scoring.costs(job.config)
        except MpsearchError as error:  # a mistake in a cost is no config's fault
            self._study.interrupt(job.number, f"{type(error).__name__}: {error}")
            raise
        with self._lock:
            self._open[job.number] = _Open(
                job, costs, time.perf_counter(), origin=self._study.record(job.number).origin
            )
        if self._scoring.goal.objective is Objective.PARETO and self._study.provenance.pruner != "none":
            known = self._open[job.number].costs.to_json()
            self._study.keep_costs(job.number, self._scoring.of_objective(known))
        self._progress.trial_started(job.number, job.config)
        return job, self._study.earlier(job.config.fingerprint)

    def wait(self, seconds: float = POLL) -> None:
        """Wait for what other processes do."""
        others = [trial.number for trial in self._study.running() if trial.number not in self._open]
        if others and others != self._waited:
            self._progress.waiting(others)
        self._waited = others
        time.sleep(seconds)

    def epoch(self, number: int, epoch: int, logs: dict[str, float]) -> bool:
        """Take the logs of an epoch; whether its training is to be stopped."""
        self._check_heartbeat()
        trial = self._open[number]
        score = self._scoring.score(logs[self._metric], trial.costs)
        trial.curve.append({**logs, "score": score})
        try:
            several = self._scoring.goal.objective is Objective.PARETO
            pruned = self._study.report(number, epoch, logs[self._metric] if several else score)
            pruned = pruned or self._is_hopeless(trial, epoch)
        except optuna.exceptions.UpdateFinishedTrialError:  # it was taken for dead
            return True
        self._progress.epoch_ended(number, epoch, trial.curve[-1])
        if pruned and epoch + 1 < self._epochs:  # after the last one nothing is saved
            trial.pruned = f"pruned after epoch {epoch + 1}: score {score:.4f}"
        return bool(trial.pruned)

    def _is_hopeless(self, trial: _Open, epoch: int) -> bool:
        """Whether the pruner `believed` stops a trial after an epoch; those that a user queued aren't stopped."""
        if self._guide is None or self._study.provenance.pruner != BELIEVED or trial.origin != AUTO:
            return False
        if epoch + 1 >= self._epochs or not is_rung(epoch + 1):
            return False
        place = self._space.positions([trial.job.config])[0]
        running = Tried(place, None, curve_of(trial.curve, self._study.provenance.metric))
        return not self._guide.is_promising(self._study.tried(self._space), running)

    def prune(self, number: int, epoch: int, by: str) -> None:
        """Let a running trial count as pruned when its training has been stopped."""
        self._open[number].pruned = f"pruned by {by} after epoch {epoch + 1}: score {self.score(number):.4f}"

    def score(self, number: int) -> float:
        """The score of a running trial's last epoch."""
        return self._open[number].curve[-1]["score"]

    def trained(self, number: int, seconds: float | None = None) -> None:
        """A trial was trained to its end, or was stopped as `epoch` asked for.

        Args:
            number: of the trial.
            seconds: that training took; default: since the trial was given out.
        """
        trial = self._open[number]
        record = self._record(trial, seconds)
        if trial.pruned:
            self._ending(number, lambda: self._study.fail(number, trial.pruned, pruned=True, record=record))
        else:
            self._ending(number, lambda: self._study.complete(number, record, self._values(record)))

    def take(self, number: int, ending: Ending) -> None:
        """Take what came of a trial."""
        if ending.failed:
            self.failed(number, ending.failed)
        elif ending.exhausted:
            self.died(number, ending.exhausted)
        else:
            self.trained(number, ending.seconds)

    def failed(self, number: int, cause: str) -> None:
        """A config can't be trained."""
        record = self._record(self._open[number], None)
        self._ending(number, lambda: self._study.fail(number, cause, record=record))

    def died(self, number: int, cause: str, silent: bool = False) -> None:
        """A trial's process died: its config is tried again, `ATTEMPTS` times in all."""
        self._ending(number, lambda: self._study.lose(number, cause), silent)

    def interrupted(self, number: int, cause: str = "interrupted") -> None:
        """A trial was cut off through no fault of its config, which is tried again."""
        self._ending(number, lambda: self._study.interrupt(number, cause), silent=True)

    def _ending(self, number: int, end: Callable[[], None], silent: bool = False) -> None:
        """End a trial, unless another process took this one for dead and ended it before."""
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            end()
        with self._study.look():
            forget_weights(self._study)
            self._end(number, silent)

    def _record(self, trial: _Open, seconds: float | None) -> TrialRecord:
        best = max((logs[self._metric] for logs in trial.curve), default=math.nan)
        costs = trial.costs
        return TrialRecord(
            trial.job.number,
            State.COMPLETE,
            metric=None if math.isnan(best) else best,
            score=None if math.isnan(best) else self._scoring.score(best, costs),
            costs=costs.to_json(),
            delta=self._scoring.delta(costs),
            epochs=len(trial.curve),
            seconds=time.perf_counter() - trial.began if seconds is None else seconds,
            curve=trial.curve,
        )

    def _values(self, record: TrialRecord) -> list[float] | None:
        """What samplers are told of a trained trial."""
        return self._scoring.values(record.metric, record.score, record.costs)

    def _end(self, number: int, silent: bool = False) -> None:
        self._close(number)
        if not silent:
            self._progress.trial_ended(self._study.record(number))

    def _close(self, number: int) -> None:
        with self._lock:
            del self._open[number]
        self._held.discard(number)

    def _check_heartbeat(self) -> None:
        """Raise what ended the heartbeat: without it others would take this run's trials for dead."""
        if self._fault is not None:
            raise self._fault

    def _renew(self) -> None:
        """Renew leases, and watch those of others, until the run ends."""
        while not self._closing.wait(self._pace.renew):
            with self._lock:
                trials = list(self._open.values())
            try:
                for trial in trials:
                    trial.beat += 1
                    if not self._closing.is_set():
                        self._renew_one(trial)
                self._study.observe(self._watch)
            except StudyError:  # the storage is away: the run itself says so
                continue
            except Exception as error:
                self._fault = error
                return

    def _renew_one(self, trial: _Open) -> None:
        with suppress(optuna.exceptions.UpdateFinishedTrialError):  # the run finds out that it was taken for dead
            self._study.renew(trial.job.number, trial.beat)
