"""Studies: trial records and where they come from, in an Optuna storage."""

import datetime
import difflib
import json
import re
import secrets
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from mpsearch.config import Config
from mpsearch.errors import ConfigError, StudyError
from mpsearch.leases import Holder, Watch, claim_of, held_by
from mpsearch.provenance import FORMAT, Provenance, format_refusal
from mpsearch.records import State, TrialRecord
from mpsearch.resilience import ResilientStorage
from mpsearch.searching.parameters import config_of, distributions, parameters_of
from mpsearch.searching.proposals import Proposer
from mpsearch.searching.samplers import BY_NUMBER, make_pruner, make_sampler
from mpsearch.searching.sequences import free_index, nth_config
from mpsearch.space import ResolvedSpace
from mpsearch.storages import open_storage, runs_folder, shown

LOCK_WAIT = 5.0  # seconds that a run waits for a change of the study, which takes an instant
RESULT = ("metric", "score", "costs", "delta", "epochs", "seconds", "curve")
ATTEMPTS = 3  # tries of a config whose process dies
_UNTAGGED = "untagged conditions"
_OPTIONS = "mpsearch"
_STATES = {
    TrialState.COMPLETE: State.COMPLETE,
    TrialState.PRUNED: State.PRUNED,
    TrialState.RUNNING: State.RUNNING,
    TrialState.WAITING: State.WAITING,
}
_FINISHED = (State.COMPLETE, State.PRUNED, State.FAILED)


class SearchEndedError(StudyError):
    """The sampler has no further config to propose."""


