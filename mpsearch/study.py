"""Studies: trial records and where they come from, in an Optuna storage."""

import datetime
import json
import re
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import filelock
import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from mpsearch.config import Config
from mpsearch.errors import ConfigError, StudyError
from mpsearch.facts import ModelFacts
from mpsearch.goal import Goal, Objective
from mpsearch.provenance import FORMAT, Provenance, format_refusal
from mpsearch.records import TrialRecord
from mpsearch.searching.samplers import make_pruner, make_sampler
from mpsearch.storages import open_storage, runs_folder, shown
from mpsearch.suggestions import suggestion
from mpsearch.trials import FINISHED, Trials, result_of, state_of

LOCK_WAIT = 5.0  # seconds that a run waits for a change of the study, which takes an instant
_UNTAGGED = "untagged conditions"
_OPTIONS = "mpsearch"
_FACTS = "facts"


class Study(Trials):
    """A study in its storage. Made by `create_study`, found by `open_study`.

    Attributes:
        name: of the study.
        provenance: what it was made of.
        folder: where weights and logs of its trials are kept.
    """

    def __init__(self, study: optuna.Study, folder: Path) -> None:
        self.name = study.study_name
        options = study.user_attrs.get(_OPTIONS)
        if options is None:
            raise StudyError(f"the study `{self.name}` wasn't made by mpsearch: it has no space")
        if options["format"] > FORMAT:
            written_by = options.get("versions", {}).get("mpsearch")
            raise format_refusal(f"the study `{self.name}`", options["format"], written_by)
        super().__init__(study, Provenance(**options))
        self.folder = folder
        self._records: dict[tuple[int, str], TrialRecord] = {}  # of finished trials
        self._configs: dict[tuple[int, str], Config] = {}  # of trials, by fingerprint

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

        Those whose metric is below the least that the goal asks for come last.

        A config that was trained before and after an accepted change counts with what came after. With None for
        `count` all are given. `ranking.ranked` knows of repeated trainings as well.
        """
        complete = [self._record(t) for t in self._trials() if _is_trained(t)]
        complete.sort(key=lambda r: (self.is_short(r), -(r.score or 0.0), r.number))
        unique: dict[str, TrialRecord] = {}
        for record in sorted(complete, key=lambda r: r.before_change):
            unique.setdefault(record.fingerprint, record)
        return [record for record in complete if unique[record.fingerprint] is record][:count]

    def is_short(self, record: TrialRecord) -> bool:
        """Whether a trial's metric is below the least that the goal asks for."""
        floor = self.goal.floor
        return floor is not None and record.metric is not None and record.metric < floor

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
        return sum(state_of(trial) in FINISHED for trial in self._trials())

    def earlier(self, fingerprint: str) -> TrialRecord | None:
        """The complete trial that trained a config under the present conditions, None where there is none."""
        for trial in self._trials():
            if _is_trained(trial) and trial.user_attrs["fingerprint"] == fingerprint:
                record = self._record(trial)
                if not record.before_change:
                    return record
        return None

    def answer(self, number: int, earlier: TrialRecord) -> TrialRecord:
        """Answer a trial from an earlier one with the same config, and mark it so; its record."""
        record = replace(earlier, number=number, answered_from=earlier.number, epochs=0, seconds=0.0)
        storage, trial_id = self._storage, self._id(number)
        storage.set_trial_user_attr(trial_id, "answered_from", earlier.number)
        was = self._trials()[earlier.number]
        for epoch, value in was.intermediate_values.items():
            storage.set_trial_intermediate_value(trial_id, epoch, value)
        self._end(number, TrialState.COMPLETE, result_of(record), was.values)
        return record

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

    def keep_facts(self, facts: ModelFacts) -> None:
        """Keep the model's site facts, so that costs can be computed without the model."""
        self.keep(_FACTS, {"space": self.provenance.space_fingerprint, "facts": facts.to_json()})

    @property
    def facts(self) -> ModelFacts | None:
        """The model's site facts; None of a study that hasn't kept them, or whose space changed since."""
        kept = self._study.user_attrs.get(_FACTS)
        if kept is None or kept["space"] != self.provenance.space_fingerprint:
            return None
        return ModelFacts.from_json(kept["facts"])

    @cached_property
    def goal(self) -> Goal:
        """What it looks for; it stays what it is."""
        return Goal.from_json(self.provenance.goal)

    @property
    def history(self) -> list[dict[str, Any]]:
        """What was replaced in the provenance, oldest first."""
        return list(self._study.user_attrs.get("history", []))

    def _set_provenance(self, **changes: Any) -> None:
        self.reread()  # what other processes have added meanwhile stays
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

    def times(self) -> dict[int, dict[str, str]]:
        """When trials `began` and `ended`, by their numbers, ISO 8601, UTC; those that have begun."""
        return {
            trial.number: {
                name: when.astimezone(datetime.UTC).isoformat(timespec="seconds")
                for name, when in (("began", trial.datetime_start), ("ended", trial.datetime_complete))
                if when is not None
            }
            for trial in self._trials()
            if trial.datetime_start is not None
        }

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
        goal = Goal.from_json(provenance.goal)
        study = optuna.create_study(
            storage=open_storage(storage, create=True), study_name=name, directions=directions_of(goal)
        )
    except optuna.exceptions.DuplicatedStudyError:
        raise StudyError(
            f"there is a study `{name}` already: go on with `mpsearch study run {name}`, or give another --name"
        ) from None
    provenance = _identified(name, provenance)
    study.set_user_attr(_OPTIONS, json.loads(json.dumps(vars(provenance))))
    study.pruner = pruner
    return Study(study, runs_folder(storage) / provenance.folder)


def directions_of(goal: Goal) -> list[StudyDirection]:
    """What samplers are told to look for: the score, or the metric and each cost."""
    falling = [] if goal.objective is Objective.SCORE else [StudyDirection.MINIMIZE for _ in goal.costs]
    return [StudyDirection.MAXIMIZE, *falling]


def open_study(name: str, storage: str | None = None) -> Study:
    """The study called `name`.

    Raises:
        StudyError: there is none; the message says which there are.
    """
    opened = open_storage(storage)
    names = optuna.get_all_study_names(opened)
    if name not in names:
        hint = suggestion(name, names, "`") or f"there are {', '.join(names) or 'none'}"
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
        state=state_of(trial),
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
        proposed=attrs.get("proposed"),
    )
