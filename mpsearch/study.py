"""Studies: trial records and where they come from, in an Optuna storage."""

import datetime
import difflib
import hashlib
import json
import re
import secrets
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import filelock
import optuna
from optuna.trial import FrozenTrial, TrialState

from mpsearch.config import Config
from mpsearch.errors import ConfigError, StudyError
from mpsearch.records import State, TrialRecord
from mpsearch.search.parameters import config_of, distributions, parameters_of
from mpsearch.search.samplers import PRUNERS, SAMPLERS, check_name, derived_seed, make_pruner, make_sampler
from mpsearch.space import ResolvedSpace
from mpsearch.storages import open_storage, runs_folder, shown

FORMAT = 2  # of what a study holds; raised when older code can't read it
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


@dataclass(frozen=True)
class Provenance:
    """What a study was made of; enough to say later exactly what it was.

    Attributes:
        space_path, space_text, space_hash: the space file.
        space_fingerprint: of the resolved space.
        space_size: number of configs, in decimal digits (it may exceed any integer type).
        data_fingerprint: of all splits.
        versions: of Python and the packages that training depends on.
        seed: of the study.
        sampler, pruner: names.
        metric: name of the metric.
        reference_costs: name to number, as in a trial's costs.
        sites: rows of the space's table.
        created: date and time, ISO 8601, UTC.
        format: of the records; 1 has none of the fields below.
        id: unique to the study, also among those of one name.
        folder: name of the folder for its files; studies without one use their name.
        float_weights: SHA-256 of the file of float weights, 16 hex digits; empty where it isn't known yet.
        forgiving: the Forgiving Factor's parameters; None where they aren't known.
    """

    space_path: str
    space_text: str
    space_hash: str
    space_fingerprint: str
    space_size: str
    data_fingerprint: str
    versions: Mapping[str, str]
    seed: int
    sampler: str
    pruner: str
    metric: str
    reference_costs: Mapping[str, int]
    sites: list[dict[str, Any]]
    created: str
    format: int = FORMAT
    id: str = ""
    folder: str = ""
    float_weights: str = ""
    forgiving: Mapping[str, float] | None = None

    @property
    def conditions(self) -> str:
        """What trials are trained under: space file, data and float weights, as 16 hex digits."""
        return _digest(self.space_hash, self.data_fingerprint, self.float_weights)


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
            wanted = f"mpsearch {written_by} or later" if written_by else "a later mpsearch"
            raise StudyError(
                f"the study `{self.name}` has format {options['format']}, but this version reads up to "
                f"{FORMAT}: use {wanted}"
            )
        self.provenance = Provenance(**options)
        self.folder = folder

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the study for this process: one at a time runs or changes it.

        Raises:
            StudyError: another process holds it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.folder / "run.lock")
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            raise StudyError(f"another process is running the study `{self.name}`: wait for it or end it") from None
        try:
            yield
        finally:
            lock.release()

    def records(self) -> list[TrialRecord]:
        """All trials, in order of their numbers."""
        return [self._record(trial) for trial in self._trials()]

    def best(self, count: int = 1) -> list[TrialRecord]:
        """The complete trials with the highest scores, one for each config, best first; ties to the earlier."""
        complete = [t for t in self._trials() if _is_trained(t)]
        complete.sort(key=lambda t: (-t.user_attrs["score"], t.number))
        unique: dict[str, FrozenTrial] = {}
        for trial in complete:
            unique.setdefault(trial.user_attrs["fingerprint"], trial)
        return [self._record(trial) for trial in list(unique.values())[:count]]

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

    def recover(self) -> list[int]:
        """Fail trials whose process died, and queue their configs again; their numbers.

        Only to be called while no process runs the study.
        """
        running = [t for t in self._trials() if t.state == TrialState.RUNNING]
        for trial in running:
            attempt = trial.user_attrs.get("attempt", 1)
            self._break(trial.number, trial, "its process died", None if attempt >= ATTEMPTS else attempt + 1)
        return [trial.number for trial in running]

    def ask(self, space: ResolvedSpace) -> tuple[optuna.Trial, Config, int]:
        """The next trial: Optuna's, its config, and its place in the study, from which its seeds derive.

        Raises:
            SearchEndedError: the sampler has proposed every config.
        """
        waiting = [t for t in self._trials() if t.state == TrialState.WAITING]
        sequence = self._next_sequence()
        if waiting:
            sequence = waiting[0].user_attrs.get("sequence", sequence)
        elif self.provenance.sampler == "grid":
            grid = sum(t.user_attrs.get("origin") == "grid" and _state(t) is not State.BROKEN for t in self._trials())
            if grid >= space.size:
                raise SearchEndedError(f"all {space.size:,} configs of the grid were tried")
            self.enqueue(space, space.nth(grid), "grid")
        self._study.sampler = make_sampler(
            self.provenance.sampler, derived_seed(self.provenance.seed, sequence, "sampler")
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            trial = self._study.ask(distributions(space))
        config = config_of(space, trial.params)
        trial.set_user_attr("sequence", sequence)
        trial.set_user_attr("config", config.to_json())
        trial.set_user_attr("fingerprint", config.fingerprint)
        trial.set_user_attr("conditions", self.provenance.conditions)
        if "origin" not in trial.user_attrs:
            trial.set_user_attr("origin", self.provenance.sampler)
        return trial, config, sequence

    def enqueue(self, space: ResolvedSpace, config: Config, origin: str) -> None:
        """Let a config be tried before the sampler's next one."""
        self._study.enqueue_trial(parameters_of(space, config), user_attrs={"origin": origin})

    def earlier(self, fingerprint: str) -> TrialRecord | None:
        """The complete trial that trained a config under the present conditions, None where there is none."""
        for trial in self._trials():
            if _is_trained(trial) and trial.user_attrs["fingerprint"] == fingerprint:
                record = self._record(trial)
                if not record.before_change:
                    return record
        return None

    def complete(self, trial: optuna.Trial, record: TrialRecord) -> None:
        """Store a trained trial."""
        self._store(trial, record)
        self._study.tell(trial, record.score)

    def answer(self, trial: optuna.Trial, earlier: TrialRecord) -> TrialRecord:
        """Answer a trial from an earlier one with the same config, and mark it so; its record."""
        record = replace(earlier, number=trial.number, answered_from=earlier.number, epochs=0, seconds=0.0)
        trial.set_user_attr("answered_from", earlier.number)
        for epoch, logs in enumerate(earlier.curve):
            trial.report(logs["score"], epoch)
        self._store(trial, record)
        self._study.tell(trial, record.score)
        return record

    def fail(self, trial: optuna.Trial, cause: str, pruned: bool = False, record: TrialRecord | None = None) -> None:
        """End a trial without a result."""
        if record is not None:
            self._store(trial, record)
        trial.set_user_attr("cause", cause)
        self._study.tell(trial, state=TrialState.PRUNED if pruned else TrialState.FAIL)

    def interrupt(self, trial: optuna.Trial) -> None:
        """End a trial that its user cut off, and queue its config again, however often."""
        frozen = self._trials()[trial.number]
        self._break(trial.number, frozen, "interrupted", frozen.user_attrs.get("attempt", 1))

    def note(self, key: str, value: Any) -> None:
        """Keep plain data with the study, for instance of a fine-tuning."""
        self._study.set_user_attr(key, value)

    def notes(self, prefix: str) -> dict[str, Any]:
        """The data kept under keys that begin with `prefix`."""
        return {key: value for key, value in self._study.user_attrs.items() if key.startswith(prefix)}

    def accept(self, changes: Mapping[str, Any]) -> None:
        """Replace parts of the provenance; what they were, and when, is kept under `history`."""
        before = {"changed": _now(), **{key: getattr(self.provenance, key) for key in changes}}
        self._study.set_user_attr("history", [*self.history, before])
        self._set_provenance(**changes)

    def complement(self, facts: Mapping[str, Any]) -> None:
        """Add what the provenance left open; a study of an older format is brought to the present one."""
        older = self.provenance.format < FORMAT
        if not facts and not older:
            return
        known_since = replace(self.provenance, **facts).conditions
        if older:
            self._study.set_user_attr(_UNTAGGED, "" if self.history else known_since)
        self._set_provenance(**facts, format=FORMAT)

    @property
    def history(self) -> list[dict[str, Any]]:
        """What was replaced in the provenance, oldest first."""
        return list(self._study.user_attrs.get("history", []))

    def _set_provenance(self, **changes: Any) -> None:
        self.provenance = replace(self.provenance, **changes)
        self._study.set_user_attr(_OPTIONS, json.loads(json.dumps(vars(self.provenance))))

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        return _record(trial, self.provenance.conditions, self._untagged())

    def _untagged(self) -> str:
        """The conditions of trials that don't say: those of studies whose format was 1."""
        known = self._study.user_attrs.get(_UNTAGGED)
        return str(known) if known is not None else "" if self.history else self.provenance.conditions

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _store(self, trial: optuna.Trial, record: TrialRecord) -> None:
        for key in ("metric", "score", "costs", "delta", "epochs", "seconds", "curve"):
            trial.set_user_attr(key, getattr(record, key))

    def _next_sequence(self) -> int:
        return max((t.user_attrs.get("sequence", -1) for t in self._trials()), default=-1) + 1

    def _break(self, number: int, trial: FrozenTrial, cause: str, next_attempt: int | None) -> None:
        """Fail a trial that was cut off and queue its parameters again, unless there is no next attempt.

        Each step may be the process's last: the retry is queued before the trial is failed, and not twice.
        """
        attrs, exhausted = trial.user_attrs, next_attempt is None
        if exhausted:
            cause = f"{cause}; tried {attrs.get('attempt', 1)} times"
        storage, trial_id = self._study._storage, trial._trial_id
        storage.set_trial_user_attr(trial_id, "cause", cause)
        storage.set_trial_user_attr(trial_id, "broken", not exhausted)
        parameters = _parameters_to_retry(trial)
        queued = any(t.user_attrs.get("retry_of") == number for t in self._trials())
        if parameters is not None and not exhausted and not queued:
            again = {
                "origin": attrs.get("origin", self.provenance.sampler),
                "attempt": next_attempt,
                "retry_of": number,
            }
            if "sequence" in attrs:
                again["sequence"] = attrs["sequence"]
            self._study.enqueue_trial(parameters, user_attrs=again)
        self._study.tell(number, state=TrialState.FAIL)


def _parameters_to_retry(trial: FrozenTrial) -> dict[str, Any] | None:
    """The parameters of a trial that was cut off; None where it died before the sampler had chosen them all.

    Then the sampler chooses again, with the same seed: the trial has no place in the study yet.
    """
    if "fixed_params" in trial.system_attrs:  # it was queued
        return dict(trial.system_attrs["fixed_params"])
    return trial.params if "sequence" in trial.user_attrs else None


def create_study(name: str, provenance: Provenance, storage: str | None = None) -> Study:
    """A new study.

    Args:
        name: of the study.
        provenance: what it is made of; the study gets an id and a folder of its own.
        storage: an Optuna storage URL; default: SQLite in `studies/mpsearch.db`.

    Raises:
        StudyError: there is a study of this name, or the storage keeps nothing.
        ConfigError: unknown sampler or pruner.
    """
    check_name("sampler", provenance.sampler, SAMPLERS)
    check_name("pruner", provenance.pruner, PRUNERS)
    try:
        study = optuna.create_study(storage=open_storage(storage, create=True), study_name=name, direction="maximize")
    except optuna.exceptions.DuplicatedStudyError:
        raise StudyError(
            f"there is a study `{name}` already: go on with `mpsearch study run {name}`, or give another --name"
        ) from None
    provenance = _identified(name, provenance)
    study.set_user_attr(_OPTIONS, json.loads(json.dumps(vars(provenance))))
    study.pruner = make_pruner(provenance.pruner)
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
    study.pruner = make_pruner(opened_study.provenance.pruner)
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


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _state(trial: FrozenTrial) -> State:
    if trial.state == TrialState.FAIL:
        return State.BROKEN if trial.user_attrs.get("broken") else State.FAILED
    return _STATES[trial.state]


def _is_trained(trial: FrozenTrial) -> bool:
    """Whether a trial has a result of its own, not one taken over from an earlier trial."""
    return trial.state == TrialState.COMPLETE and "answered_from" not in trial.user_attrs


def _record(trial: FrozenTrial, conditions: str, untagged: str) -> TrialRecord:
    """A trial as a record.

    Args:
        trial: Optuna's.
        conditions: what trials are trained under now.
        untagged: what trials were trained under that don't say.
    """
    attrs = trial.user_attrs
    own = attrs.get("conditions", untagged) if trial.state != TrialState.WAITING else conditions
    try:
        config = Config.from_json(attrs["config"]) if "config" in attrs else None
    except ConfigError as error:
        raise StudyError(f"trial {trial.number} holds a config that this version can't read: {error}") from error
    return TrialRecord(
        number=trial.number,
        state=_state(trial),
        config=config,
        fingerprint=attrs.get("fingerprint", ""),
        sequence=attrs.get("sequence", -1),
        metric=attrs.get("metric"),
        score=attrs.get("score"),
        costs=attrs.get("costs", {}),
        delta=attrs.get("delta"),
        epochs=attrs.get("epochs", 0),
        seconds=attrs.get("seconds", 0.0),
        curve=attrs.get("curve", []),
        cause=attrs.get("cause", ""),
        origin=attrs.get("origin", ""),
        answered_from=attrs.get("answered_from"),
        conditions=own,
        before_change=own != conditions,
    )