class Study:
    """A study in its storage. Made by `create_study`, found by `open_study`.

    Attributes:
        name: of the study.
        provenance: what it was made of.
        folder: where weights and logs of its trials are kept.
    """

    def __init__(self, study: optuna.Study, folder: Path) -> None:
        self._study = study
        self.name = study.study_name
        options = study.user_attrs.get(_OPTIONS)
        if options is None:
            raise StudyError(f"the study `{self.name}` wasn't made by mpsearch: it has no space")
        if options["format"] > FORMAT:
            written_by = options.get("versions", {}).get("mpsearch")
            raise format_refusal(f"the study `{self.name}`", options["format"], written_by)
        self.provenance = was = Provenance(**options)
        self.folder = folder
        self._records: dict[tuple[int, str], TrialRecord] = {}  # of finished trials
        self._configs: dict[tuple[int, str], Config] = {}  # of trials, by fingerprint
        self._proposer = Proposer(was.sampler, was.sampler_options, was.seed)
        self._watch = Watch()
        self._ids: dict[int, int] = {}  # numbers of trials to their ids in the storage
        self._looking = False
        self._seen: list[FrozenTrial] | None = None  # where `look` keeps them
        study.sampler = optuna.samplers.RandomSampler()  # is asked for nothing: trials begin with all parameters

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the study for this process: nobody runs or changes it meanwhile.

        Raises:
            StudyError: another process runs or changes it.
        """
        running = [t.number for t in self.running() if not self._watch.is_dead(t.number, t.user_attrs)]
        with self._locked("write", "another process is running"):
            if running:
                raise StudyError(
                    f"trial {running[0]} of `{self.name}` is being trained on another machine: wait for it or end it; "
                    f"if it died, `mpsearch study run {self.name}` finds that out within minutes"
                )
            yield

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Run the study beside others that run it; nobody changes it meanwhile.

        Raises:
            StudyError: another process changes it.
        """
        with self._locked("read", "another process is changing"):
            yield

    @contextmanager
    def _locked(self, kind: str, who: str) -> Iterator[None]:
        file = self.folder / "run.lock"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = filelock.ReadWriteLock(file, is_singleton=False)
            lock.acquire_read(timeout=LOCK_WAIT) if kind == "read" else lock.acquire_write(timeout=0)
        except filelock.Timeout:
            raise StudyError(f"{who} the study `{self.name}`: wait for it or end it") from None
        except (sqlite3.Error, OSError) as error:
            raise StudyError(
                f"can't lock {file.absolute()} ({error}): its folder must be writable, and on a file system that can "
                "lock files; it is beside an SQLite file or journal (--storage), else in `studies/runs` of the folder "
                "in which the command runs"
            ) from error
        try:
            yield
        finally:
            lock.release()

    def records(self) -> list[TrialRecord]:
        """All trials, in order of their numbers."""
        return [self._record(trial) for trial in self._trials()]

    def best(self, count: int | None = 1) -> list[TrialRecord]:
        """The complete trials with the highest scores, one for each config, best first; ties to the earlier.

        A config that was trained before and after an accepted change counts with what came after. With None for
        `count` all are given. `ranking.ranked` knows of repeated trainings as well.
        """
        complete = [self._record(t) for t in self._trials() if _is_trained(t)]
        complete.sort(key=lambda r: (-(r.score or 0.0), r.number))
        unique: dict[str, TrialRecord] = {}
        for record in sorted(complete, key=lambda r: r.before_change):
            unique.setdefault(record.fingerprint, record)
        return [record for record in complete if unique[record.fingerprint] is record][:count]

    def record(self, number: int) -> TrialRecord:
        """The trial with a number.

        Raises:
            StudyError: there is none.
        """
        trials = self._trials()
        if not 0 <= number < len(trials):
            raise StudyError(f"the study `{self.name}` has trials 0 to {len(trials) - 1}, but no trial {number}")
        return self._record(trials[number])

    def trained(self, record: TrialRecord) -> TrialRecord:
        """The trial whose training gave a record its result: itself, or the one that it was answered from."""
        return record if record.answered_from is None else self.record(record.answered_from)

    @property
    def finished(self) -> int:
        """Number of trials that are complete, pruned or failed."""
        return sum(_state(trial) in _FINISHED for trial in self._trials())

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

    def ask(self, space: ResolvedSpace, holder: Holder | None = None, salt: str = "") -> "Asked | None":
        """The next trial; it runs from now on.

        A config that is being trained already isn't trained beside itself: its trial waits until the other has ended,
        and is asked for then.

        Args:
            space: what is searched.
            holder: who trains it; without one the trial counts as lost.
            salt: makes proposals of processes differ that ask at the same time; see `Proposer`.

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
            asked = self._propose(space, holder, salt, running)
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
        self, space: ResolvedSpace, holder: Holder | None, salt: str, running: Collection[str | None]
    ) -> "Asked | None":
        """A new trial, None where its config is being trained: then it waits."""
        sequence = self._next_sequence()
        parameters, memory, attributes = self._proposed(space, sequence, salt)
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
        if self.provenance.sampler not in BY_NUMBER:
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
        self, space: ResolvedSpace, sequence: int, salt: str
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Parameters for a new trial, what the sampler has to remember of it, and attributes."""
        was = self.provenance
        if was.sampler in BY_NUMBER:
            tried = [t for t in self._trials() if t.user_attrs.get("origin") == was.sampler]
            counted = [t for t in tried if _state(t) is not State.BROKEN]  # its retry has its index
            taken = {t.user_attrs.get("index", place) for place, t in enumerate(counted)}
            index = free_index(was.sampler, space, taken, salt)
            config = None if index is None else nth_config(was.sampler, space, index, was.seed, was.sampler_options)
            if config is None:
                raise SearchEndedError(f"all {space.size:,} configs of the grid were tried")
            return parameters_of(space, config), {}, {"index": index}

        def allowed(parameters: Mapping[str, Any]) -> dict[str, Any]:
            return parameters_of(space, config_of(space, parameters))

        ended, known = self._ended(), distributions(space)
        proposal = self._proposer.propose(ended, self.running(), known, sequence, allowed, salt)
        return proposal.parameters, proposal.memory, {}

    def _start(self, waiting: FrozenTrial, space: ResolvedSpace, holder: Holder | None) -> "Asked | None":
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
        if self.provenance.sampler == "nsga2" and not any("generation" in key for key in waiting.system_attrs):
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

    def _ended(self) -> list[FrozenTrial]:
        """Trials that ended, in order of their places, without those that were cut off."""
        ended = [t for t in self._trials() if _state(t) in _FINISHED]
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

    def earlier(self, fingerprint: str) -> TrialRecord | None:
        """The complete trial that trained a config under the present conditions, None where there is none."""
        for trial in self._trials():
            if _is_trained(trial) and trial.user_attrs["fingerprint"] == fingerprint:
                record = self._record(trial)
                if not record.before_change:
                    return record
        return None

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

    def complete(self, number: int, record: TrialRecord) -> None:
        """Store a trained trial."""
        self._end(number, TrialState.COMPLETE, _result(record), record.score)

    def answer(self, number: int, earlier: TrialRecord) -> TrialRecord:
        """Answer a trial from an earlier one with the same config, and mark it so; its record."""
        record = replace(earlier, number=number, answered_from=earlier.number, epochs=0, seconds=0.0)
        storage, trial_id = self._storage, self._id(number)
        storage.set_trial_user_attr(trial_id, "answered_from", earlier.number)
        for epoch, logs in enumerate(earlier.curve):
            storage.set_trial_intermediate_value(trial_id, epoch, logs["score"])
        self._end(number, TrialState.COMPLETE, _result(record), record.score)
        return record

    def fail(self, number: int, cause: str, pruned: bool = False, record: TrialRecord | None = None) -> None:
        """End a trial without a result."""
        result = {"cause": cause} if record is None else {**_result(record), "cause": cause}
        values = self._study._storage.get_trial(self._id(number)).intermediate_values if pruned else {}
        value = values[max(values)] if values else None  # of a pruned trial samplers take the last one
        self._end(number, TrialState.PRUNED if pruned else TrialState.FAIL, result, value)

    def interrupt(self, number: int, cause: str = "interrupted") -> None:
        """End a trial that was cut off through no fault of its config, and queue its config again, however often."""
        trial = self._trials()[number]
        self._break(trial, cause, trial.user_attrs.get("attempt", 1))

    def keep(self, key: str, value: Any) -> None:
        """Keep plain data with the study, for instance of a fine-tuning."""
        self._study.set_user_attr(key, value)

    def kept(self, prefix: str) -> dict[str, Any]:
        """The data kept under keys that begin with `prefix`."""
        return {key: value for key, value in self._study.user_attrs.items() if key.startswith(prefix)}

    def accept(self, changes: Mapping[str, Any]) -> None:
        """Replace parts of the provenance; what they were, and when, is kept under `history`."""
        before = {"changed": _now(), **{key: getattr(self.provenance, key) for key in changes}}
        self._study.set_user_attr("history", [*self.history, before])
        self._set_provenance(**changes)

    def complement(self, facts: Mapping[str, Any]) -> None:
        """Add what the provenance left open; a study of an older format is brought to the present one."""
        was = self.provenance.format
        if not facts and was == FORMAT:
            return
        known_since = replace(self.provenance, **facts).conditions
        if was == 1:
            self._study.set_user_attr(_UNTAGGED, "" if self.history else known_since)
        self._set_provenance(**facts, format=FORMAT)

    def reread(self) -> None:
        """Read the provenance again, to which other processes may have added."""
        self.provenance = Provenance(**self._study.user_attrs[_OPTIONS])

    @property
    def history(self) -> list[dict[str, Any]]:
        """What was replaced in the provenance, oldest first."""
        return list(self._study.user_attrs.get("history", []))

    def _set_provenance(self, **changes: Any) -> None:
        self.provenance = replace(self.provenance, **changes)
        self._study.set_user_attr(_OPTIONS, json.loads(json.dumps(vars(self.provenance))))

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        if not trial.state.is_finished():
            return _record(trial, self._config(trial), self.provenance.conditions, self._untagged)
        key = (trial.number, self.provenance.conditions)
        if key not in self._records:
            config = self._config(trial)
            self._records[key] = _record(trial, config, self.provenance.conditions, self._untagged)
        return self._records[key]

    def _config(self, trial: FrozenTrial) -> Config | None:
        """The config of a trial that has one."""
        if "config" not in trial.user_attrs:
            return None
        key = (trial.number, trial.user_attrs.get("fingerprint", ""))
        if key not in self._configs:
            try:
                self._configs[key] = Config.from_json(trial.user_attrs["config"])
            except ConfigError as error:
                raise StudyError(
                    f"trial {trial.number} holds a config that this version can't read: {error}"
                ) from error
        return self._configs[key]

    def _untagged(self) -> str:
        """The conditions of trials that don't say: those of studies whose format was 1."""
        known = self._study.user_attrs.get(_UNTAGGED)
        return str(known) if known is not None else "" if self.history else self.provenance.conditions

    def frozen_trials(self) -> list[FrozenTrial]:
        """Optuna's view of all trials, in order of their numbers; not to be changed."""
        return self._trials()

    def add_frozen(self, trial: FrozenTrial) -> None:
        """Add a trial as it was in another study; it gets the next number."""
        self._study.add_trial(trial)

    def mark_untagged(self, provenance: Mapping[str, Any]) -> None:
        """Say what trials were trained under that don't say it: those of a study of format 1."""
        known = Provenance(**provenance).conditions
        self._study.set_user_attr(_UNTAGGED, "" if self.history else known)

    @property
    def tags(self) -> tuple[str, ...]:
        """Words by which its user groups studies."""
        return tuple(self._study.user_attrs.get("tags", ()))

    def tag(self, words: Sequence[str], remove: bool = False) -> None:
        """Add or remove tags.

        Raises:
            StudyError: a tag to remove isn't there.
        """
        missing = [word for word in words if word not in self.tags]
        if remove and missing:
            raise StudyError(
                f"`{self.name}` has no tag {', '.join(missing)}; its tags: {', '.join(self.tags) or 'none'}"
            )
        left = [word for word in self.tags if word not in words]
        self.keep("tags", left if remove else sorted({*self.tags, *words}))

    def remark(self, number: int | None = None) -> str:
        """What its user wrote on the study, or on one of its trials; empty where nothing."""
        remarks = self._study.user_attrs.get("remarks", {})
        return str(remarks.get("" if number is None else str(number), ""))

    def set_remark(self, text: str, number: int | None = None) -> None:
        """Write on the study, or on one of its trials; an empty text removes what was written.

        Raises:
            StudyError: there is no such trial.
        """
        key = "" if number is None else str(self.record(number).number)
        remarks = {**self._study.user_attrs.get("remarks", {}), key: text}
        self.keep("remarks", {place: words for place, words in remarks.items() if words})

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

    def _end(self, number: int, state: TrialState, result: Mapping[str, Any], value: float | None = None) -> None:
        """Store what became of a trial, in two writes.

        Raises:
            UpdateFinishedTrialError: it has ended before.
        """
        storage, trial_id = self._storage, self._id(number)
        storage.set_trial_user_attr(trial_id, "result", dict(result))
        storage.set_trial_state_values(trial_id, state, None if value is None else [value])

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
            again |= {key: attrs[key] for key in ("sequence", "index", "fingerprint") if key in attrs}
            if "fixed_params" in trial.system_attrs:  # queued by format 1 or by another program
                self._study.enqueue_trial(dict(trial.system_attrs["fixed_params"]), user_attrs=again)
            else:
                memory = {key: value for key, value in trial.system_attrs.items() if "rung" not in key}  # the pruner's
                self._queue(trial.params, trial.distributions, again, memory)
        self._storage.set_trial_state_values(trial_id, TrialState.FAIL)


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


