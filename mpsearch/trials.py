"""A study's trials in their storage: which process gets which, and what becomes of them.

Several processes may act at the same moment, and each may die between any two writes: what they do is ordered so that
another one finds nothing lost, and nothing twice.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from mpsearch.config import Config
from mpsearch.errors import StudyError
from mpsearch.leases import Holder, Watch, claim_of, held_by
from mpsearch.methods import AUTO
from mpsearch.provenance import Provenance
from mpsearch.records import State, TrialRecord
from mpsearch.resilience import ResilientStorage
from mpsearch.searching.budgets import Budget
from mpsearch.searching.dominated import COSTS
from mpsearch.searching.guesses import Tried
from mpsearch.searching.parameters import config_of, distributions, parameters_of
from mpsearch.searching.proposals import Proposer
from mpsearch.searching.samplers import BY_NUMBER, GENETIC, derived_seed
from mpsearch.searching.sequences import free_index, nth_config
from mpsearch.searching.steadying import curve_of
from mpsearch.space import ResolvedSpace

if TYPE_CHECKING:
    from mpsearch.searching.guided import Guide

RESULT = ("metric", "score", "costs", "delta", "epochs", "seconds", "curve")
"""What a training gives, as it is stored: names of a record's attributes."""
ATTEMPTS = 3  # tries of a config whose process dies
FINISHED = (State.COMPLETE, State.PRUNED, State.FAILED)
_STATES = {
    TrialState.COMPLETE: State.COMPLETE,
    TrialState.PRUNED: State.PRUNED,
    TrialState.RUNNING: State.RUNNING,
    TrialState.WAITING: State.WAITING,
}


class SearchEndedError(StudyError):
    """The sampler has no further config to propose."""


class Asked(NamedTuple):
    """A trial to be trained.

    Attributes:
        number: of the trial.
        config: to train.
        sequence: its place in the study, from which its seeds derive.
        queued: whether it waited before.
    """

    number: int
    config: Config
    sequence: int
    queued: bool = False


