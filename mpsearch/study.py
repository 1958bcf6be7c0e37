"""Studies: trial records and where they come from, in an Optuna storage."""

import difflib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool

from mpsearch.config import Config
from mpsearch.errors import ConfigError, StudyError
from mpsearch.records import State, TrialRecord
from mpsearch.search.parameters import config_of, distributions, parameters_of
from mpsearch.search.samplers import PRUNERS, SAMPLERS, check_name, derived_seed, make_pruner, make_sampler
from mpsearch.space import ResolvedSpace

FORMAT = 1  # of what a study holds; raised when older code can't read it
DEFAULT_DATABASE = Path("studies") / "mpsearch.db"
ATTEMPTS = 3  # tries of a config whose trial breaks
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
        format: of the records.
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
            raise StudyError(
                f"the study `{self.name}` has format {options['format']}, but this version reads up to "
                f"{FORMAT}: update mpsearch"
            )
        self.provenance = Provenance(**options)
        self.folder = folder

    def records(self) -> list[TrialRecord]:
        """All trials, in order of their numbers."""
        return [_record(trial) for trial in self._trials()]

    def best(self, count: int = 1) -> list[TrialRecord]:
        """The complete trials with the highest scores, one for each config, best first; ties to the earlier."""
        complete = [t for t in self._trials() if _is_trained(t)]
        complete.sort(key=lambda t: (-t.user_attrs["score"], t.number))
        unique: dict[str, FrozenTrial] = {}
        for trial in complete:
            unique.setdefault(trial.user_attrs["fingerprint"], trial)
        return [_record(trial) for trial in list(unique.values())[:count]]

    def record(self, number: int) -> TrialRecord:
        """The trial with a number.

        Raises:
            StudyError: there is none.
        """
        trials = self._trials()
        if not 0 <= number < len(trials):
            raise StudyError(f"the study `{self.name}` has trials 0 to {len(trials) - 1}, but no trial {number}")
        return _record(trials[number])

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
            self._break(trial.number, trial, "its process died")
        return [trial.number for trial in running]

    def ask(self, space: ResolvedSpace) -> tuple[optuna.Trial, Config, int]:
        """The next trial: Optuna's, its config, and its place in the study, from which its seeds derive."""
        waiting = [t for t in self._trials() if t.state == TrialState.WAITING]
        sequence = self._next_sequence()
        if waiting:
            sequence = waiting[0].user_attrs.get("sequence", sequence)
        elif self.provenance.sampler == "grid":
            grid = sum(t.user_attrs.get("origin") == "grid" and _state(t) is not State.BROKEN for t in self._trials())
            if grid >= space.size:
                raise StudyError(f"the grid of `{self.name}` is done: all {space.size:,} configs were tried")
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
        if "origin" not in trial.user_attrs:
            trial.set_user_attr("origin", self.provenance.sampler)
        return trial, config, sequence

    def enqueue(self, space: ResolvedSpace, config: Config, origin: str) -> None:
        """Let a config be tried before the sampler's next one."""
        self._study.enqueue_trial(parameters_of(space, config), user_attrs={"origin": origin})

    def earlier(self, fingerprint: str) -> TrialRecord | None:
        """The complete trial that trained a config, None where there is none."""
        for trial in self._trials():
            if _is_trained(trial) and trial.user_attrs["fingerprint"] == fingerprint:
                return _record(trial)
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
        """End a trial that was cut off, and queue its config again."""
        self._break(trial.number, self._trials()[trial.number], "interrupted")

    def note(self, key: str, value: Any) -> None:
        """Keep plain data with the study, for instance of a fine-tuning."""
        self._study.set_user_attr(key, value)

    def notes(self, prefix: str) -> dict[str, Any]:
        """The data kept under keys that begin with `prefix`."""
        return {key: value for key, value in self._study.user_attrs.items() if key.startswith(prefix)}

    def accept(self, changes: Mapping[str, Any]) -> None:
        """Replace parts of the provenance; what they were is kept under `history`."""
        history = self._study.user_attrs.get("history", [])
        before = {key: getattr(self.provenance, key) for key in changes}
        self._study.set_user_attr("history", [*history, before])
        self.provenance = replace(self.provenance, **changes)
        self._study.set_user_attr(_OPTIONS, vars(self.provenance))

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _store(self, trial: optuna.Trial, record: TrialRecord) -> None:
        for key in ("metric", "score", "costs", "delta", "epochs", "seconds", "curve"):
            trial.set_user_attr(key, getattr(record, key))

    def _next_sequence(self) -> int:
        return max((t.user_attrs.get("sequence", -1) for t in self._trials()), default=-1) + 1

    def _break(self, number: int, trial: FrozenTrial, cause: str) -> None:
        """Fail a trial that was cut off and queue its parameters again.

        Each step may be the process's last: the retry is queued before the trial is failed, and not twice.
        """
        attrs = trial.user_attrs
        attempt = attrs.get("attempt", 1)
        exhausted = attempt >= ATTEMPTS
        if exhausted:
            cause = f"{cause}; tried {attempt} times"
        storage, trial_id = self._study._storage, trial._trial_id
        storage.set_trial_user_attr(trial_id, "cause", cause)
        storage.set_trial_user_attr(trial_id, "broken", not exhausted)
        parameters = _parameters_to_retry(trial)
        queued = any(t.user_attrs.get("retry_of") == number for t in self._trials())
        if parameters is not None and not exhausted and not queued:
            again = {"origin": attrs.get("origin", self.provenance.sampler), "attempt": attempt + 1, "retry_of": number}
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
        provenance: what it is made of.
        storage: an Optuna storage URL; default: SQLite in `studies/mpsearch.db`.

    Raises:
        StudyError: there is a study of this name.
        ConfigError: unknown sampler or pruner.
    """
    check_name("sampler", provenance.sampler, SAMPLERS)
    check_name("pruner", provenance.pruner, PRUNERS)
    try:
        study = optuna.create_study(storage=_storage(storage, create=True), study_name=name, direction="maximize")
    except optuna.exceptions.DuplicatedStudyError:
        raise StudyError(
            f"there is a study `{name}` already: go on with `mpsearch study run {name}`, or give another --name"
        ) from None
    study.set_user_attr(_OPTIONS, json.loads(json.dumps(vars(provenance))))
    study.pruner = make_pruner(provenance.pruner)
    return Study(study, _folder(name, storage))


def open_study(name: str, storage: str | None = None) -> Study:
    """The study called `name`.

    Raises:
        StudyError: there is none; the message says which there are.
    """
    opened = _storage(storage)
    names = optuna.get_all_study_names(opened)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean `{close[0]}`?" if close else f"there are {', '.join(names) or 'none'}"
        raise StudyError(f"there is no study `{name}` in {_shown(storage)}; {hint}")
    study = optuna.load_study(study_name=name, storage=opened)
    opened_study = Study(study, _folder(name, storage))
    study.pruner = make_pruner(opened_study.provenance.pruner)
    return opened_study


def study_names(storage: str | None = None) -> list[str]:
    """Names of all studies in a storage."""
    return list(optuna.get_all_study_names(_storage(storage)))


def _storage(url: str | None, create: bool = False) -> optuna.storages.RDBStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if url is None:
        if not DEFAULT_DATABASE.exists() and not create:
            raise StudyError(
                f"there is no {DEFAULT_DATABASE} here: create a study with `mpsearch study create --space "
                "FILE`, or give --storage"
            )
        DEFAULT_DATABASE.parent.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{DEFAULT_DATABASE}"
    # a connection for each transaction: an SQLite file is left open by nobody, and costs next to nothing to open
    options = {"connect_args": {"timeout": 60}, "poolclass": NullPool} if url.startswith("sqlite") else None
    try:
        return optuna.storages.RDBStorage(url, engine_kwargs=options)
    except Exception as error:  # SQLAlchemy, its drivers and Optuna raise errors of many kinds here
        raise StudyError(
            f"can't open the storage {_shown(url)}: {type(error).__name__}: {_first_line(error)}"
        ) from error


def _shown(url: str | None) -> str:
    """A storage's URL without its password."""
    if url is None:
        return str(DEFAULT_DATABASE)
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "given by --storage"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0]


def _folder(name: str, storage: str | None) -> Path:
    """Where a study's weights and logs go: `runs/NAME` beside an SQLite file, else under `studies`."""
    base = DEFAULT_DATABASE.parent
    if storage is not None and storage.startswith("sqlite:///"):
        base = Path(storage.removeprefix("sqlite:///")).parent
    return base / "runs" / name


def _state(trial: FrozenTrial) -> State:
    if trial.state == TrialState.FAIL:
        return State.BROKEN if trial.user_attrs.get("broken") else State.FAILED
    return _STATES[trial.state]


def _is_trained(trial: FrozenTrial) -> bool:
    """Whether a trial has a result of its own, not one taken over from an earlier trial."""
    return trial.state == TrialState.COMPLETE and "answered_from" not in trial.user_attrs


def _record(trial: FrozenTrial) -> TrialRecord:
    attrs = trial.user_attrs
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
    )