def _result(record: TrialRecord) -> dict[str, Any]:
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


def check_name(name: str) -> None:
    """Refuse a name for a study that is empty or blank.

    Raises:
        StudyError: it is.
    """
    if not name.strip():
        raise StudyError(f"a study needs a name that isn't empty, but got {name!r}")


def create_study(name: str, provenance: Provenance, storage: str | None = None) -> Study:
    """A new study.

    Args:
        name: of the study.
        provenance: what it is made of; the study gets an id and a folder of its own.
        storage: an Optuna storage URL; default: SQLite in `studies/mpsearch.db`.

    Raises:
        StudyError: there is a study of this name, it is empty, or the storage keeps nothing.
        ConfigError: an unknown sampler or pruner, or options that it doesn't take.
    """
    check_name(name)
    make_sampler(provenance.sampler, provenance.seed, provenance.sampler_options)
    pruner = make_pruner(provenance.pruner, provenance.pruner_options, provenance.seed)
    try:
        study = optuna.create_study(storage=open_storage(storage, create=True), study_name=name, direction="maximize")
    except optuna.exceptions.DuplicatedStudyError:
        raise StudyError(
            f"there is a study `{name}` already: go on with `mpsearch study run {name}`, or give another --name"
        ) from None
    provenance = _identified(name, provenance)
    study.set_user_attr(_OPTIONS, json.loads(json.dumps(vars(provenance))))
    study.pruner = pruner
    return Study(study, runs_folder(storage) / provenance.folder)