class Trials:
    """The trials of a study, in the study's storage.

    Args:
        study: Optuna's.
        provenance: what the study was made of.
    """

    def __init__(self, study: optuna.Study, provenance: Provenance) -> None:
        self._study, self.provenance = study, provenance
        self._proposer = Proposer(provenance.sampler, provenance.sampler_options, provenance.seed, study.directions)
        self._watch = Watch()
        self._ids: dict[int, int] = {}  # numbers of trials to their ids in the storage
        self._places: dict[int, np.ndarray] = {}  # of trials to where their configs stand on the menus
        self._looking = False
        self._seen: list[FrozenTrial] | None = None  # where `look` keeps them
        study.sampler = optuna.samplers.RandomSampler()  # is asked for nothing: trials begin with all parameters

    @contextmanager
    def look(self) -> Iterator[None]:
        """Read the trials from the storage once, and again only after this study wrote something."""
        self._looking, self._seen = True, None
        try:
            yield
        finally:
            self._looking, self._seen = False, None

    def running(self) -> list[FrozenTrial]:
        """Trials that are being trained, or whose process died."""
        return [trial for trial in self._trials() if trial.state == TrialState.RUNNING]

    def observe(self, watch: Watch) -> None:
        """Let a watch take note of the heartbeats of running trials; any thread may."""
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            watch.is_dead(trial.number, trial.user_attrs)

    @contextmanager
    def patience(self, seconds: float) -> Iterator[None]:
        """Wait only so long for a storage that is away."""
        storage = self._study._storage
        if not isinstance(storage, ResilientStorage):  # one that waits for nothing
            yield
            return
        before, storage.patience = storage.patience, seconds
        try:
            yield
        finally:
            storage.patience = before

    def recover(self, watch: Watch | None = None) -> list[int]:
        """Fail trials whose process died, and queue their configs again; their numbers.

        Args:
            watch: of other processes' heartbeats; default: the study's own.
        """
        watch = watch or self._watch
        dead = [trial for trial in self.running() if watch.is_dead(trial.number, trial.user_attrs)]
        for trial in dead:
            with suppress(UpdateFinishedTrialError):  # another process found out as well
                self.lose(trial.number, "its process died")
        return [trial.number for trial in dead]

    def lose(self, number: int, cause: str) -> None:
        """Break a trial whose process died, or couldn't go on, and queue its config again, `ATTEMPTS` times in all."""
        trial = self._trials()[number]
        attempt = trial.user_attrs.get("attempt", 1)
        self._break(trial, cause, None if attempt >= ATTEMPTS else attempt + 1)

    def ask(
        self,
        space: ResolvedSpace,
        holder: Holder | None = None,
        salt: str = "",
        budget: Budget | None = None,
        guide: "Guide | None" = None,
    ) -> Asked | None:
        """The next trial; it runs from now on.

        A config that is being trained already isn't trained beside itself: its trial waits until the other has ended,
        and is asked for then.

        Args:
            space: what is searched.
            holder: who trains it; without one the trial counts as lost.
            salt: makes proposals of processes differ that ask at the same time; see `Proposer`.
            budget: into which what the sampler proposes is moved.
            guide: proposes in the place of the sampler auto, and has limits of its own.

        Returns:
            None where nothing can begin before a running trial has ended.

        Raises:
            SearchEndedError: the sampler has proposed every config.
        """
        while True:
            running = {trial.user_attrs.get("fingerprint") for trial in self.running()}
            blocked = 0
            for trial in self._queued():
                if self._fingerprint(trial, space) in running:
                    blocked += 1
                else:
                    with suppress(UpdateFinishedTrialError):  # another process began it, and it has ended already
                        asked = self._start(trial, space, holder)
                        if asked is not None:
                            return asked
            if blocked > len(running):  # enough of them wait
                return None
            asked = self._propose(space, holder, salt, running, budget, guide)
            if asked is not None:
                return asked

    def _queued(self) -> list[FrozenTrial]:
        """Trials that wait; of retries that processes queued for one trial at the same moment, the first is kept."""
        waiting, retried = [], set()
        for trial in self._trials():
            again = trial.user_attrs.get("retry_of")
            if trial.state == TrialState.WAITING and again is not None and again in retried:
                with suppress(UpdateFinishedTrialError):
                    self._storage.set_trial_user_attr(trial._trial_id, "cause", f"trial {again} was queued again twice")
                    self._storage.set_trial_user_attr(trial._trial_id, "broken", True)
                    self._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
            elif trial.state == TrialState.WAITING:
                waiting.append(trial)
            retried.add(again)
        return waiting

    def _fingerprint(self, waiting: FrozenTrial, space: ResolvedSpace) -> str:
        """That of a waiting trial's config; empty where it has none yet."""
        known = waiting.user_attrs.get("fingerprint", "")
        return str(known) if known or not _has_parameters(waiting) else config_of(space, waiting.params).fingerprint

    def _propose(
        self,
        space: ResolvedSpace,
        holder: Holder | None,
        salt: str,
        running: Collection[str | None],
        budget: Budget | None,
        guide: "Guide | None",
    ) -> Asked | None:
        """A new trial, None where its config is being trained: then it waits."""
        sequence = self._next_sequence()
        parameters, memory, attributes = self._proposed(space, sequence, salt, budget, guide)
        config = config_of(space, parameters)
        twin = config.fingerprint in running
        attributes |= {**self._start_attributes(sequence, config), "origin": self.provenance.sampler}
        if holder is not None and not twin:
            attributes |= held_by(holder)
        new = optuna.trial.create_trial(
            state=TrialState.WAITING if twin else TrialState.RUNNING,
            params=parameters,
            distributions=distributions(space),
            user_attrs=attributes,
            system_attrs=memory,
        )
        storage = self._storage
        trial_id = storage.create_new_trial(self._study._study_id, template_trial=new)
        if twin:
            return None
        trials = self._trials()
        number = next(trial.number for trial in reversed(trials) if trial._trial_id == trial_id)
        self._ids[number] = trial_id
        if self._runs_before(number, config.fingerprint, trials):
            self.put_back(number, holder)
            return None
        if self.provenance.sampler not in (*BY_NUMBER, AUTO):
            self._proposer.begun(number)
        return Asked(number, config, sequence)

    def put_back(self, number: int, holder: Holder | None) -> None:
        """Let a trial that has just begun wait for another time."""
        storage, trial_id = self._storage, self._id(number)
        if holder is not None:
            for key, value in {**claim_of(holder), "holder": None}.items():
                storage.set_trial_user_attr(trial_id, key, value)
        storage.set_trial_state_values(trial_id, TrialState.WAITING)

    def _runs_before(self, number: int, fingerprint: str, trials: Sequence[FrozenTrial]) -> bool:
        """Whether an earlier trial trains the config of a trial that begins: another process was faster."""
        earlier = trials[:number]
        return any(t.state == TrialState.RUNNING and t.user_attrs.get("fingerprint") == fingerprint for t in earlier)

    def _proposed(
        self, space: ResolvedSpace, sequence: int, salt: str, budget: Budget | None, guide: "Guide | None"
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Parameters for a new trial, what the sampler has to remember of it, and attributes."""
        was = self.provenance

        def inside(config: Config) -> Config:
            return config if budget is None else budget.repaired(config)

        if was.sampler == AUTO:
            if guide is None:
                raise StudyError("the sampler auto needs sensitivities: none were given")
            guess = guide.propose(self.tried(space), derived_seed(was.seed, sequence, f"sampler{salt}"))
            believed = {"metric": guess.metric, "deviation": guess.deviation, "why": guess.why}
            return parameters_of(space, guess.config), {}, {"proposed": believed}

        if was.sampler in BY_NUMBER:
            tried = [t for t in self._trials() if t.user_attrs.get("origin") == was.sampler]
            counted = [t for t in tried if state_of(t) is not State.BROKEN]  # its retry has its index
            taken = {t.user_attrs.get("index", place) for place, t in enumerate(counted)}
            index = free_index(was.sampler, space, taken, salt)
            config = None if index is None else nth_config(was.sampler, space, index, was.seed, was.sampler_options)
            if config is None:
                raise SearchEndedError(f"all {space.size:,} configs of the grid were tried")
            return parameters_of(space, inside(config)), {}, {"index": index}

        def allowed(parameters: Mapping[str, Any]) -> dict[str, Any]:
            return parameters_of(space, inside(config_of(space, parameters)))

        ended, known = self._ended(), distributions(space)
        proposal = self._proposer.propose(ended, self.running(), known, sequence, allowed, salt)
        return proposal.parameters, proposal.memory, {}

    def tried(self, space: ResolvedSpace) -> list[Tried]:
        """Configs that were trained under the present conditions, in order of their places, and that are being trained.

        Pruned trials have no metric, but the curve of their epochs.
        """
        running = sorted(self.running(), key=lambda t: t.number)
        found = []
        for trial in (*self._ended(pruned=True), *running):
            if trial.user_attrs.get("conditions", self.provenance.conditions) != self.provenance.conditions:
                continue
            if trial.user_attrs.get("answered_from") is not None:
                continue  # another one has been trained in its place
            if trial.number not in self._places:
                config = config_of(space, trial.params)
                self._places[trial.number] = space.positions([config])[0]
            complete = trial.state == TrialState.COMPLETE
            result = trial.user_attrs.get("result", {})
            curve = curve_of(result.get("curve", []), self.provenance.metric)
            failed = trial.state == TrialState.FAIL
            found.append(Tried(self._places[trial.number], result.get("metric") if complete else None,
                               curve[:0] if failed else curve))  # fmt: skip
        return found

    def _start(self, waiting: FrozenTrial, space: ResolvedSpace, holder: Holder | None) -> Asked | None:
        """Begin a trial that was queued, None where another process was faster."""
        sequence = waiting.user_attrs.get("sequence", self._next_sequence())
        storage, trial_id = self._storage, waiting._trial_id
        for key, value in ({} if holder is None else claim_of(holder)).items():
            storage.set_trial_user_attr(trial_id, key, value)
        if _has_parameters(waiting):
            if not storage.set_trial_state_values(trial_id, state=TrialState.RUNNING):
                return None
            parameters = waiting.params
        else:  # queued by format 1 or by another program
            asked = self._study.ask(distributions(space))
            trial_id, parameters = asked._trial_id, asked.params
        for key, value in ({} if holder is None else held_by(holder)).items():
            storage.set_trial_user_attr(trial_id, key, value)
        config, number = config_of(space, parameters), storage.get_trial_number_from_id(trial_id)
        self._seen = None
        waiting = self._trials()[number]
        if self._runs_before(number, config.fingerprint, self._trials()):
            self.put_back(number, holder)
            return None
        if self.provenance.sampler in GENETIC and not any("generation" in key for key in waiting.system_attrs):
            proposal = self._proposer.propose(self._ended(), [], distributions(space), sequence)
            for key, value in proposal.memory.items():  # queued configs belong to the population as well
                storage.set_trial_system_attr(trial_id, key, value)
        wanted = {"origin": waiting.user_attrs.get("origin", "queued"), **self._start_attributes(sequence, config)}
        for key, value in wanted.items():
            if waiting.user_attrs.get(key) != value:
                storage.set_trial_user_attr(trial_id, key, value)
        self._seen = None
        return Asked(number, config, sequence, queued=True)

    def _start_attributes(self, sequence: int, config: Config) -> dict[str, Any]:
        return {
            "sequence": sequence,
            "config": config.to_json(),
            "fingerprint": config.fingerprint,
            "conditions": self.provenance.conditions,
        }

    def _ended(self, pruned: bool = False) -> list[FrozenTrial]:
        """Trials that ended, in order of their places, without those that were cut off.

        With several objectives Optuna's samplers can't learn from pruned ones: they are left out unless asked for.
        """
        several = len(self._study.directions) > 1 and not pruned
        ended = [
            t for t in self._trials() if state_of(t) in FINISHED and not (several and t.state == TrialState.PRUNED)
        ]
        return sorted(ended, key=lambda t: (t.user_attrs.get("sequence", -1), t.number))

    def enqueue(self, space: ResolvedSpace, config: Config, origin: str) -> None:
        """Let a config be tried before the sampler's next one.

        Raises:
            ConfigError: the config isn't in the space.
        """
        attributes = {"origin": origin, "fingerprint": config.fingerprint}
        self._queue(parameters_of(space, config), distributions(space), attributes)

    def _queue(
        self,
        parameters: Mapping[str, Any],
        known: Mapping[str, BaseDistribution],
        attributes: Mapping[str, Any],
        memory: Mapping[str, Any] | None = None,
    ) -> None:
        self._seen = None
        self._study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.WAITING,
                params=dict(parameters),
                distributions=dict(known),
                user_attrs=dict(attributes),
                system_attrs=dict(memory or {}),
            )
        )

    def keep_costs(self, number: int, costs: Sequence[float]) -> None:
        """Keep the objective's costs of a trial that begins, for pruning."""
        self._storage.set_trial_user_attr(self._id(number), COSTS, list(costs))

    def renew(self, number: int, beat: int) -> None:
        """Tell that the process of a running trial lives."""
        self._study._storage.set_trial_user_attr(self._id(number), "beat", beat)

    def report(self, number: int, epoch: int, score: float) -> bool:
        """Store the score of an epoch of a running trial; whether the pruner stops it.

        Args:
            number: of the trial.
            epoch: from 0.
            score: after it.

        Raises:
            UpdateFinishedTrialError: the trial was taken for dead and ended.
        """
        storage, trial_id = self._storage, self._id(number)
        storage.set_trial_intermediate_value(trial_id, epoch, score)
        if isinstance(self._study.pruner, optuna.pruners.NopPruner):
            return False
        return self._study.pruner.prune(self._study, storage.get_trial(trial_id))

    def complete(self, number: int, record: TrialRecord, values: Sequence[float] | None = None) -> None:
        """Store a trained trial.

        Args:
            number: of the trial.
            record: what its training gave.
            values: what samplers are told; default: its score.
        """
        told = values if values is not None or record.score is None else [record.score]
        self._end(number, TrialState.COMPLETE, result_of(record), told)

    def fail(self, number: int, cause: str, pruned: bool = False, record: TrialRecord | None = None) -> None:
        """End a trial without a result."""
        result = {"cause": cause} if record is None else {**result_of(record), "cause": cause}
        several = len(self._study.directions) > 1  # then Optuna's samplers don't learn from what was pruned
        values = self._study._storage.get_trial(self._id(number)).intermediate_values if pruned and not several else {}
        told = [values[max(values)]] if values else None  # of a pruned trial samplers take the last one
        self._end(number, TrialState.PRUNED if pruned else TrialState.FAIL, result, told)

    def interrupt(self, number: int, cause: str = "interrupted") -> None:
        """End a trial that was cut off through no fault of its config, and queue its config again, however often."""
        trial = self._trials()[number]
        self._break(trial, cause, trial.user_attrs.get("attempt", 1))

    def _trials(self) -> list[FrozenTrial]:
        if self._seen is not None:
            return self._seen
        trials = self._study.get_trials(deepcopy=False)
        if self._looking:
            self._seen = trials
        return trials

    @property
    def _storage(self) -> BaseStorage:
        """To write to; what was read before may be out of date then."""
        self._seen = None
        return self._study._storage

    def _id(self, number: int) -> int:
        if number not in self._ids:
            known = self._study._storage.get_trial_id_from_study_id_trial_number(self._study._study_id, number)
            self._ids[number] = known
        return self._ids[number]

    def _end(
        self, number: int, state: TrialState, result: Mapping[str, Any], values: Sequence[float] | None = None
    ) -> None:
        """Store what became of a trial, in two writes.

        Raises:
            UpdateFinishedTrialError: it has ended before.
        """
        storage, trial_id = self._storage, self._id(number)
        storage.set_trial_user_attr(trial_id, "result", dict(result))
        storage.set_trial_state_values(trial_id, state, values)

    def _next_sequence(self) -> int:
        return max((t.user_attrs.get("sequence", -1) for t in self._trials()), default=-1) + 1

    def _break(self, trial: FrozenTrial, cause: str, next_attempt: int | None) -> None:
        """Fail a trial that was cut off and queue its parameters again, unless there is no next attempt.

        Each step may be the process's last: the retry is queued before the trial is failed, and not twice.
        """
        number, attrs, exhausted = trial.number, trial.user_attrs, next_attempt is None
        if exhausted:
            cause = f"{cause}; tried {attrs.get('attempt', 1)} times"
        storage, trial_id = self._storage, trial._trial_id
        storage.set_trial_user_attr(trial_id, "cause", cause)
        storage.set_trial_user_attr(trial_id, "broken", not exhausted)
        queued = any(t.user_attrs.get("retry_of") == number for t in self._trials())
        if _is_whole(trial) and not exhausted and not queued:
            again = {"attempt": next_attempt, "retry_of": number}
            again["origin"] = attrs.get("origin", self.provenance.sampler)
            again |= {key: attrs[key] for key in ("sequence", "index", "fingerprint", "proposed") if key in attrs}
            if "fixed_params" in trial.system_attrs:  # queued by format 1 or by another program
                self._study.enqueue_trial(dict(trial.system_attrs["fixed_params"]), user_attrs=again)
            else:
                memory = {key: value for key, value in trial.system_attrs.items() if "rung" not in key}  # the pruner's
                self._queue(trial.params, trial.distributions, again, memory)
        self._storage.set_trial_state_values(trial_id, TrialState.FAIL)


def state_of(trial: FrozenTrial) -> State:
    """The state of a trial, as records call it."""
    if trial.state == TrialState.FAIL:
        return State.BROKEN if trial.user_attrs.get("broken") else State.FAILED
    return _STATES[trial.state]


def result_of(record: TrialRecord) -> dict[str, Any]:
    """What a trial's training gave, as it is stored."""
    return {key: getattr(record, key) for key in RESULT}


def _has_parameters(trial: FrozenTrial) -> bool:
    """Whether a waiting trial has its parameters; not where it was queued by format 1 or by another program."""
    return bool(trial.params) or "fixed_params" not in trial.system_attrs


def _is_whole(trial: FrozenTrial) -> bool:
    """Whether a trial that was cut off has all its parameters.

    A trial that format 1 began may have died before its sampler had chosen them all. Then the sampler chooses again,
    with the same seed: the trial has no place in the study yet.
    """
    return "fixed_params" in trial.system_attrs or "sequence" in trial.user_attrs or "origin" in trial.user_attrs
