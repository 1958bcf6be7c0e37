"""A view of a study: an Optuna storage that holds this one, readable, and that nobody can write to.

It is read anew from the study's own storage while it is looked at; that one is never written to but for notes.
"""

import threading
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState

from mpsearch.dashboard.files import Artifact, artifacts_of
from mpsearch.dashboard.notes import facts, remark_in, study_note, trial_note
from mpsearch.dashboard.readable import metric_names, readable_trials
from mpsearch.errors import StudyError
from mpsearch.study import Study, directions_of

STUDY_ID = 1
FRESH = 2.0
"""Seconds for which what was read is shown."""
READ_ONLY = "this is a view of the study: only notes can be changed here; see mpsearch study --help"
_METRIC_NAMES = "study:metric_names"  # where Optuna keeps them


class OutdatedNoteError(StudyError):
    """A note was changed by somebody else since it was read."""


@dataclass(frozen=True)
class Note:
    """A note as optuna-dashboard keeps it.

    Attributes:
        body: its text.
        version: raised with each change, so that nobody overwrites what they haven't seen.
    """

    body: str
    version: int = 1

    def attributes(self, number: int | None) -> dict[str, Any]:
        """The study's system attributes that hold it; it is of a trial where there is a number."""
        of = "" if number is None else f"{number}:"
        return {f"dashboard:{of}note_ver": self.version, f"dashboard:{of}note_str:0": self.body}


@dataclass(frozen=True)
class _Snapshot:
    study: FrozenStudy
    trials: list[FrozenTrial] = field(default_factory=list)


class StudyView(BaseStorage):
    """A readable view of a study, as an Optuna storage.

    Args:
        study: to be shown.
        storage: where it is kept, as it may be printed in commands; None: the usual place.
        trouble: told once when the study can't be read any more; what was read last is shown on.
        fresh: seconds for which what was read is shown.
    """

    def __init__(
        self,
        study: Study,
        storage: str | None = None,
        trouble: Callable[[str], None] = lambda line: None,
        fresh: float = FRESH,
    ) -> None:
        self._source, self._shown_storage, self._trouble, self._fresh = study, storage, trouble, fresh
        self._lock = threading.RLock()
        self._notes: dict[int | None, Note] = {}
        self.artifacts: dict[str, Artifact] = {}
        self._snapshot, self._read, self._troubled = self._look(), time.monotonic(), False

    def write_note(self, number: int | None, version: int, body: str) -> None:
        """Keep what a user wrote in the note on a trial, or on the study.

        Args:
            number: of the trial.
            version: the next one after that which was read.
            body: the whole note; what stands above the line is the user's.

        Raises:
            OutdatedNoteError: the note has changed since it was read.
            StudyError: the study can't be written to.
        """
        with self._lock:
            known = self._notes.get(number)
            if known is None or version != known.version + 1:
                raise OutdatedNoteError("the note has changed meanwhile: copy what you wrote and load the page again")
            with self._source.patience(0.0), self._source.shared():
                self._source.set_remark(remark_in(body), number)
            self._snapshot = self._look()
            if self._notes[number].version != version:  # what the user wrote below the line is gone again
                self._notes[number] = Note(self._notes[number].body, version)
                self._snapshot.study.system_attrs.update(self._notes[number].attributes(number))

    def _now(self) -> _Snapshot:
        """The study as it is, or was a moment ago."""
        with self._lock:
            if time.monotonic() - self._read >= self._fresh:
                try:
                    with self._source.patience(0.0):
                        self._snapshot = self._look()
                    self._troubled = False
                except (StudyError, KeyError) as error:  # its storage is away; or it was deleted
                    if not self._troubled:
                        self._trouble(f"the study can't be read any more, what was read last is shown: {error}")
                    self._troubled = True
                self._read = time.monotonic()
            return self._snapshot

    def _look(self) -> _Snapshot:
        source, trials = self._source, readable_trials(self._source)
        files = artifacts_of(source.folder)
        attributes: dict[str, Any] = {_METRIC_NAMES: metric_names(source)}
        remarks = source.kept("remarks").get("remarks", {})
        notes: dict[int | None, str] = {None: study_note(source, self._shown_storage, remarks.get("", ""))}
        for record in source.records()[: len(trials)]:
            notes[record.number] = trial_note(record, source.provenance.metric, remarks.get(str(record.number), ""))
        for number, body in notes.items():
            known = self._notes.get(number)
            if known is None:
                self._notes[number] = Note(body)
            elif known.body != body:
                self._notes[number] = Note(body, known.version + 1)
            attributes |= self._notes[number].attributes(number)
        for artifact in files:
            key, value = artifact.attribute
            if artifact.trial is None:
                attributes[key] = value
            elif artifact.trial < len(trials):
                trials[artifact.trial].system_attrs[key] = value
        self.artifacts |= {artifact.id: artifact for artifact in files}
        known_facts = {what: text for what, text in facts(source).items() if text}
        directions = directions_of(source.goal)
        study = FrozenStudy(source.name, None, known_facts, attributes, STUDY_ID, directions=directions)
        return _Snapshot(study, trials)

    def _study(self, study_id: int) -> FrozenStudy:
        if study_id != STUDY_ID:
            raise KeyError(f"there is no study {study_id}")
        return self._now().study

    def get_study_id_from_name(self, study_name: str) -> int:
        if study_name != self._source.name:
            raise KeyError(f"there is no study {study_name}")
        return STUDY_ID

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._study(study_id).study_name

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._study(study_id).directions

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return dict(self._study(study_id).user_attrs)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return dict(self._study(study_id).system_attrs)

    def get_all_studies(self) -> list[FrozenStudy]:
        return [self._now().study]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        self._study(study_id)
        return [trial for trial in self._now().trials if states is None or trial.state in states]

    def get_trial(self, trial_id: int) -> FrozenTrial:
        trials = self._now().trials
        if not 0 <= trial_id < len(trials):
            raise KeyError(f"there is no trial {trial_id}")
        return trials[trial_id]

    def _refuse(self) -> NoReturn:
        raise StudyError(READ_ONLY)

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        self._refuse()

    def delete_study(self, study_id: int) -> None:
        self._refuse()

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._refuse()

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._refuse()

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        self._refuse()

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self._refuse()

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        self._refuse()

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._refuse()

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._refuse()

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._refuse()