def open_study(name: str, storage: str | None = None) -> Study:
    """The study called `name`.

    Raises:
        StudyError: there is none; the message says which there are.
    """
    opened = open_storage(storage)
    names = optuna.get_all_study_names(opened)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean `{close[0]}`?" if close else f"there are {', '.join(names) or 'none'}"
        raise StudyError(f"there is no study `{name}` in {shown(storage)}; {hint}")
    study = optuna.load_study(study_name=name, storage=opened)
    opened_study = Study(study, runs_folder(storage))
    opened_study.folder /= opened_study.provenance.folder or name
    was = opened_study.provenance
    study.pruner = make_pruner(was.pruner, was.pruner_options, was.seed)
    return opened_study


def study_names(storage: str | None = None) -> list[str]:
    """Names of all studies in a storage."""
    return list(optuna.get_all_study_names(open_storage(storage)))


def _identified(name: str, provenance: Provenance) -> Provenance:
    """With a new id, and a folder that no other study has: not one of an earlier study of this name either."""
    study_id = secrets.token_hex(4)
    return replace(provenance, id=study_id, folder=f"{re.sub(r'[^A-Za-z0-9._-]', '_', name)}-{study_id}")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _state(trial: FrozenTrial) -> State:
    if trial.state == TrialState.FAIL:
        return State.BROKEN if trial.user_attrs.get("broken") else State.FAILED
    return _STATES[trial.state]


def _is_trained(trial: FrozenTrial) -> bool:
    """Whether a trial has a result of its own, not one taken over from an earlier trial."""
    return trial.state == TrialState.COMPLETE and "answered_from" not in trial.user_attrs


def _record(trial: FrozenTrial, config: Config | None, conditions: str, untagged: Callable[[], str]) -> TrialRecord:
    """A trial as a record.

    Args:
        trial: Optuna's.
        config: its own, None where it has none yet.
        conditions: what trials are trained under now.
        untagged: gives what trials were trained under that don't say.
    """
    attrs = trial.user_attrs
    result = attrs.get("result", attrs)  # before format 3 each part was an attribute of its own
    own = conditions
    if trial.state != TrialState.WAITING:
        own = attrs["conditions"] if "conditions" in attrs else untagged()
    return TrialRecord(
        number=trial.number,
        state=_state(trial),
        config=config,
        fingerprint=attrs.get("fingerprint", ""),
        sequence=attrs.get("sequence", -1),
        metric=result.get("metric"),
        score=result.get("score"),
        costs=result.get("costs", {}),
        delta=result.get("delta"),
        epochs=result.get("epochs", 0),
        seconds=result.get("seconds", 0.0),
        curve=result.get("curve", []),
        cause=attrs.get("cause", result.get("cause", "")),
        origin=attrs.get("origin", ""),
        answered_from=attrs.get("answered_from"),
        conditions=own,
        before_change=own != conditions,
    )
